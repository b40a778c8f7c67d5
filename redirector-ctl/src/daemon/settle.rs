//! What follows from changes and measurements: plan, write to the tables, tell.

use std::collections::BTreeSet;
use std::time::Duration;

use super::events::About;
use super::journal::Wish;
use super::kernel::Kernel;
use super::owner::{Owed, Owner};
use super::pace::Rest;
use super::tell::{Done, tell};
use super::{Applied, ChangeError, EventKind};
use crate::core::change::Change;
use crate::core::image::diff;
use crate::core::op::{Op, ServerState};
use crate::core::plan::{Blocked, Decision, Plan, plan};
use crate::core::spec::{Cause, Spec};
use crate::platform::clock::Stopwatch;

/// A SYN that is older is left to its client, who has repeated it since, in ms.
const RECALL_MS: u64 = 3000;

/// How much longer than itself a look at all devices keeps the next one away that can wait.
const PLAN_REST: u32 = 5;

/// A look that was shorter keeps none away.
const RESTS_FROM: Duration = Duration::from_millis(5);

impl<K: Kernel> Owner<K> {
    /// What a change that is in the spec is answered with: everything of it is where it has to be,
    /// or what is owed.
    pub(super) fn outcome(&self, wish: &Wish, events: Vec<u64>) -> Result<Applied, ChangeError> {
        let owed = self.owed.tables.as_ref().or(self.owed.journal.as_ref());
        let owed_to_it = || wish.changes.iter().find_map(|(change, _)| self.owed_to(change));
        match owed.cloned().or_else(owed_to_it) {
            Some(what) => {
                let generation = self.spec.generation;
                Err(ChangeError::NotApplied { generation, what })
            }
            None => Ok(Applied { generation: self.spec.generation, events }),
        }
    }

    /// What is to be done now? What follows from a death goes to the tables first: it is measured,
    /// not desired, and must not wait for the disk. The rest goes to the disk first.
    pub(super) async fn replan(&mut self) {
        let watch = Stopwatch::start();
        self.replan_now().await;
        let (took, now_ms) = (watch.elapsed(), self.now_ms());
        let rests = took >= RESTS_FROM;
        let rest = rests.then(|| Rest::begin(now_ms, took, PLAN_REST));
        self.pace.decisions = rest.unwrap_or_default();
    }

    /// The same for what nobody waits for: with very many devices a look at all of them takes long,
    /// and while they are asked for the first time there is something new at every moment.
    pub(super) async fn replan_rested(&mut self) {
        match self.pace.decisions.is_over(self.now_ms()) {
            true => self.replan().await,
            false => self.pace.wake_after_rest(),
        }
    }

    async fn replan_now(&mut self) {
        self.write_tables();
        // A death is in force by that one store; where the devices go from there takes longer.
        self.send_again();
        let mut next = plan(&self.spec, &self.context());
        if next.decisions.iter().any(|decision| is_of_a_death(&decision.change)) {
            self.fail_over(next).await;
            next = plan(&self.spec, &self.context());
        }
        self.note(&next);
        if !next.decisions.is_empty() {
            self.journal.take_decisions();
        }
        self.write_next();
    }

    /// Carries out what a plan has of deaths: also whoever is let in early because of them, and
    /// backups anew for whoever has lost theirs.
    async fn fail_over(&mut self, whole: Plan) {
        let (mut spec, mut decisions) = (self.spec.clone(), Vec::new());
        // Once something is left out, what comes later rests on another spec than it was made for.
        let mut is_whole = true;
        for mut decision in whole.decisions {
            let change = &decision.change;
            let helps = matches!(change, Change::BeginLives { .. } | Change::SetBackups { .. });
            if !helps && !is_of_a_death(change) {
                is_whole = false;
                continue;
            }
            if !is_whole {
                let Ok(after) = spec.apply(change, &self.context()) else { continue };
                decision.after = after;
            }
            for server in left_by(change, &spec) {
                self.note_left(server);
            }
            spec = decision.after.clone();
            decisions.push(decision);
        }
        self.journal.fall_behind();
        self.carry_out(self.spec.clone(), Plan { decisions, spec, ..whole }).await;
    }

