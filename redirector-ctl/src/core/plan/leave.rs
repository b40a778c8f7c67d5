//! Pass 2: devices that must leave their server, because it is dead for them or is being taken out
//! of service.

use std::collections::BTreeMap;

use super::super::change::{Change, Move};
use super::super::fitness::obstacle;
use super::super::spec::{AdminState, Cause, Device, Name, Spec};
use super::apart::Apart;
use super::filling::is_filling;
use super::{Decision, Planner};

/// Why a device must leave its server.
struct Reason {
    cause: Cause,
    text: String,
}

/// The moves of one cause and why each is made.
#[derive(Default)]
struct Batch {
    moves: Vec<Move>,
    why: Vec<(Name, String)>,
}

/// Of more devices than that, those with the same reason are told together.
const NAMED_MAX: usize = 8;

impl Batch {
    /// The reasons of all.
    fn reasons(&self) -> String {
        if self.why.len() <= NAMED_MAX {
            let each = self.why.iter().map(|(name, why)| format!("{name}: {why}"));
            return each.collect::<Vec<_>>().join("; ");
        }
        let mut of: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
        for (name, why) in &self.why {
            of.entry(why).or_insert((name, 0)).1 += 1;
        }
        let each = of.into_iter().map(|(why, (first, len))| match len {
            1 => format!("{first}: {why}"),
            len => format!("{first} and {} others: {why}", len - 1),
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

pub(super) fn pass(planner: &mut Planner<'_>) {
    let spec = planner.plan.spec.clone();
    let (mut loads, mut apart) = (loads(&spec), Apart::new(&spec));
    let (mut failed, mut planned) = (Batch::default(), Batch::default());
    let mut stay = Stay::new();
    for (name, device) in &spec.devices {
        let Some(reason) = reason(planner, &spec, name, device) else { continue };
        let now = &device.association.server;
        let Some(server) = target(planner, &spec, name, (&loads, &apart)) else {
            let why = (now, reason.text, others(planner, &spec, name, device));
            stay.entry(why).or_insert((name, 0)).1 += 1;
            continue;
        };
        if let Some(own) = spec.servers.get_key_value(&server) {
            *loads.entry(own.0).or_default() += 1;
            apart.take(device, own.0);
        }
        let batch = if reason.cause == Cause::Failure { &mut failed } else { &mut planned };
        batch.why.push((name.clone(), reason.text));
        batch.moves.push(Move { device: name.clone(), server, policy: None });
    }
    decide(planner, failed, Cause::Failure);
    decide(planner, planned, Cause::Planned);
    tell_who_stays(planner, stay);
}

/// Server, why its devices should leave it, what is wrong with the others -> the first of those
/// devices, and how many they are.
type Stay<'a> = BTreeMap<(&'a Name, String, String), (&'a Name, usize)>;

/// One block for all that stay for the same reasons, however many they are.
fn tell_who_stays(planner: &mut Planner<'_>, stay: Stay<'_>) {
    for ((server, why, others), (name, len)) in stay {
        match len {
            1 => planner.block(format!("device {name} stays on {server}, though {why}"), others),
            len => {
                let what = format!("device {name} and others stay on {server}, though {why}");
                planner.block(what, format!("{others} ({len} devices)"));
            }
        }
    }
}

/// One bulk change; if it is refused for one device's sake, one change a device.
fn decide(planner: &mut Planner<'_>, batch: Batch, cause: Cause) {
    if batch.moves.is_empty() {
        return;
    }
    let bulk = Change::Associate { moves: batch.moves.clone(), cause };
    if let Ok(after) = planner.plan.spec.apply(&bulk, &planner.ctx) {
        planner.take(Decision { change: bulk, why: batch.reasons(), after });
        return;
    }
    for (single, (name, why)) in batch.moves.into_iter().zip(batch.why) {
        let change = Change::Associate { moves: vec![single], cause };
        planner.decide(change, format!("{name}: {why}"));
    }
}

fn reason(planner: &Planner<'_>, spec: &Spec, name: &Name, device: &Device) -> Option<Reason> {
    let now = &device.association.server;
    let server = spec.servers.get(now)?;
    if server.state == AdminState::Failed {
        let text = format!("{now} was declared failed");
        return Some(Reason { cause: Cause::Failure, text });
    }
    if server.life_over {
        let text = format!("{now} is dead");
        return Some(Reason { cause: Cause::Failure, text });
    }
    if planner.deaths.path(now, name) {
        let path = planner.ctx.observed.paths.get(now).and_then(|of| of.get(name));
        let error = path.and_then(|path| path.last_error.as_deref()).unwrap_or("no answer");
        let text = format!("{now} lives but fails the checks of this device, with {error}");
        return Some(Reason { cause: Cause::Failure, text });
    }
    let text = match server.state {
        AdminState::Active | AdminState::Failed => return None,
        AdminState::Draining => format!("{now} is draining"),
        AdminState::Inactive => format!("{now} is inactive"),
    };
    Some(Reason { cause: Cause::Planned, text })
}

/// The backup, to which the packet path has sent new flows already; otherwise the fit server with
/// the fewest devices, the preferred one of several. One with a device that is to be kept apart
/// only if all have, and a filling one only if all are.
fn target(
    planner: &Planner<'_>,
    spec: &Spec,
    name: &Name,
    (loads, apart): (&BTreeMap<&Name, usize>, &Apart<'_>),
) -> Option<Name> {
    let device = spec.devices.get(name)?;
    let fit = |server: &&Name| {
        **server != device.association.server
            && obstacle(spec, planner.ctx.observed, server, name).is_none()
    };
    let load = |server: &&Name| {
        let load = loads.get(*server).copied().unwrap_or_default();
        (is_filling(planner, server), apart.is_broken(device, server), load)
    };
    let backup = device.association.backup.as_ref().filter(fit);
    backup.or_else(|| device.servers.iter().filter(fit).min_by_key(load)).cloned()
}

/// What is wrong with each of the other servers.
fn others(planner: &Planner<'_>, spec: &Spec, name: &Name, device: &Device) -> String {
    let other = |server: &&Name| **server != device.association.server;
    let words: Vec<String> = device
        .servers
        .iter()
        .filter(other)
        .filter_map(|server| {
            let found = obstacle(spec, planner.ctx.observed, server, name)?;
            Some(format!("{server} {found}"))
        })
        .collect();
    if words.is_empty() { "it may use no other server".to_owned() } else { words.join(", ") }
}

/// Devices per server.
pub(super) fn loads(spec: &Spec) -> BTreeMap<&Name, usize> {
    let mut loads = BTreeMap::new();
    for device in spec.devices.values() {
        *loads.entry(&device.association.server).or_default() += 1;
    }
    loads
}
