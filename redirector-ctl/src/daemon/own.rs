//! The daemon's own health, counted since its start: how long its turns take, how late it is, what
//! it has done.

use std::collections::BTreeMap;
use std::time::Duration;

use super::EventKind;
use crate::core::health::CheckResult;
use crate::core::spec::{Cause, Name};
use crate::platform::probe::Manner;

/// Upper bounds of the classes of [`Spans`], in microseconds. What is longer is in a class of its
/// own.
pub const SPAN_BOUNDS_US: [u64; 9] =
    [100, 500, 1000, 5000, 10_000, 50_000, 100_000, 500_000, 1_000_000];

/// How long something took, each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spans {
    /// How often it took at most the bound of the same place, and more than the one before.
    pub classes: [u64; SPAN_BOUNDS_US.len()],
    /// How often.
    pub len: u64,
    /// How long, all together, in microseconds.
    pub sum_us: u64,
}

impl Spans {
    /// Adds one.
    pub fn add(&mut self, span: Duration) {
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        if let Some(class) = SPAN_BOUNDS_US.iter().position(|bound| us <= *bound) {
            self.classes[class] += 1;
        }
        self.len += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }
}

/// Checks of a server by what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckCounts {
    /// Answered as they should be, or at least not refused.
    pub answered: u64,
    /// Refused.
    pub refused: u64,
    /// Not answered in time.
    pub silent: u64,
    /// Not made, for a reason of our own.
    pub not_asked: u64,
}

impl CheckCounts {
    /// The counts with the words for what came of the checks.
    #[must_use]
    pub fn by_result(&self) -> [(&'static str, u64); 4] {
        let Self { answered, refused, silent, not_asked } = *self;
        [("answered", answered), ("refused", refused), ("silent", silent), ("not_asked", not_asked)]
    }

    fn add(&mut self, result: &CheckResult) {
        let count = match result {
            CheckResult::Answered { .. } | CheckResult::NotRefused => &mut self.answered,
            CheckResult::Refused(_) | CheckResult::Failed(_) => &mut self.refused,
            CheckResult::Silent(_) => &mut self.silent,
            CheckResult::NotAsked(_) => &mut self.not_asked,
        };
        *count += 1;
    }
}

/// What became of plans for load that had moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlannerCounts {
    /// Making a plan, from the forecasts to the moves, each time.
    pub plans: Spans,
    /// Moves of all plans; one that is recommended again is counted again.
    pub moves_proposed: u64,
    /// Plans that were carried out.
    pub applied: u64,
    /// Plans that were to be carried out and could not be.
    pub refused: u64,
    /// Plans that an operator threw away.
    pub discarded: u64,
}

/// What the daemon has done to find deaths, and about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetectorCounts {
    /// Suspicions that packets raised, by the words of
    /// [`Suspicion`](crate::core::suspicion::Suspicion).
    pub suspicions: BTreeMap<&'static str, u64>,
    /// Checks that were made because of a suspicion.
    pub confirming: CheckCounts,
    /// How often all servers fell silent together, so that the fault was taken for our own.
    pub outages: u64,
    /// SYNs to dead servers that were sent to their survivors.
    pub syns_resent: u64,
    /// Segments that woke clients of dead servers.
    pub wakes: u64,
}

/// What the daemon counts of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Turns of the loop: from something that came in to everything done that follows from it.
    pub turns: Spans,
    /// How late the last reading of the counters was, in microseconds: how long the loop was held
    /// up by something else.
    pub lag_us: u64,
    /// Sweeps of the flow table.
    pub sweeps: Spans,
    /// Flows that sweeps took away.
    pub flows_reaped: u64,
    /// Server -> checks of it; only servers that there are.
    pub checks: BTreeMap<Name, CheckCounts>,
    /// Events by kind.
    pub events: BTreeMap<EventKind, u64>,
    /// Associations that changed their server, by cause.
    pub moves: BTreeMap<Cause, u64>,
    /// Plans for load.
    pub planner: PlannerCounts,
    /// Suspicions and what they led to.
    pub detector: DetectorCounts,
}

impl Own {
    /// Counts a check.
    pub(super) fn check(&mut self, server: &Name, manner: Manner, result: &CheckResult) {
        if manner == Manner::Confirming {
            self.detector.confirming.add(result);
        }
        match self.checks.get_mut(server) {
            Some(counts) => counts.add(result),
            None => self.checks.entry(server.clone()).or_default().add(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_in_the_first_class_that_holds_it_and_a_long_one_in_none() {
        let mut spans = Spans::default();
        for us in [100, 101, 2_000_000] {
            spans.add(Duration::from_micros(us));
        }
        assert_eq!(spans.classes[..3], [1, 1, 0]);
        assert_eq!((spans.len, spans.sum_us), (3, 2_000_201));
    }
}
