//! Metrics of the packet path as a whole, and of the daemon's own health.

use super::Page;
use super::family::{flag, seconds};
use crate::api::usage::UsageCounts;
use crate::core::spec::Cause;
use crate::daemon::{EventKind, Snapshot};

/// Adds them.
pub(super) fn add(page: &mut Page, snapshot: &Snapshot, usage: &UsageCounts) {
    state(page, snapshot);
    interfaces(page, snapshot);
    reasons(page, snapshot);
    tables(page, snapshot);
    history(page, snapshot);
    recorder(page, snapshot);
    own_health(page, snapshot);
    api(page, usage);
}

fn recorder(page: &mut Page, snapshot: &Snapshot) {
    let counts = &snapshot.counters.recorder;
    let help = "Packets that the flight recorder has recorded.";
    page.counter("redirector_recorder_packets_total", help).only(counts.recorded as f64);
    let help = "Recorded packets that newer ones have taken the place of.";
    page.counter("redirector_recorder_overwritten_total", help).only(counts.overwritten as f64);
    let help = "Packets that the flight recorder left out because too many came at a time.";
    page.counter("redirector_recorder_left_out_total", help).only(counts.left_out as f64);
}

fn state(page: &mut Page, snapshot: &Snapshot) {
    let mut build = page.gauge("redirector_build_info", "Always 1; the label has the version.");
    build.add(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    drop(build);
    let started = "When the daemon started, in seconds since the Unix epoch.";
    page.gauge("redirector_start_time_seconds", started)
        .only(snapshot.started_at_ms as f64 / 1000.0);
    let generation = "Generation of the desired state.";
    page.gauge("redirector_generation", generation).only(snapshot.spec.generation as f64);
    let applied = "Generation that the kernel's tables hold.";
    page.gauge("redirector_applied_generation", applied).only(snapshot.applied_generation as f64);
    let frozen = "1 while the daemon holds its decisions back because all servers are silent.";
    page.gauge("redirector_frozen", frozen).only(flag(snapshot.frozen.is_some()));
    let blocked = "Changes that are needed but cannot be made.";
    page.gauge("redirector_blocked_changes", blocked).only(snapshot.blocked.len() as f64);
    let owed = "Writes to disk or tables that failed and are tried again.";
    page.gauge("redirector_owed_writes", owed).only(snapshot.owed.len() as f64);
}

fn interfaces(page: &mut Page, snapshot: &Snapshot) {
    let help = "Always 1; the label has the mode in force, as the kernel says.";
    let mut mode = page.gauge("redirector_interface_mode", help);
    for interface in &snapshot.interfaces {
        mode.add(&[("interface", &interface.name), ("mode", &interface.mode)], 1.0);
    }
    drop(mode);
    let mut up = page.gauge("redirector_interface_up", "1 while the interface has a carrier.");
    for interface in &snapshot.interfaces {
        up.add(&[("interface", &interface.name)], flag(interface.link_up));
    }
}

fn reasons(page: &mut Page, snapshot: &Snapshot) {
    let help = "Packets by what became of them; every packet has one reason.";
    let mut packets = page.counter("redirector_packets_total", help);
    for (reason, count) in &snapshot.counters.reasons {
        packets.add(&[("reason", reason.name())], count.packets as f64);
    }
    drop(packets);
    let help = "Bytes of whole frames by what became of them.";
    let mut bytes = page.counter("redirector_bytes_total", help);
    for (reason, count) in &snapshot.counters.reasons {
        bytes.add(&[("reason", reason.name())], count.bytes as f64);
    }
}

fn tables(page: &mut Page, snapshot: &Snapshot) {
    let (census, spec, limits) = (&snapshot.census, &snapshot.spec, &snapshot.limits);
    let tables = [
        ("candidates", census.candidates_len, census.candidates_max),
        ("devices", spec.devices.len() as u64, limits.devices_max.into()),
        ("flows", census.flows_len, census.flows_max),
        ("servers", spec.servers.len() as u64, limits.servers_max.into()),
    ];
    let mut used = page.gauge("redirector_table_entries", "Entries in a table.");
    for (table, len, _) in tables {
        used.add(&[("table", table)], len as f64);
    }
    drop(used);
    let mut room = page.gauge("redirector_table_entries_max", "Entries that fit into a table.");
    for (table, _, max) in tables {
        room.add(&[("table", table)], max as f64);
    }
    drop(room);
    let help = "Flows that were taken out of the table because they were over.";
    page.counter("redirector_flows_reaped_total", help).only(snapshot.own.flows_reaped as f64);
}

fn history(page: &mut Page, snapshot: &Snapshot) {
    let count = |known: Option<&u64>| known.copied().unwrap_or_default() as f64;
    let help = "Devices that changed their server; cause failure is a failover.";
    let mut moves = page.counter("redirector_moves_total", help);
    for cause in Cause::ALL {
        moves.add(&[("cause", cause.name())], count(snapshot.own.moves.get(&cause)));
    }
    drop(moves);
    let mut events = page.counter("redirector_events_total", "Events by kind.");
    for kind in EventKind::ALL {
        events.add(&[("kind", kind.name())], count(snapshot.own.events.get(&kind)));
    }
}

fn own_health(page: &mut Page, snapshot: &Snapshot) {
    let own = &snapshot.own;
    let help = "How long turns of the control loop took.";
    page.spans("redirector_loop_turn_seconds", help, &own.turns);
    let help = "How late the control loop came to its last regular tick.";
    page.gauge("redirector_loop_lag_seconds", help).only(seconds(own.lag_us));
    let help = "How long sweeps of the flow table took.";
    page.spans("redirector_sweep_seconds", help, &own.sweeps);
}

fn api(page: &mut Page, usage: &UsageCounts) {
    let help = "Requests that the API answered, by class of status.";
    let mut requests = page.counter("redirector_api_requests_total", help);
    for (class, len) in usage.by_class {
        requests.add(&[("status", class)], len as f64);
    }
    drop(requests);
    let help = "Event streams that are open.";
    page.gauge("redirector_api_streams", help).only(usage.streams as f64);
}
