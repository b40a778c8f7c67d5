//! A device as it is shown: intent and measurement of a snapshot, put together.

use std::collections::BTreeMap;

use super::associations::Association;
use super::clients::OwnServer;
use super::devices::Device;
use super::flows::Flows;
use super::load::Traffic;
use super::responses::Responses;
use super::wire::{Count, Policy};
use crate::core::spec::{Cause, FlowPolicy};
use crate::daemon::Snapshot;

/// A snapshot, with what devices need of it.
pub(super) struct View<'s> {
    snapshot: &'s Snapshot,
    flows: Flows,
    /// Server id -> name.
    server_names: BTreeMap<u16, &'s str>,
}

impl<'s> View<'s> {
    pub fn of(snapshot: &'s Snapshot) -> Self {
        let servers = snapshot.spec.servers.iter();
        let server_names = servers.map(|(name, server)| (server.id, name.as_str())).collect();
        Self { snapshot, flows: Flows::of(snapshot), server_names }
    }

    pub fn device(&self, name: &str) -> Option<Device> {
        let device = self.snapshot.spec.devices.get(name)?;
        let count = self.snapshot.counters.devices.get(&device.id).copied().unwrap_or_default();
        let flows_by_server = self.flows_by_server(device.id);
        Some(Device {
            name: name.to_owned(),
            address: device.address,
            port: device.port,
            ports: device.ports.clone(),
            protocol: device.protocol,
            server_port: device.server_port,
            forwarding: device.forwarding,
            tracking: device.tracking,
            affinity: device.affinity,
            mss_max: device.mss_max,
            tcp_idle_timeout_ms: device.tcp_idle_timeout_ms,
            udp_idle_timeout_ms: device.udp_idle_timeout_ms,
            servers: device.servers.clone(),
            pinned: device.pinned,
            keep_apart: device.keep_apart.clone(),
            on_planned: Policy(device.on_planned),
            on_overload: Policy(device.policy_of(Cause::Overload)),
            // Nothing else can be wished.
            on_failure: Policy(FlowPolicy::Reset),
            fail_back_after_ms: device.fail_back_after_ms,
            check: device.check.clone(),
            check_interval_ms: device.check_pace.interval_ms,
            check_timeout_ms: device.check_pace.timeout_ms,
            rise: device.check_pace.rise,
            fall: device.check_pace.fall,
            association: Association::of(device, &self.flows),
            moved_clients: OwnServer::all_of(&self.snapshot.spec, name),
            flows_len: flows_by_server.values().sum(),
            flows_by_server,
            to_server: Count { packets: count.to_server.packets, bytes: count.to_server.bytes },
            to_client: Count { packets: count.to_client.packets, bytes: count.to_client.bytes },
            flows_opened: count.flows_opened,
            requests: count.requests,
            traffic: Traffic::of_device(self.snapshot, device.id),
            responses: self.snapshot.counters.responses.get(&device.id).and_then(Responses::of),
        })
    }

    /// What went to its servers and its clients, in bytes.
    pub fn bytes(&self, name: &str) -> u64 {
        let Snapshot { spec, counters, .. } = self.snapshot;
        let count = spec.devices.get(name).and_then(|device| counters.devices.get(&device.id));
        count.map_or(0, |count| count.to_server.bytes.saturating_add(count.to_client.bytes))
    }

    /// Its open flows.
    pub fn flows_len(&self, name: &str) -> u64 {
        let device = self.snapshot.spec.devices.get(name);
        device.map_or(0, |device| self.flows.of_device(device.id).map(|(_, len)| len).sum())
    }

    /// A server that is gone has no name; its flows are about to be reaped.
    fn flows_by_server(&self, device: u32) -> BTreeMap<String, u64> {
        let named = |(server, len)| Some((self.server_names.get(&server)?.to_string(), len));
        self.flows.of_device(device).filter_map(named).collect()
    }
}
