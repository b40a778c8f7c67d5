//! Who decides which server a device is on: the planner, and what others do in its place.

use redirector_ctl::config::Config;
use redirector_ctl::core::balance::{
    Allowed, Calm, Device, Eligibility, Problem, Rules, Server, ServerAt, Surge, Vector, decide,
    propose,
};
use redirector_ctl::core::forecast::{Series, Settings};

use crate::random::Random;

const MINUTE_MS: u64 = 60_000;
/// Weight of the newest sample in the reactive strategies' mean.
const EWMA_WEIGHT: f64 = 0.3;
/// Minutes between two runs of the thresholds, and the history they look at: those of VMware's
/// Storage DRS.
const DRS_EVERY: u64 = 480;
const DRS_WEIGHT: f64 = 2.0 / 960.0;
/// How long the clients of a moved device wait, in ms, and what that costs as a share of its load.
const BLACKOUT_MS: u64 = 50;

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Devices stay where they began: in turn.
    NoMoves,
    /// Rendezvous hashing (Thaler and Ravishankar, 1998).
    Hash,
    /// The less loaded of two random servers when a device begins.
    TwoChoices,
    /// Longest processing time first, from scratch, every minute.
    Lpt,
    /// Thresholds on a long history, every eight hours.
    Thresholds,
    /// The same relief as the planner's, every minute, on a weighted mean and without any memory.
    Reactive,
    /// The planner as it ships: the rules and the horizon of a configuration that says nothing.
    Planner,
    /// The planner with slower rules: three imbalanced periods of five begin, and it stops 5 %
    /// above the even load.
    Slow,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::NoMoves,
        Self::Hash,
        Self::TwoChoices,
        Self::Lpt,
        Self::Thresholds,
        Self::Reactive,
        Self::Planner,
        Self::Slow,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NoMoves => "no_moves",
            Self::Hash => "hash",
            Self::TwoChoices => "two_choices",
            Self::Lpt => "lpt_every_minute",
            Self::Thresholds => "thresholds",
            Self::Reactive => "reactive_ewma",
            Self::Planner => "planner",
            Self::Slow => "planner_slow",
        }
    }

    /// Whether it answers to what it measures, without looking ahead.
    pub(super) fn is_reactive(self) -> bool {
        matches!(self, Self::Lpt | Self::Thresholds | Self::Reactive)
    }
}

/// A strategy with its associations and its memory.
pub(super) struct Strategy {
    pub(super) kind: Kind,
    problem: Problem,
    random: Random,
    rules: Rules,
    settings: Settings,
    series: Vec<Series>,
    calm: Calm,
}

impl Strategy {
    pub(super) fn new(kind: Kind, devices_len: usize, servers_len: usize) -> Self {
        let mut strategy = Self {
            kind,
            problem: problem(devices_len, servers_len),
            // The same for all, so that luck is no difference between them.
            random: Random::new(1),
            rules: rules(kind),
            settings: settings(kind),
            series: vec![Series::default(); devices_len],
            calm: Calm::default(),
        };
        for device in 0..devices_len {
            strategy.attach(device);
        }
        strategy
    }

    pub(super) fn server_of(&self, device: usize) -> usize {
        self.problem.devices[device].server.0 as usize
    }

    pub(super) fn servers_len(&self) -> usize {
        self.problem.servers.len()
    }

    /// Takes in that other devices began in these places.
    pub(super) fn replace(&mut self, born: &[usize]) {
        for &device in born {
            self.series[device] = Series::default();
            self.problem.devices[device].demand = Vector::default();
            self.problem.devices[device].id += self.problem.devices.len() as u32;
            self.attach(device);
        }
    }

    /// Measures the loads of this minute and decides for the next one. What was moved: device,
    /// from, to.
    pub(super) fn decide(&mut self, minute: u64, loads: &[f64]) -> Vec<(usize, usize, usize)> {
        let before: Vec<usize> = (0..loads.len()).map(|device| self.server_of(device)).collect();
        self.learn(minute, loads);
        match self.kind {
            Kind::NoMoves | Kind::Hash | Kind::TwoChoices => {}
            Kind::Lpt => self.start_over(loads),
            Kind::Thresholds if !minute.is_multiple_of(DRS_EVERY) => {}
            Kind::Thresholds | Kind::Reactive => {
                for one in propose(&self.problem, &self.rules, 0).moves {
                    self.problem.devices[one.device.0 as usize].server = one.to;
                }
            }
            Kind::Planner | Kind::Slow => self.plan(minute),
        }
        let moved = |(device, from): (usize, usize)| {
            let to = self.server_of(device);
            (from != to).then_some((device, from, to))
        };
        before.into_iter().enumerate().filter_map(moved).collect()
    }

    fn learn(&mut self, minute: u64, loads: &[f64]) {
        let now_ms = minute * MINUTE_MS;
        for ((device, series), &load) in
            self.problem.devices.iter_mut().zip(&mut self.series).zip(loads)
        {
            let known = device.demand.get(0);
            let weighted = |weight: f64| known + weight * (load - known);
            device.demand = match self.kind {
                Kind::Reactive if known > 0.0 => Vector::new(&[weighted(EWMA_WEIGHT)]),
                Kind::Thresholds if known > 0.0 => Vector::new(&[weighted(DRS_WEIGHT)]),
                Kind::Planner | Kind::Slow => {
                    series.observe(&self.settings, now_ms, load);
                    let Some(forecast) = series.forecast(&self.settings, now_ms) else { continue };
                    device.error = Vector::new(&[forecast.mae]);
                    device.surge = surge(series, &self.settings);
                    Vector::new(&[forecast.p90])
                }
                _ => Vector::new(&[load]),
            };
            device.cost = (BLACKOUT_MS as f64 / 1000.0 * load) as f32;
        }
    }

