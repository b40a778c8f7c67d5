//! What is known of all paths of one server, and how many of each health there are.
//!
//! A server with tens of thousands of devices is asked after at every report of a check, so its
//! paths are counted as they change and not when somebody asks.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::health::{Health, PathHealth};
use super::spec::Name;

/// A suspect with more paths than that is asked for so many of them. Each is asked over six
/// connections within 20 ms: of 256 paths that alone kept two cores busy for longer than that, so
/// that all of them were late.
pub const SAMPLE_LEN: usize = 32;

/// So many paths that fell silent since the server was last heard speak for all others: 48
/// connections that nobody accepts.
pub const SILENT_LEN: usize = SAMPLE_LEN / 4;

/// A silence must begin so much later than the last answer was asked for, in ms. Paths of a sample
/// are asked one after the other: where one process hangs and others answer, the order alone must
/// not say that all of it was silent last.
const AFTER_ANSWER_MS: u64 = 5;

/// Device -> what is known of the path. To be read as a map; it changes by its own functions only,
/// which keep the counts right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    by_device: BTreeMap<Name, PathHealth>,
    lens: [usize; Health::ALL.len()],
}

impl Paths {
    /// How many have this health.
    #[must_use]
    pub fn len_of(&self, health: Health) -> usize {
        self.lens[health as usize]
    }

    /// Devices for which a suspect is asked: all, or some from everywhere among very many.
    pub fn sample(&self) -> impl Iterator<Item = &Name> {
        let step = self.len().div_ceil(SAMPLE_LEN).max(1);
        self.by_device.keys().step_by(step)
    }

    /// Since when a server with very many paths is silent as a whole (ms since the Unix epoch), by
    /// those that were asked; None when too few of them say so. `heard_ms` is when its packets were
    /// last seen. Refusals say nothing about other paths: a process can die alone, the way to its
    /// server cannot.
    #[must_use]
    pub fn silent_since_ms(&self, heard_ms: Option<u64>) -> Option<u64> {
        if self.len() <= SAMPLE_LEN || self.len_of(Health::Dead) < SILENT_LEN {
            return None;
        }
        let answers = self.values().filter_map(|path| path.answer_at_ms);
        let answer = answers.max().map(|at_ms| at_ms.saturating_add(AFTER_ANSWER_MS));
        let last = answer.max(heard_ms);
        let dead = self.values().filter(|path| path.health == Health::Dead);
        let silences = dead.filter_map(|path| path.silence).map(|silence| silence.since_ms);
        let since: Vec<u64> = silences.filter(|since| last.is_none_or(|at| *since > at)).collect();
        since.iter().min().copied().filter(|_| since.len() >= SILENT_LEN)
    }

    /// The paths that are not healthy, which are few in good times.
    #[must_use]
    pub fn troubled(&self) -> BTreeMap<Name, Health> {
        if self.len_of(Health::Healthy) == self.len() {
            return BTreeMap::new();
        }
        let troubled = self.iter().filter(|(_, path)| path.health != Health::Healthy);
        troubled.map(|(device, path)| (device.clone(), path.health)).collect()
    }

    /// Puts a path in the place of the one that there was.
    pub fn insert(&mut self, device: Name, path: PathHealth) {
        self.lens[path.health as usize] += 1;
        if let Some(was) = self.by_device.insert(device, path) {
            self.lens[was.health as usize] -= 1;
        }
    }

    /// Forgets a path.
    pub fn remove(&mut self, device: &Name) {
        if let Some(was) = self.by_device.remove(device) {
            self.lens[was.health as usize] -= 1;
        }
    }

    /// Changes a path, an unknown one if there was none.
    pub fn change<R>(&mut self, device: &Name, change: impl FnOnce(&mut PathHealth) -> R) -> R {
        if !self.by_device.contains_key(device) {
            self.insert(device.clone(), PathHealth::default());
        }
        let path = self.by_device.entry(device.clone()).or_default();
        let was = path.health;
        let result = change(path);
        self.lens[was as usize] -= 1;
        self.lens[path.health as usize] += 1;
        result
    }

    /// Changes all paths, one after the other.
    pub fn change_each(&mut self, mut change: impl FnMut(&Name, &mut PathHealth)) {
        for (device, path) in &mut self.by_device {
            let was = path.health;
            change(device, path);
            self.lens[was as usize] -= 1;
            self.lens[path.health as usize] += 1;
        }
    }

