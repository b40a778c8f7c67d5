//! Backups: who takes over each device, so that the death of one server adds little to each of the
//! others. A backup that does well enough stays: a better one is not worth a change.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Fit;
use super::calm::Calm;
use super::fleet::{Fleet, Line};
use super::problem::{Allowed, DeviceAt, Problem, Rules, ServerAt, Vector};

/// For each device, in order, the server that takes over when its own dies; None when no other may.
#[must_use]
pub fn spread_backups(problem: &Problem, rules: &Rules) -> Vec<Option<ServerAt>> {
    let calm = Calm::default();
    let fleet = Fleet::new(problem, Fit { rules, calm: &calm, now_ms: 0 });
    let mut backups = vec![None; problem.devices.len()];
    for server in fleet.servers() {
        spread_one(&fleet, server, &mut backups);
    }
    backups
}

/// What the others would carry if one server died.
struct Heirs {
    /// By server: its line with what it has inherited so far.
    lines: Vec<Line>,
    /// Servers, coldest first; entries whose share is no longer right are put right when met.
    queue: BinaryHeap<Reverse<(u64, ServerAt)>>,
}

impl Heirs {
    fn new(fleet: &Fleet<'_>, dead: ServerAt) -> Self {
        let others = fleet.coldest().filter(|server| *server != dead);
        let entry = |server: ServerAt| Reverse((fleet.line(server).share().to_bits(), server));
        Self { lines: fleet.lines.clone(), queue: others.map(entry).collect() }
    }

    fn line(&self, server: ServerAt) -> &Line {
        &self.lines[server.0 as usize]
    }

    fn give(&mut self, fleet: &Fleet<'_>, device: DeviceAt, to: ServerAt) {
        let line = self.line(to).with(fleet.problem.device(device).demand, Vector::default());
        self.lines[to.0 as usize] = line;
    }

    /// The coldest that the constraints allow, whatever it carries then.
    fn coldest(&mut self, fleet: &Fleet<'_>, device: DeviceAt) -> Option<ServerAt> {
        let known = fleet.problem.device(device);
        if let Allowed::Only(servers) = &known.allowed {
            let share = |server: &ServerAt| self.line(*server).share();
            let fit = servers.iter().copied().filter(|to| may_inherit(fleet, device, *to));
            return fit.min_by(|a, b| share(a).total_cmp(&share(b)));
        }
        let mut passed = Vec::new();
        let mut found = None;
        while let Some(Reverse((share, server))) = self.queue.pop() {
            let now = self.line(server).share().to_bits();
            if share != now {
                self.queue.push(Reverse((now, server)));
                continue;
            }
            passed.push(Reverse((share, server)));
            if may_inherit(fleet, device, server) {
                found = Some(server);
                break;
            }
        }
        self.queue.extend(passed);
        found
    }
}

fn spread_one(fleet: &Fleet<'_>, dead: ServerAt, backups: &mut [Option<ServerAt>]) {
    let weight = |device: &DeviceAt| {
        let demand = fleet.problem.device(*device).demand;
        fleet.line(dead).with(demand, Vector::default()).share()
    };
    let mut devices: Vec<DeviceAt> = fleet.devices_on(dead).collect();
    if devices.is_empty() {
        return;
    }
    devices.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.cmp(b)));
    let mut heirs = Heirs::new(fleet, dead);
    // Those that stay come first, so that the others are spread around them.
    devices.retain(|device| {
        let stays = fleet.problem.device(*device).backup.filter(|backup| {
            let more = fleet.problem.device(*device).demand;
            let line = heirs.line(*backup).with(more, Vector::default());
            may_inherit(fleet, *device, *backup) && line.share() <= 1.0
        });
        if let Some(backup) = stays {
            heirs.give(fleet, *device, backup);
            backups[device.0 as usize] = Some(backup);
        }
        stays.is_none()
    });
    for device in devices {
        let backup = heirs.coldest(fleet, device);
        if let Some(backup) = backup {
            heirs.give(fleet, device, backup);
        }
        backups[device.0 as usize] = backup;
    }
}

/// A pin says where a device is while its server lives; it does not forbid to survive elsewhere.
/// Whoever fills inherits only where nobody else may, which is not decided by load.
fn may_inherit(fleet: &Fleet<'_>, device: DeviceAt, to: ServerAt) -> bool {
    let line = fleet.line(to);
    let takes_over = line.eligible && !line.fills();
    to != fleet.at(device) && takes_over && fleet.may_but_for_pin(device, to, None)
}
