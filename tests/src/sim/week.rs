//! A simulated week in closed loop: what each strategy decides meets the loads of the next minute.

use std::collections::BTreeMap;

use super::strategy::{Kind, Strategy, longest_first};
use super::weather::{DAY, Weather};

/// Where load begins to be overload, over the least that the hottest server must carry: what the
/// planner's trigger calls imbalance, and what relief aims at.
const LINES: [f64; 2] = [1.15, 1.05];
/// A move back to the server that a device came from is a reversal within this time, in minutes:
/// ten rests, as the planner's guard has it, and a whole day.
const REVERSAL_WITHIN: [u64; 2] = [10, DAY];

/// How large, how long and which.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) devices_len: usize,
    pub(super) servers_len: usize,
    pub(super) days: u64,
    /// Days before counting begins, in which everything learns.
    pub(super) warm_up_days: u64,
    pub(super) seed: u64,
}

/// What became of one strategy.
#[derive(Debug, Clone)]
pub(super) struct Score {
    pub(super) kind: Kind,
    /// For each of [`LINES`]: load above the line beyond what a clairvoyant has, as a share of all
    /// load, over time.
    pub(super) tracking_error: [f64; 2],
    pub(super) moves: u64,
    /// For each of [`REVERSAL_WITHIN`].
    pub(super) reversals: [u64; 2],
    /// Hottest server over what it must carry, minute by minute.
    pub(super) max_over_bound: Vec<f64>,
    pub(super) device_days: f64,
}

impl Score {
    pub(super) fn moves_per_device_day(&self) -> f64 {
        self.moves as f64 / self.device_days.max(1.0)
    }

    /// Reversals for one device in one day, for one of [`REVERSAL_WITHIN`].
    pub(super) fn reversals_per_day(&self, within: usize) -> f64 {
        self.reversals[within] as f64 / self.device_days.max(1.0)
    }
}

struct Runner {
    strategy: Strategy,
    score: Score,
    /// By device: where it came from with its last move, and when.
    came: BTreeMap<usize, (usize, u64)>,
}

/// Lets all strategies live through the same week.
pub(super) fn run(setting: Setting, kinds: &[Kind], mut each_day: impl FnMut(u64)) -> Vec<Score> {
    let Setting { devices_len, servers_len, .. } = setting;
    let mut weather = Weather::new(devices_len, servers_len, setting.seed);
    let mut runners: Vec<Runner> = kinds.iter().map(|kind| Runner::new(*kind, setting)).collect();
    let (begin, end) = (setting.warm_up_days * DAY, (setting.warm_up_days + setting.days) * DAY);
    for minute in 1..=end {
        weather.next();
        let is_counted = minute > begin;
        let at_best = Sky::of(&weather.loads, servers_len);
        for runner in &mut runners {
            runner.strategy.replace(&weather.born);
            runner.came.retain(|device, _| !weather.born.contains(device));
            if is_counted {
                runner.count(&weather.loads, &at_best);
            }
            for moved in runner.strategy.decide(minute, &weather.loads) {
                runner.note(moved, minute, is_counted);
            }
        }
        if minute.is_multiple_of(DAY) {
            each_day(minute / DAY);
        }
    }
    let minutes = (end - begin).max(1) as f64;
    let mut scores: Vec<Score> = runners.into_iter().map(|runner| runner.score).collect();
    for score in &mut scores {
        score.tracking_error.iter_mut().for_each(|error| *error /= minutes);
        score.device_days = (setting.days * devices_len as u64) as f64;
    }
    scores
}

/// What nobody can do better in this minute.
struct Sky {
    bound: f64,
    total: f64,
    /// The clairvoyant's overload for each line.
    overload: [f64; 2],
}

impl Sky {
    fn of(loads: &[f64], servers_len: usize) -> Self {
        let total: f64 = loads.iter().sum();
        let heaviest = loads.iter().copied().fold(0.0, f64::max);
        let bound = (total / servers_len as f64).max(heaviest);
        let servers = sums(loads, servers_len, &longest_first(loads, servers_len));
        Self { bound, total, overload: overload(&servers, bound, total) }
    }
}

fn sums(loads: &[f64], servers_len: usize, servers: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0; servers_len];
    for (load, server) in loads.iter().zip(servers) {
        sums[*server] += load;
    }
    sums
}

/// Load above each line, as a share of all load.
fn overload(servers: &[f64], bound: f64, total: f64) -> [f64; 2] {
    LINES.map(|line| {
        let over = |load: &f64| (load - line * bound).max(0.0);
        servers.iter().map(over).sum::<f64>() / total.max(f64::MIN_POSITIVE)
    })
}

impl Runner {
    fn new(kind: Kind, setting: Setting) -> Self {
        let score = Score {
            kind,
            tracking_error: [0.0; 2],
            moves: 0,
            reversals: [0; 2],
            max_over_bound: Vec::new(),
            device_days: 0.0,
        };
        let strategy = Strategy::new(kind, setting.devices_len, setting.servers_len);
        Self { strategy, score, came: BTreeMap::new() }
    }

    fn count(&mut self, loads: &[f64], at_best: &Sky) {
        let servers_len = self.strategy.servers_len();
        let servers: Vec<usize> =
            (0..loads.len()).map(|device| self.strategy.server_of(device)).collect();
        let sums = sums(loads, servers_len, &servers);
        let ours = overload(&sums, at_best.bound, at_best.total);
        for (error, (ours, best)) in
            self.score.tracking_error.iter_mut().zip(ours.into_iter().zip(at_best.overload))
        {
            *error += ours - best;
        }
        let max = sums.iter().copied().fold(0.0, f64::max);
        self.score.max_over_bound.push(max / at_best.bound.max(f64::MIN_POSITIVE));
    }

    fn note(&mut self, (device, from, to): (usize, usize, usize), minute: u64, is_counted: bool) {
        let before = self.came.insert(device, (from, minute));
        if is_counted {
            self.score.moves += 1;
            for (reversals, within) in self.score.reversals.iter_mut().zip(REVERSAL_WITHIN) {
                let is_back =
                    |(came_from, at): (usize, u64)| came_from == to && minute - at <= within;
                *reversals += u64::from(before.is_some_and(is_back));
            }
        }
    }
}
