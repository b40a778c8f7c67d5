//! Changes that only the planner makes: the ends and beginnings of servers' lives, the ends of
//! their filling, the ends of drains.

use std::collections::BTreeMap;

use super::super::change::Context;
use super::super::spec::{Name, Spec};
use super::super::validate::Problems;
use super::servers;

/// The present life of these servers is over.
pub(super) fn end(spec: &mut Spec, names: &[Name], problems: &mut Problems) {
    for name in names {
        match spec.servers.get_mut(name) {
            Some(server) => server.end_life(),
            None => servers::unknown(name, problems),
        }
    }
}

/// Servers whose life was over begin the next one.
pub(super) fn begin(spec: &mut Spec, names: &[Name], ctx: &Context<'_>, problems: &mut Problems) {
    for name in names {
        let Some(mut server) = spec.servers.remove(name) else {
            servers::unknown(name, problems);
            continue;
        };
        if server.life_over {
            servers::begin_life(spec, &mut server, ctx);
        }
        spec.servers.insert(name.clone(), server);
    }
}

/// These servers have filled, and take as much as any other.
pub(super) fn end_fillings(spec: &mut Spec, names: &[Name], problems: &mut Problems) {
    for name in names {
        match spec.servers.get_mut(name) {
            Some(server) => server.filling = None,
            None => servers::unknown(name, problems),
        }
    }
}

/// Ends the oldest drains of devices: so many of each.
pub(super) fn end_drains(spec: &mut Spec, ended: &BTreeMap<Name, usize>, problems: &mut Problems) {
    for (name, len) in ended {
        let Some(device) = spec.devices.get_mut(name) else {
            problems.not_found("unknown_device", "device", format!("there is no device {name}"));
            continue;
        };
        let len = (*len).min(device.association.drains.len());
        device.association.drains.drain(..len);
    }
}
