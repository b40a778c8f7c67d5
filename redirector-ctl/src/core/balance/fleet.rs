//! Loads as they would be: the problem with the moves made so far.

use std::collections::{BTreeMap, BTreeSet};

use super::Fit;
use super::bound;
use super::calm::Calm;
use super::problem::{DeviceAt, Problem, RESOURCES_MAX, Rules, ServerAt, Vector};
use super::scan::Scan;

/// Figures of one server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) load: [f64; RESOURCES_MAX],
    /// One over the capacity; 0 for resources that the problem does not have.
    pub(super) per_capacity: [f64; RESOURCES_MAX],
    pub(super) eligible: bool,
    /// Up to which part of the limit of any other it may be filled.
    pub(super) part: f64,
}

impl Line {
    /// The worst resource's share, and which it is.
    pub(super) fn worst(&self) -> (f64, usize) {
        let mut worst = (self.load[0] * self.per_capacity[0], 0);
        for resource in 1..RESOURCES_MAX {
            let share = self.load[resource] * self.per_capacity[resource];
            if share > worst.0 {
                worst = (share, resource);
            }
        }
        worst
    }

    pub(super) fn share(&self) -> f64 {
        self.worst().0
    }

    /// The same with `more` on it and `less` off it.
    pub(super) fn with(&self, more: Vector, less: Vector) -> Self {
        let (more, less) = (more.figures(), less.figures());
        let mut line = *self;
        for resource in 0..RESOURCES_MAX {
            let load = line.load[resource] + more[resource] - less[resource];
            // Subtraction leaves dust; a load is never below nothing.
            line.load[resource] = load.max(0.0);
        }
        line
    }

    /// Whether it takes load gradually.
    pub(super) fn fills(&self) -> bool {
        self.part < 1.0
    }

    /// The share of one resource.
    pub(super) fn share_of(&self, resource: usize) -> f64 {
        self.load[resource] * self.per_capacity[resource]
    }

    /// How much more of a resource fits below `limit`, a share of capacity; below 0 when it is
    /// above.
    pub(super) fn room(&self, resource: usize, limit: f64) -> f64 {
        limit / self.per_capacity[resource].max(f64::MIN_POSITIVE) - self.load[resource]
    }

    pub(super) fn capacity(&self, resource: usize) -> f64 {
        1.0 / self.per_capacity[resource].max(f64::MIN_POSITIVE)
    }

    pub(super) fn load(&self, resource: usize) -> f64 {
        self.load[resource]
    }
}

/// What the passes ask of a device again and again, close together in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Card {
    pub(super) demand: Vector,
    /// Bit `resource` is set where its demand is known well enough for a move to be worth it.
    pub(super) certain: u8,
    /// Pinned, or resting by the problem's word.
    pub(super) stays: Option<Stays>,
    /// Moved in this plan: once is enough.
    pub(super) moved: bool,
}

/// Loads and associations to come back to.
pub(super) struct Start {
    lines: Vec<Line>,
    at: Vec<ServerAt>,
    groups: BTreeMap<(u32, ServerAt), u32>,
    cold: BTreeSet<(u64, ServerAt)>,
}

