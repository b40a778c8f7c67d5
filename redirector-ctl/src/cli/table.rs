//! The API's answers as people read them: aligned tables and plain sentences.

use comfy_table::{CellAlignment, Table, presets};
use serde::de::DeserializeOwned;

use super::words::{
    bytes, duration, health, join, load, or_dash, per_second, percent, policy, rate, some, state,
    word,
};
use crate::api::associations::{Association, AssociationList, Carried, Drain, Moved};
use crate::api::clients::MovedClient;
use crate::api::device_list::DeviceList;
use crate::api::devices::Device;
use crate::api::events::EventList;
use crate::api::load::{Forecast, Load, SignalReading};
use crate::api::servers::{Draining, FillingState, Server, ServerList};
use crate::api::status::Status;
use crate::api::wire::PortMap;

pub(super) type Shown = serde_json::Result<String>;

/// `redirector status`.
pub(super) fn status(body: &[u8]) -> Shown {
    let status: Status = parse(body)?;
    let mut facts = pairs(&[
        ("version", status.version),
        ("up for", duration(status.uptime_ms)),
        ("generation", status.generation.to_string()),
        ("in the tables", status.applied_generation.to_string()),
        ("servers", status.servers_len.to_string()),
        ("devices", status.devices_len.to_string()),
        ("flows", format!("{} of {}", status.flows.used, status.flows.max)),
        ("candidates", format!("{} of {}", status.candidates.used, status.candidates.max)),
    ]);
    if let Some(why) = status.frozen {
        facts.push_str(&format!("decisions are held back: {why}\n"));
    }
    for each in status.blocked {
        facts.push_str(&format!("blocked: {}: {}\n", each.what, each.by));
    }
    let mut interfaces = table(["INTERFACE", "INDEX", "MAC", "MODE", "LINK", "MTU"], &[1, 5]);
    for each in status.interfaces {
        let link = if each.link_up { "up" } else { "down" };
        let (index, mtu) = (each.index.to_string(), each.mtu.to_string());
        interfaces.add_row([each.name, index, each.mac, each.mode, link.to_owned(), mtu]);
    }
    let mut reasons = table(["REASON", "PACKETS", "BYTES", "MEANING"], &[1, 2]);
    for each in status.reasons.into_iter().filter(|reason| reason.packets > 0) {
        reasons.add_row([each.name, each.packets.to_string(), bytes(each.bytes), each.help]);
    }
    Ok(format!("{facts}\n{}\n{}", text(&interfaces), text(&reasons)))
}

/// `redirector server list`.
pub(super) fn servers(body: &[u8]) -> Shown {
    let list: ServerList = parse(body)?;
    let head = [
        "SERVER", "ADDRESS", "STATE", "HEALTH", "PROBE MS", "LOAD", "EXPECTED", "FLOWS", "SENT",
        "DEVICES",
    ];
    let mut table = table(head, &[4, 5, 6, 7, 8]);
    for each in list.items {
        table.add_row([
            each.name,
            each.address.to_string(),
            state(each.state),
            health(each.health),
            or_dash(each.probe_ms.map(|ms| format!("{ms:.2}"))),
            load(&each.load),
            or_dash(each.load.forecast.map(|forecast| percent(forecast.p90))),
            each.flows_len.to_string(),
            bytes(each.bytes),
            some(&each.devices),
        ]);
    }
    Ok(text(&table))
}

/// `redirector server show`.
pub(super) fn server(body: &[u8]) -> Shown {
    let server: Server = parse(body)?;
    let next_hop = server.next_hop.map(|hop| format!("{} on {}", hop.mac, hop.interface));
    // What is otherwise than the whole comes first: of very many not all are shown.
    let (others, alike): (Vec<_>, Vec<_>) =
        server.paths.iter().partition(|(_, found)| **found != server.health);
    let paths = others.into_iter().chain(alike);
    let paths: Vec<String> =
        paths.map(|(device, found)| format!("{device} {}", health(*found))).collect();
    Ok(pairs(&[
        ("server", server.name),
        ("address", server.address.to_string()),
        ("state", state(server.state)),
        ("fills until", or_dash(server.filling.map(filling))),
        ("health", health(server.health)),
        ("since", or_dash(server.health_since)),
        ("last failure", or_dash(server.health_detail)),
        ("last probe", or_dash(server.probe_ms.map(|ms| format!("{ms:.2} ms")))),
        ("health for", some(&paths)),
        ("next hop", next_hop.unwrap_or_else(|| "unresolved".to_owned())),
        ("devices", some(&server.devices)),
        ("open flows", server.flows_len.to_string()),
        ("draining", or_dash(server.draining.map(draining_on))),
        ("sent", format!("{} packets, {}", server.packets, bytes(server.bytes))),
        ("load", load(&server.load)),
        ("signals", signals(&server.load)),
        ("expected", or_dash(server.load.forecast.map(expected_share))),
        ("takes load", server.load.refusal.map_or("yes".to_owned(), |why| format!("no: {why}"))),
    ]))
}

