//! One walk over the devices, which are many: everything that is asked of all of them.

use std::collections::BTreeMap;

use super::fleet::{Card, Line, Stays};
use super::problem::{
    Device, DeviceAt, Eligibility, Problem, RESOURCES_MAX, Rules, Server, ServerAt,
};

type Loads = Vec<[f64; RESOURCES_MAX]>;

/// What the walk finds.
pub(super) struct Scan {
    pub(super) at: Vec<ServerAt>,
    pub(super) cards: Vec<Card>,
    /// Devices whose association may break a constraint.
    pub(super) doubtful: Vec<DeviceAt>,
    /// Devices of a group on a server.
    pub(super) groups: BTreeMap<(u32, ServerAt), u32>,
    /// The largest demand for each resource.
    pub(super) heaviest: [f64; RESOURCES_MAX],
    /// What the devices need, by server.
    loads: Loads,
    /// What the devices explain of the measured loads: those that were there when it was sampled.
    explained: Option<Loads>,
}

impl Scan {
    pub(super) fn of(problem: &Problem, rules: &Rules, now_ms: u64) -> Self {
        let loads = vec![[0.0; RESOURCES_MAX]; problem.servers.len()];
        let is_measured = problem.servers.iter().any(|server| server.measured.is_some());
        let mut scan = Self {
            at: Vec::with_capacity(problem.devices.len()),
            cards: Vec::with_capacity(problem.devices.len()),
            doubtful: Vec::new(),
            groups: BTreeMap::new(),
            heaviest: [0.0; RESOURCES_MAX],
            explained: is_measured.then(|| loads.clone()),
            loads,
        };
        for (at, device) in (0..).map(DeviceAt).zip(&problem.devices) {
            scan.take(at, device);
            scan.cards.push(card(device, rules, now_ms));
        }
        scan
    }

    fn take(&mut self, at: DeviceAt, device: &Device) {
        let (server, demand) = (device.server, device.demand.figures());
        self.at.push(server);
        add(&mut self.loads[server.index()], demand);
        for (heaviest, demand) in self.heaviest.iter_mut().zip(demand) {
            *heaviest = heaviest.max(demand);
        }
        if let Some(explained) = &mut self.explained {
            add(&mut explained[device.sampled_on.unwrap_or(server).index()], demand);
        }
        if let Some(group) = device.group {
            *self.groups.entry((group, server)).or_default() += 1;
        }
        let is_misplaced = device.pinned.is_some_and(|pin| pin != server);
        if device.group.is_some() || is_misplaced || !device.allowed.has(server) {
            self.doubtful.push(at);
        }
    }

    /// Each server's load: its devices' demands, and what was measured beyond them.
    pub(super) fn lines(&self, problem: &Problem) -> Vec<Line> {
        let line = |(index, server): (usize, &Server)| {
            let mut load = self.loads[index];
            if let (Some(measured), Some(explained)) = (server.measured, &self.explained) {
                for (resource, load) in load.iter_mut().enumerate() {
                    *load += (measured.get(resource) - explained[index][resource]).max(0.0);
                }
            }
            let mut per_capacity = server.capacity.capacities().map(|capacity| 1.0 / capacity);
            let unused = per_capacity.iter_mut().skip(problem.resources.len());
            unused.for_each(|unused| *unused = 0.0);
            let eligible = server.eligibility == Eligibility::Eligible;
            Line { load, per_capacity, eligible, part: server.part.clamp(0.0, 1.0) }
        };
        problem.servers.iter().enumerate().map(line).collect()
    }
}

fn card(device: &Device, rules: &Rules, now_ms: u64) -> Card {
    let is_certain = |resource: usize| {
        let relief = device.demand.get(resource);
        relief > 0.0 && relief > rules.gain_per_error * device.error.get(resource)
    };
    let certain = (0..RESOURCES_MAX).map(|resource| u8::from(is_certain(resource)) << resource);
    let stays = match device.pinned {
        Some(_) => Some(Stays::Pinned),
        None => (device.resting_until_ms > now_ms).then_some(Stays::Resting),
    };
    Card { demand: device.demand, certain: certain.sum(), stays, moved: false }
}

fn add(load: &mut [f64; RESOURCES_MAX], more: [f64; RESOURCES_MAX]) {
    for (load, more) in load.iter_mut().zip(more) {
        *load += more;
    }
}
