//! Metrics of servers.

use std::collections::BTreeMap;

use super::Page;
use super::family::flag;
use crate::api::flows::Flows;
use crate::core::health::Health;
use crate::core::spec::{Server, Standing};
use crate::daemon::Snapshot;

/// Adds them.
pub(super) fn add(page: &mut Page, snapshot: &Snapshot, flows: &Flows) {
    health(page, snapshot);
    checks(page, snapshot);
    state(page, snapshot);
    traffic(page, snapshot, flows);
}

/// A value for each server.
fn each(
    page: &mut Page,
    (name, help): (&str, &str),
    snapshot: &Snapshot,
    value: impl Fn(&String, &Server) -> Option<f64>,
) {
    let mut family = page.gauge(name, help);
    for (name, server) in &snapshot.spec.servers {
        if let Some(value) = value(name, server) {
            family.add(&[("server", name)], value);
        }
    }
}

fn health(page: &mut Page, snapshot: &Snapshot) {
    let help = "Measured health: 1 for the one that holds.";
    let mut family = page.gauge("redirector_server_health", help);
    for name in snapshot.spec.servers.keys() {
        let now = snapshot.health.get(name).map(|known| known.health).unwrap_or_default();
        for health in Health::ALL {
            let labels = [("server", name.as_str()), ("health", health.name())];
            family.add(&labels, flag(health == now));
        }
    }
    drop(family);
    let help = "Devices that the server may serve, by its measured health for each.";
    let mut family = page.gauge("redirector_server_paths", help);
    for name in snapshot.spec.servers.keys() {
        for health in Health::ALL {
            let lens = snapshot.paths.get(name).map(|of| &of.lens);
            let len = lens.and_then(|lens| lens.get(&health)).copied().unwrap_or_default();
            let labels = [("server", name.as_str()), ("health", health.name())];
            family.add(&labels, len as f64);
        }
    }
}

fn checks(page: &mut Page, snapshot: &Snapshot) {
    let help = "Checks by what came of them.";
    let mut family = page.counter("redirector_server_checks_total", help);
    for name in snapshot.spec.servers.keys() {
        let of = snapshot.own.checks.get(name).copied().unwrap_or_default();
        for (result, len) in of.by_result() {
            family.add(&[("server", name), ("result", result)], len as f64);
        }
    }
    drop(family);
    let help = "How long the fastest of the last answered checks took; absent before the first.";
    each(page, ("redirector_server_check_seconds", help), snapshot, |name, _| {
        Some(snapshot.health.get(name)?.probe_ms? / 1000.0)
    });
}

fn state(page: &mut Page, snapshot: &Snapshot) {
    let help = "What is wanted of it, but filling for active while it takes load gradually: 1 for \
                the state that holds.";
    let mut family = page.gauge("redirector_server_state", help);
    for (name, server) in &snapshot.spec.servers {
        for state in Standing::ALL {
            let labels = [("server", name.as_str()), ("state", state.name())];
            family.add(&labels, flag(state == server.standing()));
        }
    }
    drop(family);
    let help = "1 while the Ethernet address of the way to it is known.";
    each(page, ("redirector_server_next_hop_known", help), snapshot, |name, _| {
        Some(flag(snapshot.next_hops.contains_key(name)))
    });
    let mut devices: BTreeMap<&str, u32> = BTreeMap::new();
    for device in snapshot.spec.devices.values() {
        *devices.entry(&device.association.server).or_default() += 1;
    }
    let help = "Devices that are reached through it.";
    each(page, ("redirector_server_devices", help), snapshot, |name, _| {
        Some(devices.get(name.as_str()).copied().unwrap_or_default().into())
    });
}

fn traffic(page: &mut Page, snapshot: &Snapshot, flows: &Flows) {
    let help = "Open flows on it.";
    each(page, ("redirector_server_flows", help), snapshot, |_, server| {
        Some(flows.on_server(server.id) as f64)
    });
    let count =
        |server: &Server| snapshot.counters.servers.get(&server.id).copied().unwrap_or_default();
    let help = "Packets carried to and from it.";
    let mut packets = page.counter("redirector_server_packets_total", help);
    for (name, server) in &snapshot.spec.servers {
        packets.add(&[("server", name)], count(server).packets as f64);
    }
    drop(packets);
    let help = "Bytes of whole frames carried to and from it.";
    let mut bytes = page.counter("redirector_server_bytes_total", help);
    for (name, server) in &snapshot.spec.servers {
        bytes.add(&[("server", name)], count(server).bytes as f64);
    }
}
