//! Forecasts of one series: four forecasters compete, and the one that has lost least of late
//! speaks.
//!
//! What is forecast is the 90th percentile at the horizon, because a plan that holds on average
//! breaks every other time. So the competition is on the pinball loss of that percentile, over a
//! rolling window. A series keeps a fixed number of bytes however long it runs.
//!
//! Cold start: without a sample there is no forecast; until the forecasters have been tried
//! [`TRIALS_MIN`] times the last value speaks, with half of itself on top. Gaps: a few missing
//! samples are bridged, as time that passed without news; after more than [`Settings::gap_max`] the
//! level starts again from the next sample, while the season and what is known of the forecasters'
//! errors stay. A series whose last sample is older than that gives no forecast.
//!
//! Bursts: no forecaster sees one begin, so the percentile is never below the last value. How often
//! and how far a series goes beyond what was planned for is remembered apart: [`Surge`].

mod models;
mod surges;

pub use surges::Surge;

use models::{DampedTrend, Season};
use surges::Surges;

/// The percentile that plans are made for, as a share.
pub const QUANTILE: f64 = 0.9;
/// Trials before a forecaster's record counts.
pub const TRIALS_MIN: u32 = 8;
/// The longest horizon, in periods.
pub const HORIZON_MAX: u32 = 8;
/// Largest value that a series takes; larger ones are cut. Far above any rate in bytes a second.
pub const VALUE_MAX: f64 = 1e15;

const LEN: usize = Forecaster::ALL.len();
/// Weight of the newest sample in the exponentially weighted mean.
const EWMA_WEIGHT: f64 = 0.3;
/// Weight of the newest trial in the rolling loss: a memory of about 50 trials.
const LOSS_WEIGHT: f64 = 0.02;
/// The point of a forecaster that has nothing to say. Points are never below 0.
const SILENT: f32 = -1.0;
/// What the last value gets on top of itself while nothing is known of its errors.
const COLD_MARGIN: f64 = 0.5;

/// A way to forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forecaster {
    /// What was, will be.
    LastValue,
    /// Exponentially weighted mean.
    Ewma,
    /// Holt's linear trend, damped (Gardner and McKenzie, 1985).
    DampedTrend,
    /// The same time in earlier seasons, shifted by how much today differs.
    Seasonal,
}

impl Forecaster {
    /// All, simplest first: among equals the simplest wins.
    pub const ALL: [Self; 4] = [Self::LastValue, Self::Ewma, Self::DampedTrend, Self::Seasonal];

    /// The word for it in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LastValue => "last value",
            Self::Ewma => "weighted mean",
            Self::DampedTrend => "damped trend",
            Self::Seasonal => "season",
        }
    }
}

/// What all series of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Time between two samples, in ms; at least 1.
    pub period_ms: u64,
    /// How far ahead, in periods: 1 to [`HORIZON_MAX`], cut otherwise.
    pub horizon: u32,
    /// Length of a season, in periods; below 2 there is none.
    pub season: u32,
    /// Most missing samples in a row that are bridged.
    pub gap_max: u32,
}

impl Settings {
    /// Samples each `period_ms`, two periods ahead, a season of a day, gaps of up to ten samples.
    #[must_use]
    pub fn daily(period_ms: u64) -> Self {
        let period_ms = period_ms.max(1);
        let season = u32::try_from(86_400_000 / period_ms).unwrap_or(u32::MAX);
        Self { period_ms, horizon: 2, season, gap_max: 10 }
    }

    fn slot(&self, at_ms: u64) -> u64 {
        at_ms / self.period_ms.max(1)
    }

    fn steps(&self) -> u32 {
        self.horizon.clamp(1, HORIZON_MAX)
    }
}

/// What is expected at the horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Nine times out of ten it is at most this much; never less than the last value.
    pub p90: f64,
    /// The middle of what is expected.
    pub point: f64,
    /// Mean absolute error of such forecasts so far.
    pub mae: f64,
    /// Who says so.
    pub by: Forecaster,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It continues the series.
    Continued,
    /// It continues the series after as many missing samples.
    AfterGap(u64),
    /// Ignored: not a number.
    NotANumber,
    /// Ignored: its period already has a sample, or is past.
    Late,
}

/// How well a forecaster has done.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Record {
    /// What is to be added to its point to be exceeded once in ten times.
    margin: f32,
    mae: f32,
    loss: f32,
    trials: u32,
}

impl Record {
    /// Compares a point with what came.
    fn judge(&mut self, point: f64, value: f64) {
        let residual = value - point;
        let miss = residual - f64::from(self.margin);
        let loss = if miss > 0.0 { QUANTILE * miss } else { (QUANTILE - 1.0) * miss };
        let weight = LOSS_WEIGHT.max(1.0 / f64::from(self.trials + 1));
        self.loss += (weight * (loss - f64::from(self.loss))) as f32;
        self.mae += (weight * (residual.abs() - f64::from(self.mae))) as f32;
        // A step against the gradient of the pinball loss, in units of the usual error; long at
        // first, so that the margin is found within some ten trials.
        let step = f64::from(self.mae) * (2.0 / f64::from(self.trials + 1)).max(0.15);
        self.margin += (step * if miss > 0.0 { QUANTILE } else { QUANTILE - 1.0 }) as f32;
        self.trials = self.trials.saturating_add(1).min(1 << 20);
    }
}

