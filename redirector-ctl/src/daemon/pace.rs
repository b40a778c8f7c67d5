//! When the loop does next what it does from time to time: what takes long keeps the next time
//! away, so that none of it takes more than a part of the loop's time. Times are ms since the Unix
//! epoch.

use std::time::Duration;

/// A pause after something that took a while. By default there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rest {
    over_at_ms: u64,
    for_ms: u64,
}

impl Rest {
    /// From this moment on, so many times as long as it took in whole ms.
    pub(super) fn begin(at_ms: u64, took: Duration, times: u32) -> Self {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let for_ms = took_ms.saturating_mul(times.into());
        Self { over_at_ms: at_ms.saturating_add(for_ms), for_ms }
    }

    /// Whether it may be done again.
    pub(super) fn is_over(self, now_ms: u64) -> bool {
        now_ms >= self.over_at_ms
    }

    /// When it may be done again.
    pub(super) fn over_at_ms(self) -> u64 {
        self.over_at_ms
    }

    /// How long it lasts, in ms.
    pub(super) fn for_ms(self) -> u64 {
        self.for_ms
    }
}

/// What comes next, and what rests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// When there is something to decide by itself, without anything coming in.
    pub(super) wake_at_ms: Option<u64>,
    /// Of decisions that can wait.
    pub(super) decisions: Rest,
    /// Of the counters.
    pub(super) counters: Rest,
    /// Of what packets say of servers.
    pub(super) evidence: Rest,
    /// Of the flow table.
    pub(super) sweep: Rest,
    /// A server has died: its waiting clients are looked for at once, not with the next tick.
    pub(super) sweep_soon: bool,
}

impl Pace {
    /// Flows are to be looked at as soon as may be. Deaths are rare, so this one sweep need not
    /// rest from the last.
    pub(super) fn sweep_now(&mut self) {
        (self.sweep_soon, self.sweep) = (true, Rest::default());
    }

    /// What can wait is decided when its rest is over.
    pub(super) fn wake_after_rest(&mut self) {
        let earlier_ms = self.wake_at_ms.unwrap_or(u64::MAX);
        self.wake_at_ms = Some(earlier_ms.min(self.decisions.over_at_ms()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_rests_for_longer_and_what_took_no_time_not_at_all() {
        let rest = Rest::begin(1000, Duration::from_micros(3900), 20);
        assert_eq!((rest.for_ms(), rest.over_at_ms()), (60, 1060));
        assert!(!rest.is_over(1059) && rest.is_over(1060));
        assert!(Rest::begin(1000, Duration::from_micros(900), 20).is_over(1000));
        assert!(Rest::default().is_over(0));
    }
}
