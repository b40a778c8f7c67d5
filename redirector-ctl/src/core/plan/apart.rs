//! Where the devices are that are to be kept apart. Whoever takes over breaks no such wish where
//! another may; where none may, to be reached comes first.

use std::collections::BTreeMap;

use super::super::spec::{Device, Name, Spec};

/// (word of `keep_apart`, server) -> devices.
pub(super) struct Apart<'a> {
    lens: BTreeMap<(&'a Name, &'a Name), usize>,
}

impl<'a> Apart<'a> {
    pub(super) fn new(spec: &'a Spec) -> Self {
        let mut lens = BTreeMap::new();
        for device in spec.devices.values() {
            if let Some(word) = &device.keep_apart {
                *lens.entry((word, &device.association.server)).or_default() += 1;
            }
        }
        Self { lens }
    }

    /// Whether another device of its word is on that server.
    pub(super) fn is_broken(&self, device: &Device, server: &Name) -> bool {
        let Some(word) = &device.keep_apart else { return false };
        let own = usize::from(device.association.server == *server);
        self.lens.get(&(word, server)).is_some_and(|len| *len > own)
    }

    /// The device leaves its server for another one.
    pub(super) fn take(&mut self, device: &'a Device, server: &'a Name) {
        let Some(word) = &device.keep_apart else { return };
        if let Some(len) = self.lens.get_mut(&(word, &device.association.server)) {
            *len = len.saturating_sub(1);
        }
        *self.lens.entry((word, server)).or_default() += 1;
    }
}
