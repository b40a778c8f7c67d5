//! What is to be balanced: servers, devices and rules, as plain values.

use super::super::spec::Name;

/// Most resources of a problem.
pub const RESOURCES_MAX: usize = 4;

/// The least that a server can carry of a resource: capacity 0 would make every share infinite.
const CAPACITY_MIN: f32 = 1e-6;
/// Largest figure of a vector; larger ones are cut so that sums stay finite.
const FIGURE_MAX: f64 = 1e30;

/// One figure per resource, in the units of the problem: finite and not negative. In `f32`, so that
/// a problem of 100 000 devices fits the cache better; sums are made in `f64`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Vector([f32; RESOURCES_MAX]);

impl Vector {
    /// The figures, one per resource; what is no number or negative counts as 0, and what is beyond
    /// [`RESOURCES_MAX`] is left out.
    #[must_use]
    pub fn new(figures: &[f64]) -> Self {
        let mut vector = Self::default();
        for (to, &from) in vector.0.iter_mut().zip(figures) {
            *to = if from > 0.0 { from.min(FIGURE_MAX) as f32 } else { 0.0 };
        }
        vector
    }

    /// The figure of a resource.
    #[must_use]
    pub fn get(&self, resource: usize) -> f64 {
        self.0.get(resource).copied().map_or(0.0, f64::from)
    }

    /// All figures.
    pub(super) fn figures(&self) -> [f64; RESOURCES_MAX] {
        self.0.map(f64::from)
    }

    /// As what a server can carry.
    pub(super) fn capacities(&self) -> [f64; RESOURCES_MAX] {
        self.0.map(|figure| f64::from(figure.max(CAPACITY_MIN)))
    }
}

/// Position of a server in [`Problem::servers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerAt(pub u32);

impl ServerAt {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Position of a device in [`Problem::devices`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceAt(pub u32);

impl DeviceAt {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Whether a server may take more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// It may.
    Eligible,
    /// It may not, and why: draining, suspect, its load not known. What it has stays and counts.
    Refuses(String),
}

/// A server as the solver sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Its id in the server table; what [`super::Calm`] remembers it by.
    pub id: u16,
    /// Its name, for texts.
    pub name: Name,
    /// What it can carry.
    pub capacity: Vector,
    /// Whether it may take more.
    pub eligibility: Eligibility,
    /// Up to which part of what any other would be filled to it may be filled: 1, but less while it
    /// fills.
    pub part: f64,
    /// Its load as last measured. What its devices do not explain of it is taken to stay with the
    /// server. None when nothing but its devices loads it.
    pub measured: Option<Vector>,
}

/// Which servers can reach a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Every server.
    All,
    /// These, in ascending order.
    Only(Vec<ServerAt>),
}

impl Allowed {
    /// Whether the server can reach the device.
    #[must_use]
    pub fn has(&self, server: ServerAt) -> bool {
        match self {
            Self::All => true,
            Self::Only(servers) => servers.binary_search(&server).is_ok(),
        }
    }
}

/// What a device may need at once beyond its demand, though nobody can say when.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Surge {
    /// How many are to be expected in a period; 0 where it is no habit.
    pub per_period: f32,
    /// How much more it needs then, on average.
    pub size: Vector,
}

/// A device as the solver sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its id in the association table; what [`super::Calm`] remembers it by.
    pub id: u32,
    /// Its name, for texts.
    pub name: Name,
    /// What it will need: the 90th percentile of its forecast at the horizon. A device of which
    /// nothing is known gets a cautious guess from the caller, never 0.
    pub demand: Vector,
    /// Mean absolute error of such forecasts.
    pub error: Vector,
    /// What it may need at once beyond that.
    pub surge: Surge,
    /// Where it is.
    pub server: ServerAt,
    /// The server whose [`Server::measured`] still counts it, when we have moved it since that was
    /// sampled: so that our own placements are not overlooked, which would send the next ones after
    /// them.
    pub sampled_on: Option<ServerAt>,
    /// Where it may be.
    pub allowed: Allowed,
    /// The only server on which it may be, by the operator's wish.
    pub pinned: Option<ServerAt>,
    /// Devices of one group must not share a server.
    pub group: Option<u32>,
    /// What a move costs, in server-seconds: expected blackout x share of a server that waits.
    pub cost: f32,
    /// It is not moved for load before this time: ms since the Unix epoch.
    pub resting_until_ms: u64,
    /// Who takes over when its server dies.
    pub backup: Option<ServerAt>,
}

/// What is to be balanced.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Problem {
    /// Names of the resources, at most [`RESOURCES_MAX`].
    pub resources: Vec<&'static str>,
    /// Servers.
    pub servers: Vec<Server>,
    /// Devices. Each `server` and all allowed ones must be positions in `servers`.
    pub devices: Vec<Device>,
}

impl Problem {
    /// The server at a position.
    #[must_use]
    pub fn server(&self, at: ServerAt) -> &Server {
        &self.servers[at.index()]
    }

    /// Servers that take nothing, and why.
    #[must_use]
    pub fn refusals(&self) -> Vec<(Name, String)> {
        let refuses = |server: &Server| match &server.eligibility {
            Eligibility::Eligible => None,
            Eligibility::Refuses(why) => Some((server.name.clone(), why.clone())),
        };
        self.servers.iter().filter_map(refuses).collect()
    }

    /// The device at a position.
    #[must_use]
    pub fn device(&self, at: DeviceAt) -> &Device {
        &self.devices[at.index()]
    }
}

/// When to move, what for, and how much.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Load of the hottest server over the even load from which it is imbalance.
    pub trigger_ratio: f64,
    /// Share of capacity from which it is too much in any case.
    pub trigger_share: f64,
    /// Share of capacity up to which no unevenness is imbalance: nobody waits for an idle server.
    pub trigger_floor: f64,
    /// Periods looked back on, at most 32.
    pub trigger_window: u32,
    /// How many of them must have been imbalanced.
    pub trigger_hits: u32,
    /// How far above the even load a server may stay.
    pub stop: f64,
    /// Time over which a gain counts, in seconds.
    pub payback_s: f64,
    /// Gain over the payback time for each unit of cost.
    pub gain_per_cost: f64,
    /// Relief of the server for each unit of the device's forecast error.
    pub gain_per_error: f64,
    /// By how much a move that leaves room for surges must lower what they are expected to bring
    /// above the trigger: in servers, on average over time.
    pub surge_gain: f64,
    /// How long a device rests after a move, in ms.
    pub rest_ms: u64,
    /// A device also rests this many times its last blackout.
    pub rest_per_blackout: u64,
    /// A move back within this many rests needs [`Rules::reversal_gain`] times the gain.
    pub reversal_rests: u64,
    /// See [`Rules::reversal_rests`].
    pub reversal_gain: f64,
    /// Share of all devices that may be moved in a minute; at least one device may.
    pub churn_share: f64,
    /// Most moves of one plan.
    pub moves_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            trigger_ratio: 1.15,
            trigger_share: 0.8,
            trigger_floor: 0.0,
            trigger_window: 5,
            trigger_hits: 3,
            stop: 0.05,
            payback_s: 300.0,
            gain_per_cost: 3.0,
            gain_per_error: 2.0,
            surge_gain: 1.7e-4,
            rest_ms: 60_000,
            rest_per_blackout: 100,
            reversal_rests: 10,
            reversal_gain: 2.0,
            churn_share: 0.01,
            moves_max: 10_000,
        }
    }
}