/// What the flows of each drain have carried at most, and how many clients they are of.
fn drained(association: &Association) -> String {
    let of = |drain: &Drain| {
        let (clients, server) = (drain.clients_len, &drain.server);
        format!("{server}: {clients} clients left{}", carried_words(drain.carried.as_ref()))
    };
    join(&association.drains.iter().map(of).collect::<Vec<_>>())
}

fn draining_on(of: Draining) -> String {
    let Draining { flows_len, clients_len, carried } = of;
    format!("{flows_len} flows of {clients_len} clients{}", carried_words(carried.as_ref()))
}

/// What flows that drain have carried at most.
fn carried_words(carried: Option<&Carried>) -> String {
    carried.map_or_else(String::new, |of| {
        format!(", at most {} since {}", bytes(of.bytes_max), of.since)
    })
}

fn filling(of: FillingState) -> String {
    format!("{}; to {} of what others are filled to now", of.until, percent(of.part_max))
}

/// `redirector server drain` and its like.
pub(super) fn server_state(body: &[u8]) -> Shown {
    let server: Server = parse(body)?;
    Ok(format!(
        "server {} is {}: it has {} open flows and these devices: {}\n",
        server.name,
        state(server.state),
        server.flows_len,
        some(&server.devices)
    ))
}

/// `redirector device list`.
pub(super) fn devices(body: &[u8]) -> Shown {
    let list: DeviceList = parse(body)?;
    let head = ["DEVICE", "SERVICE", "SERVER", "BACKUP", "FLOWS", "SENT", "RECEIVED", "DRAINING"];
    let mut table = table(head, &[4, 5, 6]);
    for each in list.items {
        let (service, draining) = (service(&each), draining(&each.association));
        table.add_row([
            each.name,
            service,
            each.association.server,
            or_dash(each.association.backup),
            each.flows_len.to_string(),
            bytes(each.to_server.bytes),
            bytes(each.to_client.bytes),
            draining,
        ]);
    }
    let total = list.total;
    let more = list.next.map(|next| format!("of {total} devices; the next: --cursor {next}\n"));
    Ok(text(&table) + &more.unwrap_or_default())
}

/// `redirector device show`.
pub(super) fn device(body: &[u8]) -> Shown {
    let device: Device = parse(body)?;
    let by_server = device.flows_by_server.iter();
    let by_server: Vec<String> =
        by_server.map(|(server, len)| format!("{len} on {server}")).collect();
    let count = |packets: u64, len: u64| format!("{packets} packets, {}", bytes(len));
    Ok(pairs(&[
        ("device", device.name.clone()),
        ("service", service(&device)),
        ("server port", or_dash((device.server_port != 0).then(|| device.server_port.to_string()))),
        ("forwarding", word(&device.forwarding)),
        ("tracking", word(&device.tracking)),
        ("affinity", word(&device.affinity)),
        ("mss max", or_dash(device.mss_max.map(|len| format!("{len} bytes")))),
        ("idle timeout", or_dash(idle_timeout(&device).map(duration))),
        ("servers", join(&device.servers)),
        ("server", device.association.server.clone()),
        ("backup", or_dash(device.association.backup.clone())),
        ("since", device.association.changed_at.clone()),
        ("cause", word(&device.association.cause)),
        ("epoch", device.association.epoch.to_string()),
        ("draining", draining(&device.association)),
        ("drained", drained(&device.association)),
        ("when moved", policy(device.on_planned)),
        ("for load", policy(device.on_overload)),
        ("on failure", policy(device.on_failure)),
        ("check", device.check.to_string()),
        ("open flows", join(&by_server)),
        ("flows so far", device.flows_opened.to_string()),
        ("requests", requests(&device)),
        ("to servers", count(device.to_server.packets, device.to_server.bytes)),
        ("to clients", count(device.to_client.packets, device.to_client.bytes)),
        ("traffic", or_dash(device.traffic.bytes_per_second.map(rate))),
        ("expected", or_dash(device.traffic.forecast.map(|forecast| expected(&forecast, rate)))),
        ("pinned", if device.pinned { "yes" } else { "no" }.to_owned()),
        ("kept apart", or_dash(device.keep_apart)),
    ]))
}

