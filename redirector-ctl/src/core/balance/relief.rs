//! Relief: from the hottest server to the coldest that can take it, the smallest device that is
//! enough, or else the largest that fits. Receivers are never filled beyond the target, so no
//! server becomes hot by it and every move ends something: the pass terminates.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::fleet::Fleet;
use super::problem::{Allowed, DeviceAt, ServerAt};
use super::select::Step;

/// Receivers looked at for a move, coldest first.
const COLD_MAX: usize = 8;
/// Devices looked at for a receiver.
const DEVICES_MAX: usize = 16;

/// A hot server's movable devices, lightest first in the resource that is its worst.
struct Candidates {
    resource: usize,
    devices: Vec<DeviceAt>,
}

/// Makes the moves in `fleet` and gives them in the order in which they were found.
pub(super) fn pass(fleet: &mut Fleet<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut known: BTreeMap<ServerAt, Candidates> = BTreeMap::new();
    let key = |fleet: &Fleet<'_>, server| (fleet.line(server).share().to_bits(), Reverse(server));
    let mut hot: BinaryHeap<_> = fleet.hot().into_iter().map(|server| key(fleet, server)).collect();
    while let Some((_, Reverse(from))) = hot.pop() {
        let (share, resource) = fleet.line(from).worst();
        if share <= fleet.enough {
            continue;
        }
        let devices = match known.get(&from) {
            Some(candidates) if candidates.resource == resource => &candidates.devices,
            _ => {
                let devices = fleet.movable(from, resource);
                known.insert(from, Candidates { resource, devices });
                &known[&from].devices
            }
        };
        // A server from which nothing can be moved is left to the swaps.
        let Some((device, to)) = choose(fleet, from, resource, devices) else { continue };
        let step = Step::of(fleet, (device, to), None);
        fleet.put(device, to);
        if let Some(candidates) = known.get_mut(&from) {
            candidates.devices.retain(|other| *other != device);
        }
        steps.push(step);
        hot.push(key(fleet, from));
    }
    steps
}

fn choose(
    fleet: &Fleet<'_>,
    from: ServerAt,
    resource: usize,
    devices: &[DeviceAt],
) -> Option<(DeviceAt, ServerAt)> {
    let demand = |device: DeviceAt| fleet.demand(device).get(resource);
    let need = -fleet.line(from).room(resource, fleet.enough);
    let enough = devices.partition_point(|device| demand(*device) < need);
    // Who fills and has its part would keep warmer ones, which have room, from being looked at.
    let is_full = |to: &ServerAt| {
        let line = fleet.line(*to);
        line.fills() && line.share() >= fleet.limit_of(*to)
    };
    for to in fleet.coldest().filter(|to| *to != from && !is_full(to)).take(COLD_MAX) {
        let limit = fleet.limit_of(to);
        let room = fleet.line(to).room(resource, limit);
        let fits = devices.partition_point(|device| demand(*device) <= room);
        let smallest = (enough..fits).take(DEVICES_MAX);
        let largest = (0..enough.min(fits)).rev().take(DEVICES_MAX);
        let takes = |index: &usize| fleet.takes(devices[*index], to, limit);
        if let Some(index) = smallest.chain(largest).find(takes) {
            return Some((devices[index], to));
        }
    }
    let near = (enough..devices.len()).take(DEVICES_MAX / 2);
    let mut near = near.chain((0..enough).rev().take(DEVICES_MAX));
    near.find_map(|index| Some((devices[index], coldest_allowed(fleet, devices[index])?)))
}

/// The coldest of the few servers that a device may use.
fn coldest_allowed(fleet: &Fleet<'_>, device: DeviceAt) -> Option<ServerAt> {
    let Allowed::Only(servers) = &fleet.problem.device(device).allowed else { return None };
    let from = fleet.at(device);
    let takes = |to: &ServerAt| *to != from && fleet.takes(device, *to, fleet.limit_of(*to));
    let share = |server: &ServerAt| fleet.line(*server).share();
    servers.iter().copied().filter(takes).min_by(|a, b| share(a).total_cmp(&share(b)))
}