    /// Brings a plan into force, `from` being the spec that it was made for.
    pub(super) async fn carry_out(&mut self, from: Spec, plan: Plan) {
        let mut before = from;
        for Decision { change, why, after } in plan.decisions {
            let (now_ms, before_ref) = (plan.now_ms, &before);
            let (change, why) = (&change, &*why);
            tell(
                &mut self.events,
                &Done { before: before_ref, after: &after, change, why, now_ms },
            );
            self.note_lives(change);
            before = after;
        }
        self.spec = plan.spec;
        self.settle().await;
    }

    /// Remembers who died, and so for how long it is to stay out.
    fn note_lives(&mut self, change: &Change) {
        let now_ms = self.now_ms();
        match change {
            Change::EndLives { servers } => {
                for server in servers {
                    let until_ms = self.fallen.note(server, now_ms, self.settings.hold_down);
                    self.observed.held_down.insert(server.clone(), until_ms);
                }
            }
            Change::BeginLives { servers } => {
                self.observed.held_down.retain(|server, _| !servers.contains(server));
            }
            _ => {}
        }
    }

    /// Brings everything in line with the spec: what is asked and watched, the tables, the
    /// addresses.
    pub(super) async fn settle(&mut self) {
        self.watch();
        self.write_tables();
        self.hold_clients();
        self.announce().await;
    }

    /// Brings announced addresses in line with the spec, or a part of them. An event tells once of
    /// what the kernel does not take.
    pub(super) async fn announce(&mut self) {
        let failures = self.announcer.reconcile(&self.spec).await;
        let failures: BTreeSet<String> = failures.iter().map(ToString::to_string).collect();
        let before = std::mem::replace(&mut self.shown.unannounced, failures.clone());
        for failure in failures.difference(&before) {
            self.error(format!("{failure}; it is tried again with each sweep"));
        }
        // An address that was taken away must not be taken for one of ours when it is there again.
        if self.announcer.differs_from_journal() {
            self.journal.fall_behind();
        }
    }

    /// Tries again what the kernel did not take.
    pub(super) async fn announce_again(&mut self) {
        if !self.shown.unannounced.is_empty() {
            self.announce().await;
        }
    }

    /// The same until all of it is done.
    pub(super) async fn announce_all(&mut self) {
        while self.announcer.has_more() {
            self.announce().await;
        }
    }

    /// Writes to the tables what differs from what they hold.
    pub(super) fn write_tables(&mut self) {
        let desired = self.kept.imager.image(&self.spec, &self.observed).clone();
        for op in diff(&self.applied, &desired) {
            if let Err(error) = self.kernel.apply(&op) {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                self.owe_tables(format!("the tables refuse `{op}`: {error}{cause}"));
                return;
            }
            tracing::debug!("{op}");
            if let Op::SetServerState { id, state: ServerState::Dead, .. } = op {
                self.note_left(id);
            }
            self.applied.take(&op);
        }
        // The tables hold that now, and settings of devices that are gone, which nothing reads.
        self.applied = desired;
        self.applied_generation = self.spec.generation;
        self.owed.tables = None;
    }

    /// Notes that flows of this server are refused from now on.
    fn note_left(&mut self, server: u16) {
        self.pace.sweep_now();
        self.left.insert(server);
    }

    /// Whoever has just asked a server that died is not to wait for that any longer: the devices
    /// are where they will be served.
    pub(super) fn recall(&mut self) {
        self.send_again();
        self.left.clear();
    }

