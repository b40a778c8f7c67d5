//! How often a series surges and by how much. When it will nobody can say; that it will again, and
//! about how far, can be learnt, and is what room is left for.

/// A sample that is more than so many times what was planned for is a surge.
const SURGE_RATIO: f64 = 2.0;
/// Surges without which nothing is said: one may be chance. Old ones count for less than one.
const SURGES_MIN: f32 = 1.5;
/// Seasons over which surges are remembered.
const MEMORY_SEASONS: u32 = 3;
/// The memory in periods where there is no season.
const MEMORY_MIN: u32 = 256;
/// Share of a season that is taken to have passed without a surge before the first sample, so that
/// the first ones do not make a series look worse than any.
const CALM_SEASONS: f64 = 0.5;

/// What a series may need at once beyond its forecast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Surge {
    /// How many are to be expected in a period.
    pub per_period: f64,
    /// How far one goes beyond the 90th percentile, on average, in the series' unit.
    pub size: f64,
}

/// What is remembered of surges. All three fade.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Surges {
    periods: f32,
    len: f32,
    sum: f32,
}

impl Surges {
    /// Takes in what was planned for and what came.
    pub(super) fn learn(&mut self, season: u32, planned: f64, value: f64) {
        let memory = season.saturating_mul(MEMORY_SEASONS).max(MEMORY_MIN);
        let stays = 1.0 - 1.0 / memory as f32;
        *self =
            Self { periods: self.periods * stays, len: self.len * stays, sum: self.sum * stays };
        self.periods += 1.0;
        if planned > 0.0 && value > SURGE_RATIO * planned {
            self.len += 1.0;
            self.sum += (value - planned) as f32;
        }
    }

    /// What is to be expected; None where there is no habit of it.
    pub(super) fn surge(&self, season: u32) -> Option<Surge> {
        let periods = f64::from(self.periods) + CALM_SEASONS * f64::from(season);
        (self.len >= SURGES_MIN).then(|| Surge {
            per_period: f64::from(self.len) / periods,
            size: f64::from(self.sum) / f64::from(self.len),
        })
    }
}