    /// Forgets the paths of other devices.
    pub fn retain(&mut self, mut stays: impl FnMut(&Name) -> bool) {
        let lens = &mut self.lens;
        self.by_device.retain(|device, path| {
            let stays = stays(device);
            lens[path.health as usize] -= usize::from(!stays);
            stays
        });
    }
}

impl Deref for Paths {
    type Target = BTreeMap<Name, PathHealth>;

    fn deref(&self) -> &Self::Target {
        &self.by_device
    }
}

impl FromIterator<(Name, PathHealth)> for Paths {
    fn from_iter<I: IntoIterator<Item = (Name, PathHealth)>>(all: I) -> Self {
        let mut paths = Self::default();
        all.into_iter().for_each(|(device, path)| paths.insert(device, path));
        paths
    }
}

impl<'a> IntoIterator for &'a Paths {
    type Item = (&'a Name, &'a PathHealth);
    type IntoIter = std::collections::btree_map::Iter<'a, Name, PathHealth>;

    fn into_iter(self) -> Self::IntoIter {
        self.by_device.iter()
    }
}

#[cfg(test)]
impl Paths {
    /// The counts are those of a count from scratch.
    pub(crate) fn check(&self) {
        for health in Health::ALL {
            let len = self.values().filter(|path| path.health == health).count();
            assert_eq!(self.len_of(health), len, "{} of {self:?}", health.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::{CheckResult, Thresholds};
    use super::*;

    const ONCE: Thresholds = Thresholds { rise: 1, fall: 1 };

    /// A server that answered for all of its devices at 1000.
    fn paths(len: usize) -> Paths {
        let mut paths = Paths::default();
        for n in 0..len {
            paths.change(&format!("d{n:05}"), |path| {
                path.record(&CheckResult::Answered { took_us: 5 }, 1000, 1001, ONCE)
            });
        }
        paths
    }

    /// The sample is asked at 2000, and gets this.
    fn sampled(paths: &mut Paths, result: &CheckResult) {
        let asked: Vec<Name> = paths.sample().cloned().collect();
        for device in asked {
            paths.change(&device, |path| path.record(result, 2000, 2200, ONCE));
        }
    }

    #[test]
    fn a_server_with_very_many_paths_is_silent_when_a_sample_of_them_is() {
        let mut all = paths(10_000);
        assert!((SILENT_LEN..=SAMPLE_LEN).contains(&all.sample().count()));
        sampled(&mut all, &CheckResult::Silent("nobody".into()));
        assert_eq!(all.silent_since_ms(None), Some(2000));
        assert_eq!(all.silent_since_ms(Some(1999)), Some(2000));
        assert_eq!(all.silent_since_ms(Some(2000)), None, "its packets were seen since");
        all.change(&"d00001".to_owned(), |path| {
            path.record(&CheckResult::Answered { took_us: 5 }, 2000, 2001, ONCE)
        });
        assert_eq!(all.silent_since_ms(None), None, "it has answered since");
    }

    #[test]
    fn a_process_that_hangs_is_not_taken_for_a_silent_server_by_the_order_of_questions() {
        let mut all = paths(10_000);
        let asked: Vec<Name> = all.sample().cloned().collect();
        let (answering, hanging) = asked.split_at(asked.len() / 2);
        for (device, result) in answering
            .iter()
            .map(|device| (device, CheckResult::Answered { took_us: 5 }))
            .chain(hanging.iter().map(|device| (device, CheckResult::Silent("nobody".into()))))
        {
            let asked_at_ms = if answering.contains(device) { 2000 } else { 2003 };
            all.change(device, |path| path.record(&result, asked_at_ms, 2030, ONCE));
        }
        assert!(all.len_of(Health::Dead) >= SILENT_LEN);
        assert_eq!(all.silent_since_ms(None), None);
    }

    #[test]
    fn refusals_and_few_paths_say_nothing_of_the_others() {
        let mut all = paths(10_000);
        sampled(&mut all, &CheckResult::Refused("connection refused".into()));
        assert_eq!(all.silent_since_ms(None), None);
        let mut few = paths(SAMPLE_LEN);
        assert_eq!(few.sample().count(), SAMPLE_LEN, "all of them are asked");
        sampled(&mut few, &CheckResult::Silent("nobody".into()));
        assert_eq!(few.silent_since_ms(None), None, "nothing has to be guessed");
    }
}
