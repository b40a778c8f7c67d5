//! The flow census, sorted by what the resources show. Not the flows themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::core::drained::{Carried, DrainMarks, DrainedBytes};
use crate::core::spec::Name;
use crate::daemon::Snapshot;

/// Open flows, those that one end has closed left out, by server, by device and by association.
#[derive(Debug, Default)]
pub(super) struct Flows {
    by_server: BTreeMap<u16, u64>,
    by_device: BTreeMap<u32, BTreeMap<u16, u64>>,
    by_epoch: BTreeMap<(u32, u16), u64>,
    clients_by_epoch: BTreeMap<(u32, u16), u64>,
    drain_marks: Arc<DrainMarks>,
    carried: Carried,
}

/// What drains on a server, of all devices together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DrainingOn {
    /// Open flows.
    pub flows_len: u64,
    /// Clients that they are of.
    pub clients_len: u64,
    /// What they have carried at most.
    pub bytes: Option<DrainedBytes>,
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
        if !snapshot.drain_marks.is_empty() {
            flows.drain_marks = Arc::clone(&snapshot.drain_marks);
            flows.carried = snapshot.counters.carried();
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

    /// What the flows of an association that drains have carried at most.
    pub fn drained(&self, device: u32, epoch: u16) -> Option<DrainedBytes> {
        self.drain_marks.of_drain(device, epoch, &self.carried)
    }

    /// What drains on each server on which something does.
    pub fn draining(&self, snapshot: &Snapshot) -> BTreeMap<Name, DrainingOn> {
        let mut all: BTreeMap<Name, DrainingOn> = BTreeMap::new();
        let mut clients: BTreeMap<&Name, BTreeSet<IpAddr>> = BTreeMap::new();
        for device in snapshot.spec.devices.values() {
            for drain in &device.association.drains {
                let on = all.entry(drain.server.clone()).or_default();
                on.flows_len += self.of_epoch(device.id, drain.epoch);
                let of = snapshot.census.draining_clients.get(&(device.id, drain.epoch));
                clients.entry(&drain.server).or_default().extend(of.into_iter().flatten());
            }
        }
        for (server, on) in &mut all {
            on.clients_len = clients.get(server).map_or(0, |of| of.len() as u64);
            on.bytes = self.drain_marks.on_server(&snapshot.spec, server, &self.carried);
        }
        all
    }

    /// Flows of one association of a device.
    pub fn of_epoch(&self, device: u32, epoch: u16) -> u64 {
        self.by_epoch.get(&(device, epoch)).copied().unwrap_or_default()
    }
}
