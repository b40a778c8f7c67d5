//! Constraints first: a device whose association breaks one goes to the coldest server that breaks
//! none, whatever it costs, and to one that fills only where nobody else may have it; where there
//! is none it stays, and the proposal says so.

use super::fleet::Fleet;
use super::problem::{Allowed, DeviceAt, Eligibility, ServerAt};
use super::proposal::{Blocked, Breach, Figures, Move, Obstacle, Proposal, Reason};

/// Servers named in a block: enough to see what is wrong.
const NAMED_MAX: usize = 4;

pub(super) fn pass(fleet: &mut Fleet<'_>, proposal: &mut Proposal) {
    for device in fleet.doubtful.clone() {
        let Some(breach) = breach(fleet, device) else { continue };
        match choose(fleet, device) {
            Some(to) => make(fleet, device, to, breach, proposal),
            None => {
                let by = obstacles(fleet, device);
                proposal.blocked.push(Blocked::Device { device, breach, by });
            }
        }
    }
}

fn breach(fleet: &Fleet<'_>, device: DeviceAt) -> Option<Breach> {
    let at = fleet.at(device);
    let known = fleet.problem.device(device);
    if known.pinned.is_some_and(|pin| pin != at) {
        Some(Breach::PinnedElsewhere)
    } else if !known.allowed.has(at) {
        Some(Breach::NotAllowed)
    } else if !fleet.may(device, at, None) {
        Some(Breach::Group)
    } else {
        None
    }
}

fn choose(fleet: &Fleet<'_>, device: DeviceAt) -> Option<ServerAt> {
    let known = fleet.problem.device(device);
    let takes = |to: &ServerAt| fleet.takes(device, *to, 1.0);
    let share = |server: &ServerAt| fleet.line(*server).share();
    let fills = |server: &ServerAt| fleet.line(*server).fills();
    let coldest = |servers: &[ServerAt]| {
        let fit = servers.iter().copied().filter(takes);
        fit.min_by(|a, b| fills(a).cmp(&fills(b)).then(share(a).total_cmp(&share(b))))
    };
    match (known.pinned, &known.allowed) {
        (Some(pin), _) => coldest(&[pin]),
        (None, Allowed::Only(servers)) => coldest(servers),
        (None, Allowed::All) => {
            let spared = fleet.coldest().find(|to| takes(to) && !fills(to));
            spared.or_else(|| fleet.coldest().find(takes))
        }
    }
}

fn make(
    fleet: &mut Fleet<'_>,
    device: DeviceAt,
    to: ServerAt,
    breach: Breach,
    proposal: &mut Proposal,
) {
    let from = fleet.at(device);
    let (share, resource) = fleet.line(from).worst();
    let to_before = fleet.line(to).share();
    fleet.put(device, to);
    let figures = Figures {
        resource,
        from_before: share,
        from_after: fleet.line(from).share(),
        to_before,
        to_after: fleet.line(to).share(),
    };
    let cost = f64::from(fleet.problem.device(device).cost);
    let reason = Reason::Breach(breach);
    proposal.moves.push(Move { device, from, to, figures, gain: 0.0, cost, reason });
}

/// What speaks against the servers that the device may use.
fn obstacles(fleet: &Fleet<'_>, device: DeviceAt) -> Vec<(ServerAt, Obstacle)> {
    let known = fleet.problem.device(device);
    let candidates: Vec<ServerAt> = match (known.pinned, &known.allowed) {
        (Some(pin), _) => vec![pin],
        (None, Allowed::Only(servers)) => servers.clone(),
        (None, Allowed::All) => fleet.servers().collect(),
    };
    let obstacle = |server: ServerAt| {
        let obstacle = match &fleet.problem.server(server).eligibility {
            Eligibility::Refuses(why) => Obstacle::Refuses(why.clone()),
            Eligibility::Eligible if !known.allowed.has(server) => Obstacle::NotAllowed,
            Eligibility::Eligible if !fleet.may(device, server, None) => Obstacle::Group,
            Eligibility::Eligible => Obstacle::NoRoom(fleet.line(server).share()),
        };
        (server, obstacle)
    };
    candidates
        .into_iter()
        .filter(|at| *at != fleet.at(device))
        .take(NAMED_MAX)
        .map(obstacle)
        .collect()
}