/// One series of measurements and its forecasters.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The period of the last sample; None before the first.
    slot: Option<u64>,
    last: f32,
    ewma: f32,
    trend: DampedTrend,
    season: Season,
    surges: Surges,
    records: [Record; LEN],
    /// Points forecast in the last periods, by slot modulo the ring; [`SILENT`] where a forecaster
    /// had nothing to say.
    points: [[f32; LEN]; HORIZON_MAX as usize],
    /// How many of the last periods have an entry in the ring without a gap between.
    run_len: u32,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            slot: None,
            last: 0.0,
            ewma: 0.0,
            trend: DampedTrend::default(),
            season: Season::default(),
            surges: Surges::default(),
            records: [Record::default(); LEN],
            points: [[SILENT; LEN]; HORIZON_MAX as usize],
            run_len: 0,
        }
    }
}

impl Series {
    /// Takes a sample in. Below 0 it counts as 0, above [`VALUE_MAX`] it is cut.
    pub fn observe(&mut self, settings: &Settings, at_ms: u64, value: f64) -> Taken {
        if value.is_nan() {
            return Taken::NotANumber;
        }
        let value = value.clamp(0.0, VALUE_MAX);
        let slot = settings.slot(at_ms);
        let passed = match self.slot {
            Some(last) if slot <= last => return Taken::Late,
            Some(last) => slot - last,
            None => u64::MAX,
        };
        let missing = passed - 1;
        if missing > 0 {
            self.run_len = 0;
        }
        if let Some(last) = self.slot.filter(|_| missing == 0) {
            let planned = self.expect(settings, last, settings.steps()).p90;
            self.surges.learn(settings.season, planned, value);
        }
        self.judge(settings, slot, value);
        self.learn(
            settings,
            slot,
            value,
            (missing <= u64::from(settings.gap_max)).then_some(passed),
        );
        self.points[ring_index(slot)] = self.say(settings, slot, settings.steps());
        self.run_len = (self.run_len + 1).min(HORIZON_MAX);
        if missing == 0 || passed == u64::MAX { Taken::Continued } else { Taken::AfterGap(missing) }
    }

    /// What is expected at the horizon from `now_ms` on. None without a sample that is recent
    /// enough.
    #[must_use]
    pub fn forecast(&self, settings: &Settings, now_ms: u64) -> Option<Forecast> {
        let slot = self.slot?;
        let age = settings.slot(now_ms).saturating_sub(slot);
        if age > u64::from(settings.gap_max) + 1 {
            return None;
        }
        let ahead = settings.steps() + u32::try_from(age).unwrap_or(u32::MAX);
        Some(self.expect(settings, slot, ahead))
    }

    /// What may come at once beyond the forecast; None where that is no habit.
    #[must_use]
    pub fn surge(&self, settings: &Settings) -> Option<Surge> {
        self.surges.surge(settings.season)
    }

    /// What is expected `ahead` periods after `slot`, that of the last sample.
    fn expect(&self, settings: &Settings, slot: u64, ahead: u32) -> Forecast {
        let points = self.say(settings, slot, ahead);
        let Some(by) = self.best(&points) else { return self.cold() };
        let record = &self.records[by as usize];
        let point = f64::from(points[by as usize]);
        // What has just begun is in nobody's mean or season: a plan that counts on less than is
        // needed already moves too late.
        let p90 = (point + f64::from(record.margin)).max(f64::from(self.last)).min(VALUE_MAX);
        Forecast { p90, point, mae: f64::from(record.mae), by }
    }

    /// The rolling loss of a forecaster; None before its trials count.
    #[must_use]
    pub fn loss(&self, forecaster: Forecaster) -> Option<f64> {
        let record = &self.records[forecaster as usize];
        (record.trials >= TRIALS_MIN).then_some(f64::from(record.loss))
    }

    fn cold(&self) -> Forecast {
        let point = f64::from(self.last);
        let mae = COLD_MARGIN * point;
        Forecast { p90: point + mae, point, mae, by: Forecaster::LastValue }
    }

    fn best(&self, points: &[f32; LEN]) -> Option<Forecaster> {
        let speaks = |by: &Forecaster| points[*by as usize] >= 0.0;
        let tried = Forecaster::ALL.into_iter().filter(speaks);
        let losses = tried.filter_map(|by| self.loss(by).map(|loss| (loss, by)));
        losses.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, by)| by)
    }

    /// Compares what was forecast for `slot` with what came.
    fn judge(&mut self, settings: &Settings, slot: u64, value: f64) {
        let steps = settings.steps();
        if self.run_len < steps {
            return;
        }
        let points = self.points[ring_index(slot - u64::from(steps))];
        for (record, point) in self.records.iter_mut().zip(points) {
            if point >= 0.0 {
                record.judge(f64::from(point), value);
            }
        }
    }

    /// Moves the models on by `passed` periods; None starts their levels anew.
    fn learn(&mut self, settings: &Settings, slot: u64, value: f64, passed: Option<u64>) {
        let ewma = f64::from(self.ewma);
        let weight = passed.map_or(1.0, |n| 1.0 - (1.0 - EWMA_WEIGHT).powi(models::power(n)));
        self.ewma = (ewma + weight * (value - ewma)) as f32;
        self.trend.learn(value, passed);
        self.season.learn(settings.season, slot, value, passed.is_some());
        self.last = value as f32;
        self.slot = Some(slot);
    }

    /// Each forecaster's point for `ahead` periods after `slot`.
    fn say(&self, settings: &Settings, slot: u64, ahead: u32) -> [f32; LEN] {
        let seasonal = self.season.point(settings.season, slot + u64::from(ahead));
        [self.last, self.ewma, self.trend.point(ahead), seasonal.unwrap_or(SILENT)]
    }
}

fn ring_index(slot: u64) -> usize {
    (slot % u64::from(HORIZON_MAX)) as usize
}

#[cfg(test)]
mod tests;
