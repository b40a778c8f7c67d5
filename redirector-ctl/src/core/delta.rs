//! What a change made of a spec, as a value: of a hundred thousand devices it names those that
//! differ, so that writing a change down takes as long as the change is large, not the spec.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::differing::{Pair, differing};
use super::spec::{Device, HeldClient, Name, Server, Spec};

/// What one spec has otherwise than another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The generation of the later one.
    pub generation: u64,
    /// Servers by name.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    servers: Changes<Name, Server>,
    /// Devices by name.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    devices: Changes<Name, Device>,
    /// Clients that were moved by themselves, by their device.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    clients: Changes<Name, BTreeMap<IpAddr, HeldClient>>,
    /// Last incarnations by server id.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    incarnations: Changes<u16, u32>,
    /// Last epochs by device id.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    epochs: Changes<u32, u16>,
}

impl Delta {
    /// What leads from one spec to the other.
    #[must_use]
    pub fn between(before: &Spec, after: &Spec) -> Self {
        let mut delta = Self {
            generation: after.generation,
            servers: Changes::between(&before.servers, &after.servers),
            clients: Changes::between(&before.clients, &after.clients),
            incarnations: Changes::between(&before.slots.incarnations, &after.slots.incarnations),
            ..Self::default()
        };
        if !before.devices.is_same(&after.devices) {
            let found = before.devices.differing(&after.devices, |was, is| was == is);
            delta.devices = Changes::of(found);
        }
        if !before.slots.epochs.is_same(&after.slots.epochs) {
            delta.epochs = Changes::between(&before.slots.epochs, &after.slots.epochs);
        }
        delta
    }

    /// Makes the later spec of the earlier one.
    pub fn apply_to(self, spec: &mut Spec) {
        spec.generation = self.generation;
        self.servers.apply_to(&mut spec.servers);
        self.clients.apply_to(&mut spec.clients);
        self.incarnations.apply_to(&mut spec.slots.incarnations);
        // What is shared is copied by a mutable look at it alone.
        if !self.devices.is_empty() {
            let Changes { put, gone } = self.devices;
            for name in &gone {
                spec.devices.remove(name);
            }
            spec.devices.extend(put);
        }
        if !self.epochs.is_empty() {
            self.epochs.apply_to(&mut spec.slots.epochs);
        }
    }
}

/// What one map has otherwise than another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes<K: Ord, V> {
    /// New entries, and entries with another value.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    put: BTreeMap<K, V>,
    /// Entries that are there no more.
    #[serde(default = "BTreeSet::new", skip_serializing_if = "BTreeSet::is_empty")]
    gone: BTreeSet<K>,
}

impl<K: Ord, V> Default for Changes<K, V> {
    fn default() -> Self {
        Self { put: BTreeMap::new(), gone: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Changes<K, V> {
    fn between(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> Self {
        Self::of(differing(before, after, |was, is| was == is))
    }

    fn of(found: Vec<Pair<'_, K, V>>) -> Self {
        let mut changes = Self::default();
        for (key, _, is) in found {
            match is {
                Some(value) => drop(changes.put.insert(key.clone(), value.clone())),
                None => drop(changes.gone.insert(key.clone())),
            }
        }
        changes
    }
}

impl<K: Ord, V> Changes<K, V> {
    fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }

    fn apply_to(self, map: &mut BTreeMap<K, V>) {
        for key in &self.gone {
            map.remove(key);
        }
        map.extend(self.put);
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::{Change, Move};
    use super::super::fixtures::{all_well, at, changed, three_and_three};
    use super::super::spec::Cause;
    use super::*;

    fn there_and_back(before: &Spec, after: &Spec) -> String {
        let text = serde_json::to_string(&Delta::between(before, after)).unwrap();
        let delta: Delta = serde_json::from_str(&text).unwrap();
        let mut made = before.clone();
        delta.apply_to(&mut made);
        assert_eq!(&made, after, "{text}");
        text
    }

    #[test]
    fn it_names_what_a_change_made_others_and_nothing_else() {
        let before = three_and_three();
        let well = all_well(&before);
        let moves = vec![Move { device: "d1".into(), server: "s2".into(), policy: None }];
        let moved = Change::Associate { moves, cause: Cause::Planned };
        let after = changed(&before, &[moved], &at(2000, &well));
        let text = there_and_back(&before, &after);
        assert!(text.contains("\"d1\"") && !text.contains("\"d2\""), "{text}");
        let nothing = there_and_back(&after, &after);
        assert_eq!(nothing, format!("{{\"generation\":{}}}", after.generation));
    }

    #[test]
    fn what_goes_is_taken_away_and_what_comes_is_put() {
        let full = three_and_three();
        there_and_back(&Spec::default(), &full);
        let text = there_and_back(&full, &Spec::default());
        assert!(text.contains("\"gone\":[\"d1\",\"d2\",\"d3\"]"), "{text}");
    }
}
