//! What is known of all paths of one server, and how many of each health there are.
//!
//! A server with tens of thousands of devices is asked after at every report of a check, so its
//! paths are counted as they change and not when somebody asks.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::health::{Health, PathHealth};
use super::spec::Name;

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
