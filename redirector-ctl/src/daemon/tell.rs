//! Events about changes of the spec: what moved where, why, and what becomes of open flows.

use std::collections::BTreeSet;

use super::EventKind;
use super::events::{About, Events};
use crate::core::apply::ClientMove;
use crate::core::change::Change;
use crate::core::plan::why_drains_ended;
use crate::core::spec::{Cause, Device, Drain, Name, Spec};

/// A change that has happened.
pub(super) struct Done<'a> {
    pub(super) before: &'a Spec,
    pub(super) after: &'a Spec,
    pub(super) change: &'a Change,
    pub(super) why: &'a str,
    pub(super) now_ms: u64,
}

/// Records the events of a change; says their ids.
pub(super) fn tell(events: &mut Events, done: &Done<'_>) -> Vec<u64> {
    events.generation = done.after.generation;
    let mut ids = tell_change(events, done);
    ids.extend(tell_fillings(events, done));
    ids
}

/// Who takes load gradually from now on, and who has filled.
fn tell_fillings(events: &mut Events, done: &Done<'_>) -> Vec<u64> {
    let mut ids = Vec::new();
    let is_about_servers = matches!(
        done.change,
        Change::PutServer { .. }
            | Change::SetServerState { .. }
            | Change::BeginLives { .. }
            | Change::EndFillings { .. }
    );
    for (name, server) in done.after.servers.iter().filter(|_| is_about_servers) {
        let before = done.before.servers.get(name).and_then(|was| was.filling);
        let text = match server.filling {
            now if now == before || server.is_out() => continue,
            Some(of) => {
                let whole = span(of.until_ms.saturating_sub(of.since_ms));
                format!("server {name} is filling: it takes load gradually for {whole}")
            }
            None => format!("server {name} has filled: it takes as much as any other"),
        };
        let about = About::server(name);
        ids.push(events.record(done.now_ms, EventKind::ServerFilling, about, text));
    }
    ids
}

fn tell_change(events: &mut Events, done: &Done<'_>) -> Vec<u64> {
    let at = done.now_ms;
    match done.change {
        // Backups change often and nothing follows from it for anybody until a server dies; clients
        // that are forgotten have gone by themselves; `tell_fillings` says who has filled.
        Change::SetBackups { .. } | Change::ForgetClients { .. } | Change::EndFillings { .. } => {
            tracing::debug!("{}", done.change);
            Vec::new()
        }
        Change::Associate { moves, .. } => {
            all_moved(events, done, moves.iter().map(|one| &one.device))
        }
        Change::PutDevice { name, .. } => {
            let about = About { device: Some(name.clone()), ..About::default() };
            let put = events.record(at, EventKind::Change, about, done.change.to_string());
            [vec![put], all_moved(events, done, [name])].concat()
        }
        Change::PatchDevices { put: devices, .. } => {
            let text = done.change.to_string();
            let put = events.record(at, EventKind::Change, About::default(), text);
            [vec![put], all_moved(events, done, devices.keys())].concat()
        }
        Change::MoveClient(wish) => {
            let ClientMove { device, client, server } = wish;
            let about = About {
                device: Some(device.clone()),
                server: Some(server.clone()),
                cause: Some(Cause::Planned),
            };
            let text = format!("client {client} of device {device}: its new flows go to {server}");
            vec![events.record(at, EventKind::Move, about, text)]
        }
        Change::EndDrains { drains } => {
            let one = |(name, len): (&Name, &usize)| {
                let about = About { device: Some(name.clone()), ..About::default() };
                let drains = if *len == 1 { "a drain" } else { "drains" };
                let text =
                    format!("device {name}: {drains} ended: {}", why_drains_ended(done.why, name));
                events.record(at, EventKind::DrainEnded, about, text)
            };
            drains.iter().map(one).collect()
        }
        Change::EndLives { servers } => {
            let one = |name: &Name| {
                let text = format!("the life of server {name} is over: its open flows are reset");
                events.record(at, EventKind::ServerDead, About::server(name), text)
            };
            servers.iter().map(one).collect()
        }
        Change::BeginLives { servers } => {
            let one = |name: &Name| {
                let text =
                    format!("server {name} begins a new life: nothing of an earlier one resumes");
                events.record(at, EventKind::ServerHealthy, About::server(name), text)
            };
            servers.iter().map(one).collect()
        }
        Change::PutServer { name, .. }
        | Change::RemoveServer { name }
        | Change::SetServerState { name, .. } => {
            let text = done.change.to_string();
            vec![events.record(at, EventKind::Change, About::server(name), text)]
        }
        Change::RemoveDevice { name } => {
            let about = About { device: Some(name.clone()), ..About::default() };
            vec![events.record(at, EventKind::Change, about, done.change.to_string())]
        }
    }
}

