//! The flow census, sorted by what the resources show. Not the flows themselves.

use std::collections::BTreeMap;

use crate::daemon::Snapshot;

/// Open flows, those that one end has closed left out, by server, by device and by association.
#[derive(Debug, Default)]
pub(super) struct Flows {
    by_server: BTreeMap<u16, u64>,
    by_device: BTreeMap<u32, BTreeMap<u16, u64>>,
    by_epoch: BTreeMap<(u32, u16), u64>,
    clients_by_epoch: BTreeMap<(u32, u16), u64>,
}

impl Flows {
    /// Sorts the census of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut flows = Self::default();
        let census = &snapshot.census;
        for (&(device, epoch, server), &len) in &census.by_epoch {
            let closing = census.closing.get(&(device, epoch, server)).copied().unwrap_or_default();
            let len = len.saturating_sub(closing);
            *flows.by_server.entry(server).or_default() += len;
            *flows.by_device.entry(device).or_default().entry(server).or_default() += len;
            *flows.by_epoch.entry((device, epoch)).or_default() += len;
        }
        for (epoch, clients) in &census.draining_clients {
            flows.clients_by_epoch.insert(*epoch, clients.len() as u64);
        }
        flows
    }

    /// Flows on a server.
    pub fn on_server(&self, server: u16) -> u64 {
        self.by_server.get(&server).copied().unwrap_or_default()
    }

    /// Flows of a device on each server that has some.
    pub fn of_device(&self, device: u32) -> impl Iterator<Item = (u16, u64)> {
        self.by_device.get(&device).into_iter().flatten().map(|(server, len)| (*server, *len))
    }

    /// Clients of the flows of an association that drains.
    pub fn clients_of_epoch(&self, device: u32, epoch: u16) -> u64 {
        self.clients_by_epoch.get(&(device, epoch)).copied().unwrap_or_default()
    }

    /// Flows of one association of a device.
    pub fn of_epoch(&self, device: u32, epoch: u16) -> u64 {
        self.by_epoch.get(&(device, epoch)).copied().unwrap_or_default()
    }
}
