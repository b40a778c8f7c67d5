//! Room for surges: some devices need many times as much at once, now and then, and nobody sees it
//! coming. Relief comes a period later. So a server with such devices keeps the room that one of
//! them takes: surges seldom meet, and the room is left once for all that are on a server. By that
//! devices that surge are gathered on few servers that carry little else.
//!
//! What is lowered is the load above the trigger that surges are expected to bring, which is a sum
//! over them of how often they come and how far they go beyond the room. One move at a time, the
//! one that lowers it most, and few in a plan: surges have been there before and will be tomorrow.

use super::fleet::{Fleet, Line};
use super::problem::{DeviceAt, RESOURCES_MAX, ServerAt, Vector};
use super::proposal::{Figures, Move, Proposal, Reason};

/// One device in so many may be moved in a plan, but always one, and no more than that.
const ONE_IN: usize = 1000;
const STEPS_MAX: usize = 16;
/// Servers that are looked at for a move, most exposed first.
const EXPOSED_MAX: usize = 8;
/// Devices of one of them, those that need most first, beside those that surge.
const DEVICES_MAX: usize = 48;
/// Receivers: the coldest, and the coldest of those where nothing surges.
const RECEIVERS_MAX: usize = 16;
/// Sizes have a heavy tail: so many of ten surges are smaller than the mean, at that part of it,
/// and the others larger.
const SIZES: [(f64, f64); 2] = [(0.7, 0.6), (0.3, 1.9)];

pub(super) fn pass(fleet: &mut Fleet<'_>, moves_max: usize, proposal: &mut Proposal) {
    let few = (fleet.problem.devices.len() / ONE_IN).clamp(1, STEPS_MAX);
    let mut surges = Surges::of(fleet);
    for _ in 0..few.min(moves_max) {
        let Some(found) = surges.best(fleet) else { break };
        let (device, to) = (found.device, found.to);
        let from = fleet.at(device);
        proposal.moves.push(found.as_move(fleet));
        fleet.put(device, to);
        surges.moved(fleet, device, (from, to));
    }
}

/// A move that has been found.
#[derive(Debug, Clone, Copy)]
struct Found {
    device: DeviceAt,
    to: ServerAt,
    /// By how much it lowers the expected overload, in servers, on average over time.
    gain: f64,
}

impl Found {
    fn as_move(&self, fleet: &Fleet<'_>) -> Move {
        let Self { device, to, gain } = *self;
        let (from, demand) = (fleet.at(device), fleet.demand(device));
        let (here, there) = (fleet.line(from), fleet.line(to));
        let (resource, nothing) = (here.worst().1, Vector::default());
        let figures = Figures {
            resource,
            from_before: here.share(),
            from_after: here.with(nothing, demand).share(),
            to_before: there.share(),
            to_after: there.with(demand, nothing).share(),
        };
        let gain = gain * fleet.rules.payback_s;
        Move { device, from, to, figures, gain, cost: cost(fleet, device), reason: Reason::Surges }
    }
}

fn cost(fleet: &Fleet<'_>, device: DeviceAt) -> f64 {
    f64::from(fleet.problem.device(device).cost.max(0.0))
}

/// What is known of a server's best move.
#[derive(Debug, Clone, Copy)]
enum Best {
    /// It has not been looked for since something changed for the server.
    Unknown,
    /// None is worth it.
    Nothing,
    Is(Found),
}

/// Devices that surge, by the server that they are on. A move changes two servers, and what is
/// known of the others stays: a plan looks at very many devices once, not once for each move.
struct Surges {
    on: Vec<Vec<DeviceAt>>,
    /// What the surges of each server are expected to bring above the line, in servers.
    overload: Vec<f64>,
    /// The best move away from each server.
    best: Vec<Best>,
    /// The share up to which a surge does no harm.
    line: f64,
}

impl Surges {
    fn of(fleet: &Fleet<'_>) -> Self {
        let line = fleet.trigger().max(fleet.rules.trigger_floor);
        let servers_len = fleet.lines.len();
        let (on, best) = (vec![Vec::new(); servers_len], vec![Best::Unknown; servers_len]);
        let mut surges = Self { on, overload: vec![0.0; servers_len], best, line };
        for (at, device) in (0..).map(DeviceAt).zip(&fleet.problem.devices) {
            if device.surge.per_period > 0.0 {
                surges.on[fleet.at(at).index()].push(at);
            }
        }
        for server in fleet.servers() {
            surges.weigh(fleet, server);
        }
        surges
    }

    /// Works out anew what a server's surges are expected to bring.
    fn weigh(&mut self, fleet: &Fleet<'_>, server: ServerAt) {
        let of = self.on[server.index()].iter();
        self.overload[server.index()] = self.overload(fleet, fleet.line(server), of);
        self.best[server.index()] = Best::Unknown;
    }

    fn moved(&mut self, fleet: &Fleet<'_>, device: DeviceAt, (from, to): (ServerAt, ServerAt)) {
        let here = &mut self.on[from.index()];
        let before_len = here.len();
        here.retain(|other| *other != device);
        if here.len() < before_len {
            self.on[to.index()].push(device);
        }
        self.weigh(fleet, from);
        self.weigh(fleet, to);
        for best in &mut self.best {
            if matches!(best, Best::Is(found) if found.to == to) {
                *best = Best::Unknown;
            }
        }
    }

