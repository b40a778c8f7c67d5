//! Metrics of devices.

use std::collections::BTreeMap;

use super::{Page, of_loads};
use crate::api::flows::Flows;
use crate::core::spec::Device;
use crate::daemon::Snapshot;

/// Adds them, about 1 KB of each device; with more than `devices_max` devices none of a single one,
/// so that a page does not grow beyond what whoever reads it can keep.
pub(super) fn add(page: &mut Page, snapshot: &Snapshot, flows: &Flows, devices_max: usize) {
    let devices_len = snapshot.spec.devices.len();
    let left_out_len = if devices_len > devices_max { devices_len } else { 0 };
    let help = "Devices without series of their own, because there are more of them than \
                metrics_devices_max under [api].";
    page.gauge("redirector_metrics_devices_left_out", help).only(left_out_len as f64);
    if left_out_len > 0 {
        return;
    }
    let servers = snapshot.spec.servers.iter();
    let server_names: BTreeMap<u16, &str> =
        servers.map(|(name, server)| (server.id, name.as_str())).collect();
    association(page, snapshot);
    open_flows(page, snapshot, flows, &server_names);
    traffic(page, snapshot);
    responses(page, snapshot);
    of_loads::add_devices(page, snapshot);
}

fn association(page: &mut Page, snapshot: &Snapshot) {
    let help = "Always 1; the label has the server through which the device is reached.";
    let mut family = page.gauge("redirector_device_server", help);
    for (name, device) in &snapshot.spec.devices {
        family.add(&[("device", name), ("server", &device.association.server)], 1.0);
    }
    drop(family);
    let help = "Version of the device's association; it grows with each move.";
    let mut family = page.gauge("redirector_device_epoch", help);
    for (name, device) in &snapshot.spec.devices {
        family.add(&[("device", name)], device.association.epoch.into());
    }
}

fn open_flows(
    page: &mut Page,
    snapshot: &Snapshot,
    flows: &Flows,
    server_names: &BTreeMap<u16, &str>,
) {
    let mut family = page.gauge("redirector_device_flows", "Open flows on each server.");
    for (name, device) in &snapshot.spec.devices {
        let mut on: BTreeMap<&str, u64> = BTreeMap::new();
        on.insert(&device.association.server, 0);
        // A server that is gone has no name; its flows are about to be taken away.
        let named = flows.of_device(device.id);
        on.extend(named.filter_map(|(server, len)| Some((*server_names.get(&server)?, len))));
        for (server, len) in on {
            family.add(&[("device", name), ("server", server)], len as f64);
        }
    }
    drop(family);
    let help = "Open flows of earlier associations, which drain.";
    let mut family = page.gauge("redirector_device_draining_flows", help);
    for (name, device) in &snapshot.spec.devices {
        let drains = device.association.drains.iter();
        let len: u64 = drains.map(|drain| flows.of_epoch(device.id, drain.epoch)).sum();
        family.add(&[("device", name)], len as f64);
    }
}

fn traffic(page: &mut Page, snapshot: &Snapshot) {
    let count =
        |device: &Device| snapshot.counters.devices.get(&device.id).copied().unwrap_or_default();
    both_ways(page, snapshot, Unit::Packets);
    both_ways(page, snapshot, Unit::Bytes);
    let help = "Flows opened since the tables were made.";
    let mut family = page.counter("redirector_device_flows_opened_total", help);
    for (name, device) in &snapshot.spec.devices {
        family.add(&[("device", name)], count(device).flows_opened as f64);
    }
    drop(family);
    let help = "What its clients have ended by pushing (payload and TCP's PSH), and their \
                datagrams, since the tables were made.";
    let mut family = page.counter("redirector_device_requests_total", help);
    for (name, device) in &snapshot.spec.devices {
        family.add(&[("device", name)], count(device).requests as f64);
    }
}

fn responses(page: &mut Page, snapshot: &Snapshot) {
    let help = "From a client's data to its server's answer; at most 250 a second are timed.";
    let devices = snapshot.spec.devices.iter();
    let timed = devices
        .filter_map(|(name, of)| Some((name.as_str(), snapshot.counters.responses.get(&of.id)?)));
    page.responses(("redirector_device_response_seconds", help), "device", timed);
}

/// In what traffic is counted.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Packets,
    Bytes,
}

fn both_ways(page: &mut Page, snapshot: &Snapshot, unit: Unit) {
    let (name, help) = match unit {
        Unit::Packets => ("redirector_device_packets_total", "Packets carried, by direction."),
        Unit::Bytes => ("redirector_device_bytes_total", "Bytes of whole frames, by direction."),
    };
    let mut family = page.counter(name, help);
    for (name, device) in &snapshot.spec.devices {
        let of = snapshot.counters.devices.get(&device.id).copied().unwrap_or_default();
        for (direction, count) in [("to_server", of.to_server), ("to_client", of.to_client)] {
            let value = match unit {
                Unit::Packets => count.packets,
                Unit::Bytes => count.bytes,
            };
            family.add(&[("device", name), ("direction", direction)], value as f64);
        }
    }
}