/// `redirector association list`.
pub(super) fn associations(body: &[u8]) -> Shown {
    let list: AssociationList = parse(body)?;
    let head = ["DEVICE", "SERVER", "BACKUP", "EPOCH", "CAUSE", "SINCE", "DRAINING"];
    let mut table = table(head, &[3]);
    for each in list.items {
        let draining = draining(&each.association);
        table.add_row([
            each.device,
            each.association.server,
            or_dash(each.association.backup),
            each.association.epoch.to_string(),
            word(&each.association.cause),
            each.association.changed_at,
            draining,
        ]);
    }
    let total = list.total;
    let more =
        list.next.map(|next| format!("of {total} associations; the next: --cursor {next}\n"));
    Ok(text(&table) + &more.unwrap_or_default())
}

/// `redirector device move` and `redirector association set`.
pub(super) fn moved(body: &[u8]) -> Shown {
    let moved: Moved = parse(body)?;
    let lines = moved.associations.iter().map(|each| {
        let drains = match draining(&each.association).as_str() {
            "-" => String::new(),
            flows => format!("; open flows: {flows}"),
        };
        format!("device {} is reached through {}{drains}\n", each.device, each.association.server)
    });
    Ok(format!("{}generation {}\n", lines.collect::<String>(), moved.generation))
}

/// `redirector device move-client`.
pub(super) fn moved_client(body: &[u8]) -> Shown {
    let MovedClient { device, client, server, flows_reset, .. } = parse(body)?;
    Ok(format!("client {client} of {device}: new flows go to {server}; {flows_reset} were reset\n"))
}

/// `redirector events`.
pub(super) fn events(body: &[u8]) -> Shown {
    let list: EventList = parse(body)?;
    let mut table = table(["ID", "AT", "KIND", "WHAT"], &[0]);
    for each in list.items {
        table.add_row([each.id.to_string(), each.at, word(&each.kind), each.text]);
    }
    Ok(text(&table))
}

/// What is expected, and who says so.
fn expected(forecast: &Forecast, unit: fn(f64) -> String) -> String {
    let Forecast { p50, p90, forecaster, .. } = forecast;
    format!("{}, at most {} nine times out of ten ({forecaster})", unit(*p50), unit(*p90))
}

fn expected_share(forecast: Forecast) -> String {
    expected(&forecast, percent)
}

fn signals(load: &Load) -> String {
    let signal = |(name, reading): (&String, &SignalReading)| {
        format!("{name} {} {} ago", percent(reading.share), duration(reading.age_ms))
    };
    join(&load.signals.iter().map(signal).collect::<Vec<_>>())
}

fn service(device: &Device) -> String {
    let ports = PortMap::new(device.protocol, (device.port, device.server_port), &device.ports);
    ports.service(device.address)
}

/// Requests so far, and how many a second of late.
fn requests(device: &Device) -> String {
    let now = device.traffic.requests_per_second.map(|rate| format!(", {} now", per_second(rate)));
    format!("{}{}", device.requests, now.unwrap_or_default())
}

/// The device's own idle time-out, if it has one.
fn idle_timeout(device: &Device) -> Option<u64> {
    device.tcp_idle_timeout_ms.or(device.udp_idle_timeout_ms)
}

fn draining(association: &Association) -> String {
    let drains = association.drains.iter().map(|drain| match &drain.deadline_at {
        Some(deadline) => format!("{} on {} until {deadline}", drain.flows_len, drain.server),
        None => format!("{} on {}", drain.flows_len, drain.server),
    });
    join(&drains.collect::<Vec<_>>())
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}

/// An empty table without lines, the columns `right` set to the right.
pub(super) fn table<const N: usize>(head: [&str; N], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

pub(super) fn text(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Names and values, one pair a line.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}
