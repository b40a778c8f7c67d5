//! How often one device is asked for, and how many answers decide: what differs from `[health]`.

use serde::{Deserialize, Serialize};

use super::super::health::Thresholds;
use super::super::validate::Problems;

/// What a device says of the pace of its checks. None: as `[health]` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckPace {
    /// Time from the end of one check to the next, in ms. None: as `[health]` says, but not less
    /// than `timeout_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Time after which an unanswered check has failed, in ms. None: as `[health]` says, but not
    /// more than `interval_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Answered checks in a row that make a dead server healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    /// Failed checks in a row that make a healthy server dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
}

impl CheckPace {
    /// Shortest interval, in ms.
    pub const INTERVAL_MIN_MS: u64 = 10;
    /// Longest interval and time-out, in ms.
    pub const TIME_MAX_MS: u64 = 60_000;
    /// Most checks in a row that a verdict may need.
    pub const RUN_MAX: u32 = 100;

    /// Interval and time-out in ms, where `[health]` has these.
    #[must_use]
    pub fn times_ms(&self, interval_ms: u64, timeout_ms: u64) -> (u64, u64) {
        match (self.interval_ms, self.timeout_ms) {
            (None, None) => (interval_ms, timeout_ms),
            (Some(interval), None) => (interval, timeout_ms.min(interval)),
            (None, Some(timeout)) => (interval_ms.max(timeout), timeout),
            (Some(interval), Some(timeout)) => (interval, timeout),
        }
    }

    /// How many checks decide, where `[health]` has these.
    #[must_use]
    pub fn thresholds(&self, usual: Thresholds) -> Thresholds {
        Thresholds { rise: self.rise.unwrap_or(usual.rise), fall: self.fall.unwrap_or(usual.fall) }
    }

    /// Reports what cannot be.
    pub(super) fn judge(&self, problems: &mut Problems) {
        let times = Self::INTERVAL_MIN_MS..=Self::TIME_MAX_MS;
        let runs = 1..=u64::from(Self::RUN_MAX);
        let all = [
            ("check_interval_ms", self.interval_ms, times),
            ("check_timeout_ms", self.timeout_ms, 1..=Self::TIME_MAX_MS),
            ("rise", self.rise.map(u64::from), runs.clone()),
            ("fall", self.fall.map(u64::from), runs),
        ];
        for (field, value, range) in all {
            let Some(value) = value.filter(|value| !range.contains(value)) else { continue };
            let (from, to) = (range.start(), range.end());
            let detail =
                format!("{value} is out of range; write a whole number from {from} to {to}");
            problems.malformed("out_of_range", field, detail);
        }
        if let (Some(interval), Some(timeout)) = (self.interval_ms, self.timeout_ms)
            && timeout > interval
        {
            let detail = format!(
                "{timeout} is longer than check_interval_ms ({interval}); write at most \
                 {interval} or raise check_interval_ms"
            );
            problems.refused("timeout_too_long", "check_timeout_ms", detail);
        }
    }
}
