//! Swaps: where no single move fits below the target, exchange a device of a hot server for one of
//! a colder server, or move one to where it hurts less. Each step lowers the convex objective and
//! never makes a new hottest server, and the number of tries is bounded.

use std::collections::BTreeMap;

use super::fleet::Fleet;
use super::problem::{Allowed, DeviceAt, ServerAt, Vector};
use super::select::Step;

/// Exchanges looked at in one plan.
const TRIES_MAX: usize = 1_000_000;
/// Steps for one hot server.
const STEPS_MAX: usize = 16;
/// Devices looked at on the hot side, for one receiver.
const DEVICES_MAX: usize = 24;
/// Devices looked at on the receiver's side.
const BACK_MAX: usize = 12;
/// Receivers looked at for one device.
const COLD_MAX: usize = 8;
/// The least that a step must lower the objective by, in servers.
const GAIN_MIN: f64 = 1e-4;

/// Makes the steps in `fleet` and adds them to those found before.
pub(super) fn pass(fleet: &mut Fleet<'_>, steps: &mut Vec<Step>) {
    let mut search = Search { tries: TRIES_MAX, movable: BTreeMap::new() };
    for hot in fleet.hot() {
        for _ in 0..STEPS_MAX {
            if fleet.line(hot).share() <= fleet.enough {
                break;
            }
            let Some(step) = search.best(fleet, hot) else { break };
            step.make(fleet);
            steps.push(step);
        }
    }
}

struct Search {
    /// Exchanges that may still be looked at.
    tries: usize,
    /// Movable devices by server and resource, lightest first, as they were when first asked for.
    movable: BTreeMap<(ServerAt, usize), Vec<DeviceAt>>,
}

impl Search {
    /// A step that is enough for a hot server, or else the one that lowers the objective most.
    fn best(&mut self, fleet: &Fleet<'_>, hot: ServerAt) -> Option<Step> {
        let resource = fleet.line(hot).worst().1;
        let mut best: Option<Step> = None;
        for device in self.movable(fleet, hot, resource).into_iter().rev().take(DEVICES_MAX) {
            for to in receivers(fleet, device) {
                let back = self.movable(fleet, to, resource).into_iter().take(BACK_MAX).map(Some);
                for back in std::iter::once(None).chain(back) {
                    let Some(tries) = self.tries.checked_sub(1) else { return best };
                    self.tries = tries;
                    if !is_possible(fleet, device, to, back) {
                        continue;
                    }
                    let step = Step::of(fleet, (device, to), back.map(|back| (back, hot)));
                    if step.gain < GAIN_MIN {
                        continue;
                    }
                    if step.is_enough(fleet) {
                        return Some(step);
                    }
                    if best.as_ref().is_none_or(|best| step.gain > best.gain) {
                        best = Some(step);
                    }
                }
            }
        }
        best
    }

    fn movable(&mut self, fleet: &Fleet<'_>, server: ServerAt, resource: usize) -> Vec<DeviceAt> {
        let known = self.movable.entry((server, resource));
        let devices = known.or_insert_with(|| fleet.movable(server, resource));
        devices.retain(|device| fleet.stays(*device).is_none());
        devices.clone()
    }
}

/// The coldest servers that may take the device, were there room.
fn receivers(fleet: &Fleet<'_>, device: DeviceAt) -> Vec<ServerAt> {
    let from = fleet.at(device);
    match &fleet.problem.device(device).allowed {
        Allowed::All => fleet.coldest().filter(|to| *to != from).take(COLD_MAX).collect(),
        Allowed::Only(servers) => {
            let is_open = |to: &ServerAt| *to != from && fleet.line(*to).eligible;
            let share = |server: &ServerAt| fleet.line(*server).share();
            let mut open: Vec<ServerAt> = servers.iter().copied().filter(is_open).collect();
            open.sort_by(|a, b| share(a).total_cmp(&share(b)).then(a.cmp(b)));
            open.truncate(COLD_MAX);
            open
        }
    }
}

/// Whether the constraints allow it and neither server ends as hot as the hot one was.
pub(super) fn is_possible(
    fleet: &Fleet<'_>,
    device: DeviceAt,
    to: ServerAt,
    back: Option<DeviceAt>,
) -> bool {
    let demand = |device: DeviceAt| fleet.demand(device);
    let from = fleet.at(device);
    let (more, less) = (demand(device), back.map(demand).unwrap_or_default());
    let (was, there) = (fleet.line(from).share(), fleet.line(to));
    let (after_here, after_there) = (fleet.line(from).with(less, more), there.with(more, less));
    let is_more = after_there.share() > there.share();
    let is_filled = is_more && after_there.share() > 1.0;
    let is_too_soon = is_more && there.fills() && after_there.share() > fleet.limit_of(to);
    after_here.share() < was
        && (after_there.share() < was || after_there.share() <= fleet.limit())
        && !is_filled
        && !is_too_soon
        && there.eligible
        && fleet.may(device, to, back)
        && back.is_none_or(|back| {
            fleet.line(from).eligible
                && less != Vector::default()
                && fleet.may(back, from, Some(device))
        })
}