/// The problem with the moves made so far.
pub(super) struct Fleet<'a> {
    pub(super) problem: &'a Problem,
    pub(super) rules: &'a Rules,
    pub(super) calm: &'a Calm,
    pub(super) now_ms: u64,
    pub(super) lines: Vec<Line>,
    /// Where each device is now.
    at: Vec<ServerAt>,
    cards: Vec<Card>,
    /// Devices whose association may break a constraint.
    pub(super) doubtful: Vec<DeviceAt>,
    /// Eligible servers, coldest first.
    cold: BTreeSet<(u64, ServerAt)>,
    /// Devices of a group on a server.
    groups: BTreeMap<(u32, ServerAt), u32>,
    /// Devices by the server they began on: positions in `order`.
    begins: Vec<u32>,
    order: Vec<DeviceAt>,
    /// What the hottest server must carry at least, as a share: no association does better.
    pub(super) bound: f64,
    /// Share above which a server is relieved.
    hot_above: f64,
    /// The share down to which such a server is relieved.
    pub(super) enough: f64,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(problem: &'a Problem, fit: Fit<'a>) -> Self {
        let Fit { rules, calm, now_ms } = fit;
        let scan = Scan::of(problem, rules, now_ms);
        let lines = scan.lines(problem);
        let by_share = |(at, line): (u32, &Line)| (order(line.share()), ServerAt(at));
        let (begins, order) = by_server(&scan.at, lines.len());
        let bound = bound::bound(problem.resources.len(), &lines, Vector::new(&scan.heaviest));
        Self {
            problem,
            rules,
            calm,
            now_ms,
            cold: (0..).zip(&lines).filter(|(_, line)| line.eligible).map(by_share).collect(),
            bound,
            hot_above: (1.0 + rules.stop) * bound,
            enough: (1.0 + rules.stop) * bound,
            lines,
            at: scan.at,
            cards: scan.cards,
            doubtful: scan.doubtful,
            groups: scan.groups,
            begins,
            order,
        }
    }

    /// The load up to which relief goes, and to which receivers may be filled, as a share.
    pub(super) fn target(&self) -> f64 {
        (1.0 + self.rules.stop) * self.bound
    }

    /// The share from which a server is imbalanced.
    pub(super) fn trigger(&self) -> f64 {
        (self.rules.trigger_ratio * self.bound).min(self.rules.trigger_share).max(self.target())
    }

    /// Leaves servers alone that are above the target but not imbalanced.
    pub(super) fn spare_below_trigger(&mut self) {
        self.hot_above = self.trigger();
        self.enough = f64::midpoint(self.target(), self.hot_above);
    }

    /// What receivers may be filled to.
    pub(super) fn limit(&self) -> f64 {
        self.target().min(1.0)
    }

    /// The same for one of them, which may be filling.
    pub(super) fn limit_of(&self, server: ServerAt) -> f64 {
        self.limit() * self.line(server).part
    }

    pub(super) fn line(&self, server: ServerAt) -> &Line {
        &self.lines[server.index()]
    }

    pub(super) fn at(&self, device: DeviceAt) -> ServerAt {
        self.at[device.index()]
    }

    /// Servers in order of position.
    pub(super) fn servers(&self) -> impl Iterator<Item = ServerAt> + use<> {
        (0..self.lines.len() as u32).map(ServerAt)
    }

    /// Devices that were on the server at the beginning and still are.
    pub(super) fn devices_on(&self, server: ServerAt) -> impl Iterator<Item = DeviceAt> + '_ {
        let begin = self.begins[server.index()] as usize;
        let end = self.begins[server.index() + 1] as usize;
        let here = self.order[begin..end].iter().copied();
        here.filter(move |device| self.at(*device) == server)
    }

    /// Whether the constraints let the device be there, `instead_of` another that leaves.
    pub(super) fn may(
        &self,
        device: DeviceAt,
        server: ServerAt,
        instead_of: Option<DeviceAt>,
    ) -> bool {
        let pin = self.problem.device(device).pinned;
        pin.is_none_or(|pin| pin == server) && self.may_but_for_pin(device, server, instead_of)
    }

    /// The same without regard to where it is pinned.
    pub(super) fn may_but_for_pin(
        &self,
        device: DeviceAt,
        server: ServerAt,
        instead_of: Option<DeviceAt>,
    ) -> bool {
        let known = self.problem.device(device);
        let others = known.group.map_or(0, |group| {
            let count = self.groups.get(&(group, server)).copied().unwrap_or_default();
            let leaves =
                instead_of.is_some_and(|other| self.problem.device(other).group == known.group);
            let own = self.at(device) == server;
            count.saturating_sub(u32::from(leaves)).saturating_sub(u32::from(own))
        });
        known.allowed.has(server) && others == 0
    }

    /// Whether the server may take it and stays within `limit`, a share of capacity.
    pub(super) fn takes(&self, device: DeviceAt, server: ServerAt, limit: f64) -> bool {
        let line = self.line(server);
        line.eligible
            && line.with(self.demand(device), Vector::default()).share() <= limit
            && self.may(device, server, None)
    }

    pub(super) fn demand(&self, device: DeviceAt) -> Vector {
        self.cards[device.index()].demand
    }

    /// Why load does not move the device; None when it may.
    pub(super) fn stays(&self, device: DeviceAt) -> Option<Stays> {
        let card = &self.cards[device.index()];
        let rests = || {
            let until_ms = self.calm.resting_until_ms(self.problem.device(device).id);
            (until_ms > self.now_ms).then_some(Stays::Resting)
        };
        let moved = card.moved.then_some(Stays::Moved);
        moved.or(card.stays).or_else(|| if self.calm.is_empty() { None } else { rests() })
    }

    /// Whether what the device will need is known well enough for a move to be worth it.
    pub(super) fn is_certain(&self, device: DeviceAt, resource: usize) -> bool {
        self.cards[device.index()].certain & (1 << resource) != 0
    }

    /// Devices of a server that load may move, lightest first in one resource.
    pub(super) fn movable(&self, server: ServerAt, resource: usize) -> Vec<DeviceAt> {
        let is_movable =
            |device: &DeviceAt| self.is_certain(*device, resource) && self.stays(*device).is_none();
        let with_key = |device: DeviceAt| (self.demand(device).get(resource), device);
        let movable = self.devices_on(server).filter(is_movable);
        let mut devices: Vec<(f64, DeviceAt)> = movable.map(with_key).collect();
        devices.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        devices.into_iter().map(|(_, device)| device).collect()
    }

    /// Eligible servers, coldest first.
    pub(super) fn coldest(&self) -> impl Iterator<Item = ServerAt> + '_ {
        self.cold.iter().map(|(_, server)| *server)
    }

    /// Servers that are to be relieved, hottest first.
    pub(super) fn hot(&self) -> Vec<ServerAt> {
        let is_hot = |server: &ServerAt| self.line(*server).share() > self.hot_above;
        let mut hot: Vec<ServerAt> = self.servers().filter(is_hot).collect();
        let share = |server: &ServerAt| self.line(*server).share();
        hot.sort_by(|a, b| share(b).total_cmp(&share(a)).then(a.cmp(b)));
        hot
    }

    /// Makes a move.
    pub(super) fn put(&mut self, device: DeviceAt, to: ServerAt) {
        let from = self.at(device);
        let known = self.problem.device(device);
        let nothing = Vector::default();
        self.set(from, self.line(from).with(nothing, known.demand));
        self.set(to, self.line(to).with(known.demand, nothing));
        if let Some(group) = known.group {
            if let Some(count) = self.groups.get_mut(&(group, from)) {
                *count -= 1;
            }
            *self.groups.entry((group, to)).or_default() += 1;
        }
        self.at[device.index()] = to;
        self.cards[device.index()].moved = true;
    }

    fn set(&mut self, server: ServerAt, line: Line) {
        if line.eligible {
            self.cold.remove(&(order(self.line(server).share()), server));
            self.cold.insert((order(line.share()), server));
        }
        self.lines[server.index()] = line;
    }

    /// What a server's load costs: nothing up to the target, then more and more, steeply from the
    /// trigger and beyond capacity. In servers, summed over the resources.
    pub(super) fn pain(&self, line: &Line) -> f64 {
        (0..self.problem.resources.len())
            .map(|resource| self.pain_of(line.share_of(resource)))
            .sum()
    }

    fn pain_of(&self, share: f64) -> f64 {
        let target = self.target();
        let over = (share - target).max(0.0);
        over + over * over / target.max(f64::MIN_POSITIVE)
            + 10.0 * (share - self.rules.trigger_share.max(target)).max(0.0)
            + 100.0 * (share - 1.0).max(0.0)
    }

    pub(super) fn start(&self) -> Start {
        let (lines, at) = (self.lines.clone(), self.at.clone());
        Start { lines, at, groups: self.groups.clone(), cold: self.cold.clone() }
    }

    /// Takes all moves since `start` back; `moved` are the devices that they moved.
    pub(super) fn return_to(&mut self, start: Start, moved: impl Iterator<Item = DeviceAt>) {
        (self.lines, self.at) = (start.lines, start.at);
        (self.groups, self.cold) = (start.groups, start.cold);
        for device in moved {
            self.cards[device.index()].moved = false;
        }
    }
}

/// Why load does not move a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stays {
    Pinned,
    Resting,
    Moved,
}

/// A share as a number that sorts the same way: shares are not negative.
fn order(share: f64) -> u64 {
    share.to_bits()
}

/// Devices by server: where each server's begin, and the devices.
fn by_server(at: &[ServerAt], servers_len: usize) -> (Vec<u32>, Vec<DeviceAt>) {
    let mut begins = vec![0_u32; servers_len + 1];
    for server in at {
        begins[server.index() + 1] += 1;
    }
    for index in 1..begins.len() {
        begins[index] += begins[index - 1];
    }
    let mut next = begins.clone();
    let mut order = vec![DeviceAt(0); at.len()];
    for (device, server) in (0..).map(DeviceAt).zip(at) {
        let place = &mut next[server.index()];
        order[*place as usize] = device;
        *place += 1;
    }
    (begins, order)
}
