//! Devices that failed over go back to the server that they prefer, where they are told to. One at
//! a time, and while that server fills no more than its part of those that prefer it.

use super::super::change::{Change, Move};
use super::super::fitness::obstacle;
use super::super::spec::{Cause, Device, Name, Spec};
use super::Planner;

/// Time between two devices that go back to one server, in ms.
const FILLS_EVERY_MS: u64 = 1000;

pub(super) fn pass(planner: &mut Planner<'_>) {
    if planner.plan.held_back.is_some() {
        return; // Who is fit is not known now.
    }
    // Most devices never go back by themselves.
    let devices = planner.plan.spec.devices.iter();
    let told = devices.filter(|(_, device)| device.fail_back_after_ms.is_some());
    let names: Vec<Name> = told.map(|(name, _)| name.clone()).collect();
    for name in names {
        let Some((server, at_ms)) = due(planner, &name) else { continue };
        if at_ms > planner.ctx.now_ms {
            planner.wake_at(at_ms);
            continue;
        }
        let why = format!("{name} goes back to {server}, which it prefers and which is healthy");
        let moves = vec![Move { device: name, server, policy: None }];
        planner.decide(Change::Associate { moves, cause: Cause::Planned }, why);
    }
}

/// Where the device is to go back to, and when.
fn due(planner: &Planner<'_>, name: &Name) -> Option<(Name, u64)> {
    let (spec, observed) = (&planner.plan.spec, planner.ctx.observed);
    let device = spec.devices.get(name)?;
    let after_ms = device.fail_back_after_ms?;
    let server = device.servers.first()?;
    let now = &device.association;
    if now.cause != Cause::Failure || now.server == *server {
        return None;
    }
    if obstacle(spec, observed, server, name).is_some() {
        return None;
    }
    let healthy_since_ms = observed.paths.get(server)?.get(name)?.since_ms;
    let steady_at_ms = healthy_since_ms.saturating_add(after_ms);
    Some((server.clone(), steady_at_ms.max(room_at_ms(spec, server))))
}

/// When the server may take the next device.
fn room_at_ms(spec: &Spec, server: &Name) -> u64 {
    let on_it = |device: &&Device| device.association.server == *server;
    let prefers_it = |device: &&Device| device.servers.first() == Some(server);
    let changes = spec.devices.values().filter(on_it).map(|d| d.association.changed_at_ms);
    let (on_len, last_ms) = (changes.clone().count(), changes.max());
    let rested_at_ms = last_ms.map_or(0, |last_ms| last_ms.saturating_add(FILLS_EVERY_MS));
    let filling = spec.servers.get(server).and_then(|known| known.filling);
    let len = spec.devices.values().filter(prefers_it).count();
    filling.map_or(0, |filling| filling.room_at_ms(on_len + 1, len)).max(rested_at_ms)
}
