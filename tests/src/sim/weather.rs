//! What devices need, minute by minute: a synthetic load with the shapes that storage traces have.
//!
//! Lognormal sizes, a daily course in three clusters of time zones, bursts with heavy tails,
//! storms that hit many devices at once, level shifts, births and deaths. The shapes are those that
//! studies of storage traces report; no trace is part of this repository.

use super::chance::{between, happens, lognormal, normal, pareto, uniform};
use crate::random::Random;

/// Minutes of a day.
pub(super) const DAY: u64 = 1440;

/// Deviation of the logarithm of the devices' sizes.
const SIGMA: f64 = 1.0;
/// How full servers are on average.
const FILL: f64 = 0.45;
/// No device needs more than this share of a server.
const HEAVIEST: f64 = 0.25;
/// Share of devices that burst: small ones, idle most of the time.
const BURSTY: f64 = 0.2;
/// What a bursty device needs between bursts, against others of its size.
const BETWEEN_BURSTS: f64 = 0.2;
/// Minutes between two bursts of a device, on average; the least length of one, in minutes.
const BURST_EVERY: f64 = 360.0;
const BURST_LEAST: f64 = 2.0;
/// Peak of a burst over the level between bursts: Pareto from the one, cut at the other.
const BURST_PEAK: (f64, f64) = (10.0, 1000.0);
/// Storms a day, share of devices that one hits, how hard, and for how many minutes.
const STORMS_A_DAY: f64 = 2.0;
const STORM_SHARE: f64 = 0.1;
const STORM_FACTOR: f64 = 5.0;
const STORM_LENGTH: u64 = 5;
/// Level shifts of a device in a week, and how large (deviation of the logarithm).
const SHIFTS_A_WEEK: f64 = 1.0;
const SHIFT_SIGMA: f64 = 0.5;
/// Share of devices that end in a day; another begins in its place.
const DEATHS_A_DAY: f64 = 0.02;
/// Noise from minute to minute: how much of it stays, and its deviation.
const NOISE_STAYS: f64 = 0.8;
const NOISE_SIGMA: f64 = 0.06;

/// One device's nature and state.
#[derive(Debug, Clone)]
struct Source {
    base: f64,
    amplitude: f64,
    /// Share of a day.
    phase: f64,
    is_bursty: bool,
    /// Factor of the present burst and the minute of its end.
    burst: (f64, u64),
    storm_until: u64,
    noise: f64,
}

/// All devices' loads.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    random: Random,
    minute: u64,
    /// Size of a device with a lognormal factor of 1, as a share of a server.
    scale: f64,
    sources: Vec<Source>,
    /// What each device needs in this minute, as a share of a server.
    pub(super) loads: Vec<f64>,
    /// Devices that began in this minute, in place of others that ended.
    pub(super) born: Vec<usize>,
}

impl Weather {
    pub(super) fn new(devices_len: usize, servers_len: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        // The mean of a lognormal is above its median.
        let mean = (SIGMA * SIGMA / 2.0).exp();
        let scale = FILL * servers_len as f64 / devices_len as f64 / mean;
        let sources = (0..devices_len).map(|_| Source::new(&mut random, scale)).collect();
        let loads = vec![0.0; devices_len];
        let mut weather = Self { random, minute: 0, scale, sources, loads, born: Vec::new() };
        weather.measure();
        weather
    }

    /// Goes on by a minute.
    pub(super) fn next(&mut self) {
        self.minute += 1;
        self.born.clear();
        let storm = happens(&mut self.random, STORMS_A_DAY / DAY as f64);
        for (index, source) in self.sources.iter_mut().enumerate() {
            if happens(&mut self.random, DEATHS_A_DAY / DAY as f64) {
                *source = Source::new(&mut self.random, self.scale);
                self.born.push(index);
            }
            if storm && happens(&mut self.random, STORM_SHARE) {
                source.storm_until = self.minute + STORM_LENGTH;
            }
            source.next(&mut self.random, self.minute);
        }
        self.measure();
    }

    fn measure(&mut self) {
        for (load, source) in self.loads.iter_mut().zip(&self.sources) {
            *load = source.load(self.minute);
        }
    }
}

impl Source {
    fn new(random: &mut Random, scale: f64) -> Self {
        let is_bursty = happens(random, BURSTY);
        let level = if is_bursty { BETWEEN_BURSTS } else { 1.0 };
        let cluster = [0.0, 0.25, 0.4][random.below(3)];
        Self {
            base: scale * level * lognormal(random, SIGMA),
            amplitude: between(random, 0.2, 0.8),
            phase: cluster + 0.03 * normal(random),
            is_bursty,
            burst: (1.0, 0),
            storm_until: 0,
            noise: 0.0,
        }
    }

    fn next(&mut self, random: &mut Random, minute: u64) {
        self.noise = NOISE_STAYS * self.noise + NOISE_SIGMA * normal(random);
        if happens(random, SHIFTS_A_WEEK / (7 * DAY) as f64) {
            self.base *= lognormal(random, SHIFT_SIGMA);
        }
        if self.is_bursty && self.burst.1 <= minute && uniform(random) < 1.0 / BURST_EVERY {
            let peak = (BURST_PEAK.0 * pareto(random, 1.5)).min(BURST_PEAK.1);
            let length = (BURST_LEAST * pareto(random, 1.5)).min(DAY as f64);
            self.burst = (peak, minute + length as u64);
        }
    }

    fn load(&self, minute: u64) -> f64 {
        let day = minute as f64 / DAY as f64 + self.phase;
        let course = 1.0 + self.amplitude * (std::f64::consts::TAU * day).sin();
        let burst = if minute < self.burst.1 { self.burst.0 } else { 1.0 };
        let storm = if minute < self.storm_until { STORM_FACTOR } else { 1.0 };
        (self.base * course * self.noise.exp() * burst * storm).min(HEAVIEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_weather() {
        let (mut once, mut again) = (Weather::new(50, 5, 3), Weather::new(50, 5, 3));
        for _ in 0..500 {
            once.next();
            again.next();
            assert_eq!((&once.loads, &once.born), (&again.loads, &again.born));
        }
    }

    #[test]
    fn servers_are_about_as_full_as_they_should_be() {
        let mut weather = Weather::new(500, 10, 3);
        let mut sum = 0.0;
        for _ in 0..DAY {
            weather.next();
            sum += weather.loads.iter().sum::<f64>();
        }
        let fill = sum / DAY as f64 / 10.0;
        assert!((0.3..0.6).contains(&fill), "{fill}");
    }
}