    /// The same while not all devices are there yet: those that have a backup are served already.
    fn send_again(&mut self) {
        if self.left.is_empty() {
            return;
        }
        let left: Vec<u16> = self.left.iter().copied().collect();
        match self.kernel.recall(&left, RECALL_MS) {
            Ok(0) => {}
            Ok(sent) => {
                self.own.detector.syns_resent += sent as u64;
                tracing::info!(sent, "SYNs to a dead server were sent to its survivors");
            }
            Err(error) => tracing::warn!(%error, "SYNs to a dead server wait for their clients"),
        }
    }

    /// Tries again what could not be written.
    pub(super) fn pay(&mut self) {
        self.pay_tables();
        if self.owed.journal.is_some() {
            self.journal.fall_behind();
        }
        self.write_next();
    }

    /// The same for what the kernel did not take.
    pub(super) fn pay_tables(&mut self) {
        let owed = self.owed != Owed::default();
        if self.owed.tables.is_some() {
            self.write_tables();
        }
        self.hold_clients();
        self.tell_paid(owed);
    }

    /// Tells that nothing is owed any more, if something was.
    pub(super) fn tell_paid(&mut self, was_owed: bool) {
        if was_owed && self.owed == Owed::default() {
            let (now_ms, text) = (self.now_ms(), "what could not be written before is written now");
            self.events.record(now_ms, EventKind::Change, About::default(), text);
        }
    }

    /// Notes that the disk lacks something; an event tells of it once.
    pub(super) fn owe_journal(&mut self, what: String) {
        if self.owed.journal.as_ref() != Some(&what) {
            self.error(format!("{what}; it is tried again"));
        }
        self.owed.journal = Some(what);
    }

    /// Notes that the tables lack something; an event tells of it once.
    fn owe_tables(&mut self, what: String) {
        if self.owed.tables.as_ref() != Some(&what) {
            self.error(format!("{what}; it is tried again"));
        }
        self.owed.tables = Some(what);
    }

    pub(super) fn error(&mut self, text: String) {
        let now_ms = self.now_ms();
        self.events.record(now_ms, EventKind::Error, About::default(), text);
    }

    /// Takes over what a plan says besides decisions, and tells what is new of it.
    pub(super) fn note(&mut self, plan: &Plan) {
        self.pace.wake_at_ms = plan.wake_at_ms;
        let held = plan.held_back.as_ref();
        if self.shown.frozen.is_some() != held.is_some() {
            let text = held.map_or("decisions are no longer held back", |held| &held.text);
            self.events.record(plan.now_ms, EventKind::Frozen, About::default(), text);
            // Whoever has answered a moment before the silence began may answer now as well.
            if held.is_some() {
                self.ask_witnesses(None);
            }
        }
        let outage = held.is_some_and(|held| held.outage);
        self.own.detector.outages += u64::from(outage && self.shown.outage_at_ms.is_none());
        let since_ms = self.shown.outage_at_ms.unwrap_or(plan.now_ms);
        self.shown.outage_at_ms = outage.then_some(since_ms);
        self.shown.frozen = held.map(|held| held.text.clone());
        self.shown.unsure = plan.unsure;
        for Blocked { what, by } in &plan.blocked {
            if !self.shown.blocked.iter().any(|known| known.what == *what) {
                self.events.record(
                    plan.now_ms,
                    EventKind::Error,
                    About::default(),
                    format!("{what}: {by}"),
                );
            }
        }
        self.shown.blocked.clone_from(&plan.blocked);
    }
}

/// Whether a change follows from a death alone.
fn is_of_a_death(change: &Change) -> bool {
    matches!(change, Change::EndLives { .. } | Change::Associate { cause: Cause::Failure, .. })
}

/// The servers that devices leave because they are dead for them, by number.
fn left_by(change: &Change, spec: &Spec) -> BTreeSet<u16> {
    let Change::Associate { moves, cause: Cause::Failure } = change else { return BTreeSet::new() };
    let left = moves.iter().filter_map(|moved| {
        let device = spec.devices.get(&moved.device)?;
        spec.servers.get(&device.association.server).map(|server| server.id)
    });
    left.collect()
}
