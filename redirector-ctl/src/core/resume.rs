//! A spec from a journal that the tables are ahead of: a failover does not wait for the disk, so
//! what the tables hold may be newer than what was written down. Never the other way round for
//! anything else, because every wish is journalled first.

use redirector_common::wire::Association as Word;

use super::image::{Image, ServerLine};
use super::op::{AssociationWord, ServerState};
use super::spec::{
    AdminState, Association, Cause, Device, Drain, FlowPolicy, Name, Spec, Tracking,
};

impl Spec {
    /// This spec with the deaths, lives and moves that reached `tables` but not the journal. Says
    /// what those were, one line each. Numbers that the tables know are not given out again.
    pub fn resume(&mut self, tables: &Image, now_ms: u64) -> Vec<String> {
        let journal = self.clone();
        for (id, line) in &tables.servers {
            let last = self.slots.incarnations.entry(*id).or_default();
            *last = if is_later(line.incarnation, *last) { line.incarnation } else { *last };
        }
        for (id, word) in &tables.words {
            let last = self.slots.epochs.entry(*id).or_default();
            *last = if is_ahead(word.epoch, *last) { word.epoch } else { *last };
        }
        self.resume_lives(tables);
        let mut notes = Vec::new();
        for (name, device) in self.devices.iter_mut() {
            let Some(word) = tables.words.get(&device.id) else { continue };
            let move_ = Unjournalled { journal: &journal, tables, word, now_ms };
            notes.extend(move_.resume(name, device));
        }
        self.forget_ended_clients();
        if *self != journal {
            self.generation = self.generation.saturating_add(1);
        }
        notes
    }

    fn resume_lives(&mut self, tables: &Image) {
        for server in self.servers.values_mut() {
            let line = tables.servers.get(&server.id);
            let Some(line) = line.filter(|line| line.address == server.address) else { continue };
            let dead = line.state == ServerState::Dead && !server.state.is_out();
            if is_later(line.incarnation, server.incarnation) {
                (server.incarnation, server.life_over) = (line.incarnation, false);
            }
            if dead && line.incarnation == server.incarnation {
                server.end_life();
            }
        }
    }
}

/// An association in the tables, to be compared with the journal's.
struct Unjournalled<'a> {
    journal: &'a Spec,
    tables: &'a Image,
    word: &'a AssociationWord,
    now_ms: u64,
}

impl Unjournalled<'_> {
    /// Takes the tables' association for the journal's where it is newer.
    fn resume(&self, name: &Name, device: &mut Device) -> Option<String> {
        let server = self.name(self.word.server, device)?;
        let was = device.association.clone();
        if !is_ahead(self.word.epoch, was.epoch) && !self.has_taken_over(&server, &was) {
            return None;
        }
        let drains = self.drains(device);
        let left = self.journal.servers.get(&was.server)?;
        let planned =
            matches!(left.state, AdminState::Draining | AdminState::Inactive) && !left.life_over;
        let text = format!(
            "device {name} is on {server} in the tables, and on {} in the state file: it stays on \
             {server}",
            was.server
        );
        device.association = Association {
            backup: self.name(self.word.backup, device).filter(|backup| *backup != server),
            server,
            epoch: self.word.epoch,
            drains,
            cause: if planned { Cause::Planned } else { Cause::Failure },
            changed_at_ms: self.now_ms,
        };
        Some(text)
    }

    /// Whether `server` took over within the journal's epoch: that happens only when the server
    /// that the journal names is gone.
    fn has_taken_over(&self, server: &Name, was: &Association) -> bool {
        let serves = self.line(server).is_some_and(|line| line.state == ServerState::Alive);
        let left = self.journal.servers.get(&was.server);
        let is_gone = |line: &ServerLine| {
            let life = left.map_or(0, |left| left.incarnation);
            line.state == ServerState::Dead || is_later(line.incarnation, life)
        };
        let gone = self.line(&was.server).is_none_or(is_gone);
        self.word.epoch == was.epoch && *server != was.server && serves && gone
    }

    /// Earlier associations that the word keeps open. Where the journal says nothing of one, its
    /// flows stay at least as long as the device's policy lets them.
    fn drains(&self, device: &Device) -> Vec<Drain> {
        let was = &device.association;
        let word = self.word;
        let accepts = |epoch| Word::new(0, 0, 0, word.epoch, word.epochs_open).accepts(epoch);
        let mut drains = was.drains.clone();
        drains.retain(|drain| accepts(drain.epoch));
        // The word names the newest drain's server, of a stateless device the oldest's.
        let stateless = device.tracking == Tracking::Stateless;
        let back = if stateless { u16::from(word.epochs_open) } else { 1 };
        let (last, previous) = (word.epoch.wrapping_sub(back), self.name(word.previous, device));
        if was.epoch != word.epoch && accepts(was.epoch) {
            let deadline_at_ms = match device.on_planned {
                _ if previous.is_none() => Some(self.now_ms),
                FlowPolicy::Keep => None,
                FlowPolicy::Drain { deadline_ms } => Some(self.now_ms.saturating_add(deadline_ms)),
                FlowPolicy::Reset => Some(self.now_ms),
            };
            let server = was.server.clone();
            let (epoch, failed) = (was.epoch, previous.is_none());
            drains.push(Drain { server, epoch, deadline_at_ms, failed });
        }
        if let Some(server) = previous.filter(|_| accepts(last)) {
            let known = |drain: &Drain| drain.server == server && drain.epoch == last;
            if !drains.iter().any(known) {
                drains.retain(|drain| drain.epoch != last);
                let (epoch, deadline_at_ms, failed) = (last, None, false);
                let place = if stateless { 0 } else { drains.len() };
                drains.insert(place, Drain { server, epoch, deadline_at_ms, failed });
            }
        }
        drains
    }

    /// The name of a server that the device may use.
    fn name(&self, id: u16, device: &Device) -> Option<Name> {
        let has_id = |name: &&Name| self.journal.servers.get(*name).is_some_and(|s| s.id == id);
        device.serving().find(has_id).cloned()
    }

    fn line(&self, server: &Name) -> Option<&ServerLine> {
        self.tables.servers.get(&self.journal.servers.get(server)?.id)
    }
}