/// No other device than those that a change names moves by it.
fn all_moved<'n>(
    events: &mut Events,
    done: &Done<'_>,
    named: impl IntoIterator<Item = &'n Name>,
) -> Vec<u64> {
    let named: BTreeSet<&Name> = named.into_iter().collect();
    named.into_iter().filter_map(|name| moved(events, done, name)).collect()
}

/// Tells of a device that is on another server now.
fn moved(events: &mut Events, done: &Done<'_>, name: &Name) -> Option<u64> {
    let device = done.after.devices.get(name)?;
    let before = &done.before.devices.get(name)?.association;
    let after = &device.association;
    if before.server == after.server {
        return None;
    }
    let kind = match after.cause {
        Cause::Failure => EventKind::Failover,
        Cause::Planned | Cause::Overload => EventKind::Move,
    };
    let its_own = |d: &&Drain| d.epoch == before.epoch && d.server == before.server;
    let drain = after.drains.last().filter(its_own);
    let flows = match drain {
        None => "are reset".to_owned(),
        Some(drain) if drain.failed => {
            "are reset when those that drain from before have ended".to_owned()
        }
        Some(drain) => match drain.deadline_at_ms {
            None => "stay".to_owned(),
            // From the change itself: some ms of its hour are over when it is told.
            Some(at) => {
                format!("stay for at most {}", span(at.saturating_sub(after.changed_at_ms)))
            }
        },
    };
    let text = format!(
        "device {name} moved from {} to {} ({}); open flows on {} {flows}{}{}",
        before.server,
        after.server,
        after.cause.name(),
        before.server,
        if done.why.is_empty() { String::new() } else { format!("; {}", done.why) },
        meets(done.after, name, device),
    );
    let about = About {
        device: Some(name.clone()),
        server: Some(after.server.clone()),
        cause: Some(after.cause),
    };
    Some(events.record(done.now_ms, kind, about, text))
}

/// The device that is to be kept apart from this one and is on the same server all the same.
fn meets(spec: &Spec, name: &Name, device: &Device) -> String {
    let Some(word) = &device.keep_apart else { return String::new() };
    let server = &device.association.server;
    let is_it = |(other, it): &(&Name, &Device)| {
        *other != name && it.association.server == *server && it.keep_apart.as_ref() == Some(word)
    };
    let other = spec.devices.iter().find(is_it);
    let text = |(other, _)| format!("; it meets {other} there, though {word} keeps them apart");
    other.map(text).unwrap_or_default()
}

/// A span of time in the units in which people say it, the two largest at most.
fn span(ms: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = ms;
    let mut parts = Vec::new();
    for (unit, len) in units {
        if rest >= len {
            parts.push(format!("{} {unit}", rest / len));
        }
        rest %= len;
    }
    parts.truncate(2);
    if parts.is_empty() { "0 ms".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_the_units_of_people() {
        for (ms, text) in [
            (0, "0 ms"),
            (250, "250 ms"),
            (1500, "1 s 500 ms"),
            (3_600_000, "1 h"),
            (5_400_000, "1 h 30 min"),
            (90_061_001, "1 d 1 h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
