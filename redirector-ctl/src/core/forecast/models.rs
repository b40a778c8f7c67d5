//! The forecasters that need more state than one number.

/// Most places at which a season is sampled. A day in steps of half an hour.
pub(super) const BUCKETS: usize = 48;

/// Weights of the newest sample in level and trend, and how much of the trend survives a period.
const LEVEL_WEIGHT: f64 = 0.4;
const TREND_WEIGHT: f64 = 0.1;
const DAMPING: f64 = 0.85;
/// Weight of the newest season against all earlier ones.
const SEASON_WEIGHT: f64 = 0.3;
/// Weight of the newest sample in how much today differs from the season.
const SHIFT_WEIGHT: f64 = 0.25;

/// An exponent from a number of periods; beyond some hundred it makes no difference.
pub(super) fn power(periods: u64) -> i32 {
    i32::try_from(periods.min(1000)).unwrap_or(1000)
}

/// Holt's linear trend with damping.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct DampedTrend {
    level: f32,
    trend: f32,
}

impl DampedTrend {
    /// Takes a sample in, `passed` periods after the last one; None starts anew from it.
    pub(super) fn learn(&mut self, value: f64, passed: Option<u64>) {
        let Some(passed) = passed else {
            *self = Self { level: value as f32, trend: 0.0 };
            return;
        };
        let trend = f64::from(self.trend) * DAMPING.powi(power(passed));
        let expected = f64::from(self.level) + f64::from(self.trend) * damped_sum(power(passed));
        let level = expected + LEVEL_WEIGHT * (value - expected);
        let slope = (level - f64::from(self.level)) / passed as f64;
        self.level = level as f32;
        self.trend = (trend + TREND_WEIGHT * (slope - trend)) as f32;
    }

    pub(super) fn point(&self, ahead: u32) -> f32 {
        let rise = f64::from(self.trend) * damped_sum(power(ahead.into()));
        (f64::from(self.level) + rise).max(0.0) as f32
    }
}

/// The sum of the first `n` powers of the damping, from the first on.
fn damped_sum(n: i32) -> f64 {
    DAMPING * (1.0 - DAMPING.powi(n)) / (1.0 - DAMPING)
}

/// The usual course of a season at a bounded number of places, and how much today differs from it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Season {
    buckets: [f32; BUCKETS],
    /// Samples in each bucket, at most 65535.
    counts: [u16; BUCKETS],
    /// Buckets that have a sample.
    filled: u16,
    shift: f32,
}

impl Default for Season {
    fn default() -> Self {
        Self { buckets: [0.0; BUCKETS], counts: [0; BUCKETS], filled: 0, shift: 0.0 }
    }
}

impl Season {
    /// Takes the sample of period `slot` in. `continues` is false when the level starts anew.
    pub(super) fn learn(&mut self, length: u32, slot: u64, value: f64, continues: bool) {
        if length < 2 {
            return;
        }
        if let Some(usual) = self.usual(length, slot) {
            let shift = f64::from(self.shift);
            let weight = if continues { SHIFT_WEIGHT } else { 1.0 };
            self.shift = (shift + weight * (value - usual - shift)) as f32;
        }
        let places = places(length);
        let index = (place(length, slot) as usize).min(places - 1);
        let count = &mut self.counts[index];
        self.filled += u16::from(*count == 0);
        // A season has as many samples in a bucket as the bucket is wide; together they weigh
        // SEASON_WEIGHT.
        let width = f64::from(length) / places as f64;
        let settled = 1.0 - (1.0 - SEASON_WEIGHT).powf(1.0 / width);
        let weight = settled.max(1.0 / (f64::from(*count) + 1.0));
        *count = count.saturating_add(1);
        let bucket = f64::from(self.buckets[index]);
        self.buckets[index] = (bucket + weight * (value - bucket)) as f32;
    }

    /// What is expected in period `slot`; None until a whole season has been seen.
    pub(super) fn point(&self, length: u32, slot: u64) -> Option<f32> {
        let usual = self.usual(length, slot)?;
        Some((usual + f64::from(self.shift)).max(0.0) as f32)
    }

    /// The usual value in period `slot`, between the middles of the two nearest buckets.
    fn usual(&self, length: u32, slot: u64) -> Option<f64> {
        let places = places(length);
        if length < 2 || usize::from(self.filled) < places {
            return None;
        }
        let width = f64::from(length) / places as f64;
        // With one bucket a period there is nothing between the buckets.
        let x = if width <= 1.0 {
            place(length, slot)
        } else {
            place(length, slot) + 0.5 / width - 0.5 + places as f64
        };
        let (below, part) = (x.floor() as usize, x.fract());
        let at = |index: usize| f64::from(self.buckets[index % places]);
        Some(at(below) + part * (at(below + 1) - at(below)))
    }
}

fn places(length: u32) -> usize {
    (length as usize).clamp(1, BUCKETS)
}

/// Where in the season a period begins, in buckets.
fn place(length: u32, slot: u64) -> f64 {
    let within = (slot % u64::from(length.max(1))) as f64;
    within * places(length) as f64 / f64::from(length.max(1))
}