    fn plan(&mut self, minute: u64) {
        let now_ms = minute * MINUTE_MS;
        let (proposal, calm) = decide(&self.problem, &self.rules, &self.calm, now_ms);
        self.calm = calm;
        for one in &proposal.moves {
            self.calm.moved(&self.problem, &self.rules, one, BLACKOUT_MS, now_ms);
        }
        for one in &proposal.moves {
            self.problem.devices[one.device.0 as usize].server = one.to;
        }
    }

    /// Puts a device that begins on its first server.
    fn attach(&mut self, device: usize) {
        let servers_len = self.problem.servers.len();
        let server = match self.kind {
            Kind::NoMoves => device % servers_len,
            Kind::Hash => hashed(self.problem.devices[device].id, servers_len),
            _ => {
                let (one, other) = (self.random.below(servers_len), self.random.below(servers_len));
                if self.load(other) < self.load(one) { other } else { one }
            }
        };
        self.problem.devices[device].server = ServerAt(server as u32);
    }

    fn load(&self, server: usize) -> (f64, usize) {
        let here = |device: &&Device| device.server.0 as usize == server;
        let devices = self.problem.devices.iter().filter(here);
        devices.fold((0.0, 0), |(load, len), device| (load + device.demand.get(0), len + 1))
    }

    fn start_over(&mut self, loads: &[f64]) {
        let servers = longest_first(loads, self.problem.servers.len());
        for (device, server) in self.problem.devices.iter_mut().zip(servers) {
            device.server = ServerAt(server as u32);
        }
    }
}

/// Longest processing time first: the heaviest device to the least loaded server, and so on.
pub(super) fn longest_first(loads: &[f64], servers_len: usize) -> Vec<usize> {
    let mut devices: Vec<usize> = (0..loads.len()).collect();
    devices.sort_by(|a, b| loads[*b].total_cmp(&loads[*a]).then(a.cmp(b)));
    let empty = |server| std::cmp::Reverse((0_u64, server));
    let mut coldest: std::collections::BinaryHeap<_> = (0..servers_len).map(empty).collect();
    let mut servers = vec![0; loads.len()];
    for device in devices {
        let Some(std::cmp::Reverse((load, server))) = coldest.pop() else { break };
        servers[device] = server;
        // Loads are not negative, so their bits sort as they do.
        let load = f64::from_bits(load) + loads[device];
        coldest.push(std::cmp::Reverse((load.to_bits(), server)));
    }
    servers
}

fn hashed(device: u32, servers_len: usize) -> usize {
    let weight = |server: &usize| Random::new(u64::from(device) << 32 | *server as u64).bits();
    (0..servers_len).max_by_key(weight).unwrap_or_default()
}

/// A configuration that leaves all to its defaults; without an interface there is none.
const DEFAULTS: &str = "[[interface]]\nname = \"eth0\"\n";

/// The product's defaults.
pub(super) fn shipped() -> Config {
    Config::parse(DEFAULTS).unwrap_or_else(|problems| panic!("{DEFAULTS}: {problems:?}"))
}

/// How loads are forecast. A period is the planner's interval, which has to be the simulated one.
fn settings(kind: Kind) -> Settings {
    let Config { plan, load, .. } = shipped();
    assert_eq!(plan.interval_ms, MINUTE_MS, "the simulated loads change by the minute");
    match kind {
        Kind::Slow => Settings::daily(MINUTE_MS),
        _ => plan.outlook(&load).forecast,
    }
}

pub(super) fn rules(kind: Kind) -> Rules {
    match kind {
        Kind::Planner => shipped().plan.rules(),
        Kind::Slow => Rules::default(),
        _ => Rules { gain_per_cost: 0.0, gain_per_error: 0.0, ..Rules::default() },
    }
}

fn surge(series: &Series, settings: &Settings) -> Surge {
    let known = series.surge(settings);
    known.map_or(Surge::default(), |surge| Surge {
        per_period: surge.per_period as f32,
        size: Vector::new(&[surge.size]),
    })
}

fn problem(devices_len: usize, servers_len: usize) -> Problem {
    let server = |id: usize| Server {
        id: id as u16,
        name: format!("s{id}"),
        capacity: Vector::new(&[1.0]),
        eligibility: Eligibility::Eligible,
        part: 1.0,
        measured: None,
    };
    let device = |id: usize| Device {
        id: id as u32,
        name: format!("d{id}"),
        demand: Vector::default(),
        error: Vector::default(),
        surge: Surge::default(),
        server: ServerAt(0),
        sampled_on: None,
        allowed: Allowed::All,
        pinned: None,
        group: None,
        cost: 0.0,
        resting_until_ms: 0,
        backup: None,
    };
    Problem {
        resources: vec!["load"],
        servers: (0..servers_len).map(server).collect(),
        devices: (0..devices_len).map(device).collect(),
    }
}