    /// The move that lowers the expected overload most; None where none is worth it.
    fn best(&mut self, fleet: &Fleet<'_>) -> Option<Found> {
        let exposed = self.exposed(fleet);
        let receivers = if exposed.is_empty() { Vec::new() } else { self.receivers(fleet) };
        let mut best: Option<Found> = None;
        for (from, overload) in exposed {
            if best.as_ref().is_some_and(|best| overload <= best.gain) {
                break;
            }
            if matches!(self.best[from.index()], Best::Unknown) {
                let found = self.best_from(fleet, from, &receivers);
                self.best[from.index()] = found.map_or(Best::Nothing, Best::Is);
            }
            if let Best::Is(found) = self.best[from.index()]
                && best.is_none_or(|best| found.gain > best.gain)
            {
                best = Some(found);
            }
        }
        best
    }

    /// The best move away from a server.
    fn best_from(
        &self,
        fleet: &Fleet<'_>,
        from: ServerAt,
        receivers: &[ServerAt],
    ) -> Option<Found> {
        let mut best: Option<Found> = None;
        for device in self.devices(fleet, from) {
            let least = best.as_ref().map_or(fleet.rules.surge_gain, |best| best.gain);
            best = self.better(fleet, device, receivers, least).or(best);
        }
        best
    }

    /// The best receiver of a device, if the move gains more than `least` and is worth its cost.
    fn better(
        &self,
        fleet: &Fleet<'_>,
        device: DeviceAt,
        receivers: &[ServerAt],
        least: f64,
    ) -> Option<Found> {
        let (from, demand, nothing) = (fleet.at(device), fleet.demand(device), Vector::default());
        let others = self.on[from.index()].iter().filter(|other| **other != device);
        let without = fleet.line(from).with(nothing, demand);
        let less = self.overload[from.index()] - self.overload(fleet, &without, others);
        let worth = fleet.rules.gain_per_cost * cost(fleet, device) / fleet.rules.payback_s;
        let least = least.max(worth);
        if less <= least {
            return None;
        }
        let id = fleet.problem.device(device).id;
        let goes_back = |to: ServerAt| {
            fleet.calm.reverses(id, fleet.problem.server(to).id, fleet.rules, fleet.now_ms)
        };
        let takes = |to: &ServerAt| {
            *to != from && fleet.takes(device, *to, fleet.limit_of(*to)) && !goes_back(*to)
        };
        let found = receivers.iter().copied().filter(takes).map(|to| {
            let (before, there) = (self.overload[to.index()], &self.on[to.index()]);
            let after = fleet.line(to).with(demand, nothing);
            let comes =
                std::iter::once(&device).filter(|_| self.on[from.index()].contains(&device));
            let after = self.overload(fleet, &after, there.iter().chain(comes));
            Found { device, to, gain: less - (after - before) }
        });
        let best = found.max_by(|a, b| a.gain.total_cmp(&b.gain).then(b.to.cmp(&a.to)))?;
        (best.gain > least).then_some(best)
    }

    /// What the surges of these devices are expected to bring above the line on a server that is
    /// loaded so: in servers, on average over time, as each lasts for the period until relief.
    fn overload<'a>(
        &self,
        fleet: &Fleet<'_>,
        line: &Line,
        devices: impl Iterator<Item = &'a DeviceAt>,
    ) -> f64 {
        let of = |device: &DeviceAt| {
            let surge = &fleet.problem.device(*device).surge;
            let size = surge.size.figures();
            let over = |part: f64| {
                let share = |resource: usize| {
                    let load = line.load[resource] + part * size[resource];
                    load * line.per_capacity[resource]
                };
                let worst = (0..RESOURCES_MAX).map(share).fold(0.0, f64::max);
                (worst - self.line).max(0.0)
            };
            let often = f64::from(surge.per_period);
            often * SIZES.iter().map(|(share, part)| share * over(*part)).sum::<f64>()
        };
        devices.map(of).sum()
    }

    /// Servers where surges are expected to bring more than a move must gain, the worst first.
    fn exposed(&self, fleet: &Fleet<'_>) -> Vec<(ServerAt, f64)> {
        let overload = |server: ServerAt| (server, self.overload[server.index()]);
        let mut exposed: Vec<(ServerAt, f64)> = fleet.servers().map(overload).collect();
        exposed.retain(|(_, overload)| *overload > fleet.rules.surge_gain);
        exposed.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        exposed.truncate(EXPOSED_MAX);
        exposed
    }

    fn receivers(&self, fleet: &Fleet<'_>) -> Vec<ServerAt> {
        let calm = fleet.coldest().filter(|server| self.on[server.index()].is_empty());
        let mut receivers: Vec<ServerAt> = calm.take(RECEIVERS_MAX).collect();
        receivers.extend(fleet.coldest().take(RECEIVERS_MAX));
        receivers.sort_unstable();
        receivers.dedup();
        receivers
    }

    /// Devices of a server that may be moved: how well their demand is known is no question here.
    fn devices(&self, fleet: &Fleet<'_>, server: ServerAt) -> Vec<DeviceAt> {
        let resource = fleet.line(server).worst().1;
        let need = |device: DeviceAt| fleet.demand(device).get(resource);
        let stays = |device: &DeviceAt| fleet.stays(*device).is_some();
        let mut devices: Vec<DeviceAt> =
            fleet.devices_on(server).filter(|device| !stays(device)).collect();
        devices.sort_by(|a, b| need(*b).total_cmp(&need(*a)).then(a.cmp(b)));
        let (most, rest) = devices.split_at(devices.len().min(DEVICES_MAX));
        let surging = rest.iter().filter(|device| self.on[server.index()].contains(device));
        most.iter().chain(surging.take(DEVICES_MAX)).copied().collect()
    }
}
