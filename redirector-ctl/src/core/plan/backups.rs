//! Pass 4: every device's backup is a fit server other than its own, spread so that the death of
//! one server adds little to each survivor. A filling server is one only where no other may be, and
//! so is one with a device that is to be kept apart.

use std::collections::BTreeMap;

use super::super::change::Change;
use super::super::fitness::obstacle;
use super::super::spec::{Device, Name, Spec};
use super::apart::Apart;
use super::filling::is_filling;
use super::{Planner, leave};

pub(super) fn pass(planner: &mut Planner<'_>) {
    if planner.plan.held_back.is_some() {
        return; // Who is fit is not known now: backups chosen in better times are the best guess.
    }
    let spec = planner.plan.spec.clone();
    let (mut spread, apart) = (Spread::new(&spec), Apart::new(&spec));
    let mut backups = BTreeMap::new();
    for (name, device) in &spec.devices {
        if stands(planner, &spec, (name, device), &apart) {
            continue;
        }
        let backup = choose(planner, &spec, (name, device), (&spread, &apart));
        if backup == device.association.backup {
            continue;
        }
        if let Some((backup, _)) = backup.as_ref().and_then(|it| spec.servers.get_key_value(it)) {
            spread.add(&device.association.server, backup);
        }
        backups.insert(name.clone(), backup);
    }
    if !backups.is_empty() {
        let why = "each device needs a healthy server that takes over at once".to_owned();
        planner.decide(Change::SetBackups { backups }, why);
    }
}

/// The present backup is good enough: a better one is not worth a change.
fn stands(
    planner: &Planner<'_>,
    spec: &Spec,
    (name, device): (&Name, &Device),
    apart: &Apart<'_>,
) -> bool {
    let Some(backup) = &device.association.backup else { return false };
    let found = obstacle(spec, planner.ctx.observed, backup, name);
    let fault = |other: &Name| (is_filling(planner, other), apart.is_broken(device, other));
    let present = fault(backup);
    let mut fit = fit(planner, spec, name, device);
    let is_best = present == (false, false) || !fit.any(|other| fault(other) < present);
    is_best && found.is_none_or(|found| !found.is_firm())
}

/// Servers that may be the device's backup.
fn fit<'s>(
    planner: &Planner<'_>,
    spec: &Spec,
    name: &Name,
    device: &'s Device,
) -> impl Iterator<Item = &'s Name> {
    let now = &device.association.server;
    let fit = move |server: &&Name| {
        *server != now && obstacle(spec, planner.ctx.observed, server, name).is_none()
    };
    device.servers.iter().filter(fit)
}

fn choose(
    planner: &Planner<'_>,
    spec: &Spec,
    (name, device): (&Name, &Device),
    (spread, apart): (&Spread<'_>, &Apart<'_>),
) -> Option<Name> {
    let now = &device.association.server;
    let cost = |server: &&Name| {
        let breaks = apart.is_broken(device, server);
        (is_filling(planner, server), breaks, spread.cost(now, server))
    };
    fit(planner, spec, name, device).min_by_key(cost).cloned()
}

/// How many devices each server would get from each other.
struct Spread<'a> {
    /// Server -> devices that it has or is promised.
    loads: BTreeMap<&'a Name, usize>,
    /// Server and backup -> devices that the one would give to the other.
    pairs: BTreeMap<(&'a Name, &'a Name), usize>,
}

impl<'a> Spread<'a> {
    fn new(spec: &'a Spec) -> Self {
        let mut spread = Self { loads: leave::loads(spec), pairs: BTreeMap::new() };
        for device in spec.devices.values() {
            if let Some(backup) = &device.association.backup {
                spread.add(&device.association.server, backup);
            }
        }
        spread
    }

    fn add(&mut self, server: &'a Name, backup: &'a Name) {
        *self.pairs.entry((server, backup)).or_default() += 1;
        *self.loads.entry(backup).or_default() += 1;
    }

    /// First what `backup` would get from `server`, then what it has already.
    fn cost(&self, server: &Name, backup: &Name) -> (usize, usize) {
        let inherited = self.pairs.get(&(server, backup)).copied().unwrap_or_default();
        (inherited, self.loads.get(backup).copied().unwrap_or_default())
    }
}