/// Whether epoch `a` comes after `b`. Epochs wrap.
fn is_ahead(a: u16, b: u16) -> bool {
    (1..=u16::MAX / 2).contains(&a.wrapping_sub(b))
}

/// Whether incarnation `a` comes after `b`. Incarnations wrap.
fn is_later(a: u32, b: u32) -> bool {
    (1..=u32::MAX / 2).contains(&a.wrapping_sub(b))
}

#[cfg(test)]
mod tests {
    use super::super::change::{Change, Move};
    use super::super::fixtures::*;
    use super::super::image::diff;
    use super::super::observed::Observed;
    use super::*;

    fn fail(server: &str) -> Change {
        let moves = vec![Move { device: "d1".into(), server: server.into(), policy: None }];
        Change::Associate { moves, cause: Cause::Failure }
    }

    fn die(server: &str) -> Change {
        Change::EndLives { servers: names(&[server]) }
    }

    fn keep(server: &str) -> Change {
        let policy = Some(FlowPolicy::Keep);
        let moves = vec![Move { device: "d1".into(), server: server.into(), policy }];
        Change::Associate { moves, cause: Cause::Planned }
    }

    /// The tables after changes of which the journal has only the first `journalled`, and the spec
    /// that a restart makes of both.
    fn restarted(changes: &[Change], journalled: usize) -> (Image, Spec) {
        let well = all_well(&three_and_three());
        let journal = changed(&three_and_three(), &changes[..journalled], &at(2000, &well));
        let spec = changed(&journal, &changes[journalled..], &at(2000, &well));
        let tables = Image::of(&spec, &well);
        let mut resumed = journal;
        resumed.resume(&tables, 3000);
        (tables, resumed)
    }

    fn writes_nothing(changes: &[Change], journalled: usize) -> Spec {
        let (tables, resumed) = restarted(changes, journalled);
        let next_hops = all_well(&resumed).next_hops;
        let desired = Image::of(&resumed, &Observed { next_hops, ..Observed::default() });
        assert_eq!(diff(&tables, &desired), [], "{changes:?}");
        resumed
    }

    #[test]
    fn a_failover_that_only_the_tables_know_is_kept() {
        writes_nothing(&[fail("s2")], 0);
        writes_nothing(&[die("s1"), fail("s2")], 0);
        writes_nothing(&[die("s1"), fail("s2")], 1);
        writes_nothing(&[keep("s2"), fail("s3")], 1);
        writes_nothing(&[keep("s2"), die("s2"), fail("s3")], 1);
        let back = Change::BeginLives { servers: names(&["s1"]) };
        let spec = writes_nothing(&[die("s1"), fail("s2"), back], 0);
        assert_eq!(spec.devices["d1"].association.server, "s2", "no fail-back");
        assert_eq!((spec.servers["s1"].incarnation, spec.servers["s1"].life_over), (2, false));
    }

    #[test]
    fn a_planned_move_that_only_the_tables_know_drains_on() {
        let spec = writes_nothing(&[keep("s2")], 0);
        let drain = &spec.devices["d1"].association.drains[0];
        assert_eq!((drain.server.as_str(), drain.deadline_at_ms), ("s1", Some(3000 + HOUR_MS)));
        writes_nothing(&[keep("s2"), keep("s3")], 0);
        writes_nothing(&[keep("s2"), keep("s3")], 1);
    }

    #[test]
    fn numbers_that_the_tables_know_are_not_given_out_again() {
        let back = || Change::BeginLives { servers: names(&["s1"]) };
        let (_, spec) = restarted(&[fail("s2"), die("s1"), back(), die("s1"), back()], 0);
        let well = all_well(&spec);
        let next = changed(&spec, &[keep("s3"), die("s1"), back()], &at(4000, &well));
        assert_eq!(next.devices["d1"].association.epoch, 3);
        assert_eq!(next.servers["s1"].incarnation, 4);
    }

    #[test]
    fn a_journal_that_is_ahead_of_the_tables_is_left_as_it_is() {
        let spec = three_and_three();
        let well = all_well(&spec);
        for changes in [vec![keep("s2")], vec![die("s1"), fail("s2")]] {
            let mut journal = changed(&spec, &changes, &at(2000, &well));
            let mut tables = Image::of(&spec, &well);
            if let Some(line) = tables.servers.get_mut(&spec.servers["s1"].id) {
                line.state = if changes.len() > 1 { ServerState::Dead } else { line.state };
            }
            let before = journal.clone();
            assert_eq!(journal.resume(&tables, 3000), Vec::<String>::new());
            assert_eq!(journal, before);
        }
    }

    #[test]
    fn what_comes_after_the_last_number_is_the_first() {
        assert!(is_ahead(0, u16::MAX) && !is_ahead(u16::MAX, 0) && !is_ahead(7, 7));
        assert!(is_later(3, u32::MAX) && !is_later(u32::MAX, 3) && !is_later(7, 7));
    }
}
