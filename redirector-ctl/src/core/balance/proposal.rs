//! What is proposed: moves with their figures and reasons, and what could not be had.

use std::collections::BTreeMap;

use super::calm::Verdict;
use super::fleet::{Fleet, Stays};
use super::problem::{DeviceAt, ServerAt};

/// What constraint a device's association breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// It is pinned to another server.
    PinnedElsewhere,
    /// It may not be on its server.
    NotAllowed,
    /// Another device of its group is on the same server.
    Group,
}

/// Why a device is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its association breaks a constraint.
    Breach(Breach),
    /// Its server is too loaded.
    Relief,
    /// Its server is too loaded, and another device comes in exchange.
    Swap(DeviceAt),
    /// It makes room for the device that comes from a server that is too loaded.
    SwapBack(DeviceAt),
    /// What is on its server now and then needs much more at once, for which there is no room.
    Surges,
}

/// Shares of capacity of both servers in their worst resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// The worst resource of the server that is relieved.
    pub resource: usize,
    /// The server that is relieved, before.
    pub from_before: f64,
    /// The same, after this move and those before it.
    pub from_after: f64,
    /// The other server, before.
    pub to_before: f64,
    /// The same, after.
    pub to_after: f64,
}

/// One device, one new server. Of a swap both moves carry the figures of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Move {
    /// Which device.
    pub device: DeviceAt,
    /// Where it is.
    pub from: ServerAt,
    /// Where it goes.
    pub to: ServerAt,
    /// What it does to both servers.
    pub figures: Figures,
    /// What it gains over the payback time, in server-seconds of load above the even level.
    pub gain: f64,
    /// What it costs, in server-seconds.
    pub cost: f64,
    /// Why.
    pub reason: Reason,
}

/// Why a server cannot take a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Obstacle {
    /// It takes nothing, and why.
    Refuses(String),
    /// The device may not be there.
    NotAllowed,
    /// It has another device of the group.
    Group,
    /// It is too full; its share in the worst resource.
    NoRoom(f64),
}

/// What keeps a server's load where it is: how many of its devices, for which reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stuck {
    /// Pinned to it.
    pub pinned: u32,
    /// Moved a moment ago.
    pub resting: u32,
    /// Too hard to forecast.
    pub uncertain: u32,
    /// Steps that were found but gain too little for what they cost.
    pub too_dear: u32,
    /// Steps that were found but are too many for now.
    pub over_budget: u32,
    /// No server where they may be has room.
    pub no_room: u32,
}

/// Something that should be otherwise but stays.
#[derive(Debug, Clone, PartialEq)]
pub enum Blocked {
    /// A device stays although its association breaks a constraint.
    Device {
        /// Which.
        device: DeviceAt,
        /// What it breaks.
        breach: Breach,
        /// What speaks against the first servers that it might use; empty when there is none.
        by: Vec<(ServerAt, Obstacle)>,
    },
    /// A server stays too loaded.
    Server {
        /// Which.
        server: ServerAt,
        /// Its share in its worst resource, with the moves proposed.
        share: f64,
        /// Which resource that is.
        resource: usize,
        /// What keeps it there.
        by: Stuck,
    },
}

/// What is proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Whether load is a reason to move; None from [`super::propose`], which does not ask.
    pub verdict: Option<Verdict>,
    /// The share that no association of the devices gets the hottest server below.
    pub bound: f64,
    /// The share of the hottest server as it is.
    pub before: f64,
    /// The share of the hottest server with all moves made.
    pub after: f64,
    /// The moves: broken constraints first, then by gain per cost. Each is safe without those after
    /// it, except that the two moves of a swap belong together.
    pub moves: Vec<Move>,
    /// What should be otherwise but stays.
    pub blocked: Vec<Blocked>,
    tallies: BTreeMap<ServerAt, Stuck>,
}

/// Why a step that was found is not taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tally {
    TooDear,
    OverBudget,
    NoRoom,
}

impl Proposal {
    pub(super) fn new(fleet: &Fleet<'_>) -> Self {
        let before = hottest(fleet);
        Self {
            verdict: None,
            bound: fleet.bound,
            before,
            after: before,
            moves: Vec::new(),
            blocked: Vec::new(),
            tallies: BTreeMap::new(),
        }
    }

    /// Forgets what was counted: the steps are looked for anew.
    pub(super) fn clear_tallies(&mut self) {
        self.tallies.clear();
    }

    /// Counts a step away from `from` that is not taken.
    pub(super) fn tally(&mut self, from: ServerAt, why: Tally) {
        let stuck = self.tallies.entry(from).or_default();
        match why {
            Tally::TooDear => stuck.too_dear += 1,
            Tally::OverBudget => stuck.over_budget += 1,
            Tally::NoRoom => stuck.no_room += 1,
        }
    }

    /// Says what the moves lead to and which servers stay too loaded.
    pub(super) fn finish(&mut self, fleet: &Fleet<'_>) {
        self.after = hottest(fleet);
        let rules = fleet.rules;
        let line = fleet.trigger().max(rules.trigger_floor);
        for server in fleet.servers() {
            let (share, resource) = fleet.line(server).worst();
            if share > line.min(1.0) {
                let mut by = self.tallies.get(&server).copied().unwrap_or_default();
                count(fleet, server, resource, &mut by);
                self.blocked.push(Blocked::Server { server, share, resource, by });
            }
        }
        self.clear_tallies();
    }
}

/// Counts the devices that stay on a server by why they do.
fn count(fleet: &Fleet<'_>, server: ServerAt, resource: usize, by: &mut Stuck) {
    // A step that was found and not taken is the reason for one of the devices that could move.
    let mut found = by.too_dear + by.over_budget + by.no_room;
    for device in fleet.devices_on(server) {
        match fleet.stays(device) {
            Some(Stays::Pinned) => by.pinned += 1,
            Some(Stays::Resting) => by.resting += 1,
            Some(Stays::Moved) => {}
            None if !fleet.is_certain(device, resource) => by.uncertain += 1,
            None if found > 0 => found -= 1,
            None => by.no_room += 1,
        }
    }
}

fn hottest(fleet: &Fleet<'_>) -> f64 {
    fleet.lines.iter().map(|line| line.share()).fold(0.0, f64::max)
}
