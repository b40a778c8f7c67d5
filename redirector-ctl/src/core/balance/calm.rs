//! What keeps a plan from flapping: a trigger that needs several periods, rest after a move, a cap
//! on churn, and a higher price for going back. Its memory is a value that goes in and comes out.

use std::collections::{BTreeMap, VecDeque};

use super::fleet::Fleet;
use super::problem::{Problem, Rules};
use super::proposal::{Move, Proposal, Reason};
use super::{Fit, headroom, solve};

const MINUTE_MS: u64 = 60_000;

/// Memory of periods and moves. Devices and servers are remembered by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calm {
    /// Whether each of the last periods was imbalanced, the newest in the lowest bit.
    periods: u32,
    /// Load is being moved until it is even enough.
    relieving: bool,
    /// The last move of each device that may still matter.
    moves: BTreeMap<u32, Past>,
    /// When load was moved in the last minute, and how many devices.
    recent: VecDeque<(u64, usize)>,
}

/// A device's last move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Past {
    from: u16,
    at_ms: u64,
    rest_ms: u64,
}

/// Whether load is a reason to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is even enough.
    Even,
    /// Imbalance that has not lasted long enough: periods so far, and how many it takes.
    Watched {
        /// Imbalanced periods in the window.
        hits: u32,
        /// How many it takes.
        needed: u32,
    },
    /// Load is moved until it is even enough.
    Relieving,
}

impl Calm {
    /// Tells it that a move was carried out, how long the device's clients waited, and when that
    /// was. What is proposed but not carried out leaves no trace.
    pub fn moved(
        &mut self,
        problem: &Problem,
        rules: &Rules,
        a: &Move,
        blackout_ms: u64,
        now_ms: u64,
    ) {
        let rest_ms = rules.rest_ms.max(rules.rest_per_blackout.saturating_mul(blackout_ms));
        let past = Past { from: problem.server(a.from).id, at_ms: now_ms, rest_ms };
        self.moves.insert(problem.device(a.device).id, past);
        if !matches!(a.reason, Reason::Breach(_)) {
            self.recent.push_back((now_ms, 1));
        }
    }

    /// Whether it remembers no move at all.
    pub(super) fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    /// Until when a device rests; 0 when it does not.
    pub(super) fn resting_until_ms(&self, device: u32) -> u64 {
        self.moves.get(&device).map_or(0, |past| past.at_ms.saturating_add(past.rest_ms))
    }

    /// Whether a move would take the device back where it came from a short while ago.
    pub(super) fn reverses(&self, device: u32, to: u16, rules: &Rules, now_ms: u64) -> bool {
        self.moves.get(&device).is_some_and(|past| {
            past.from == to && now_ms < past.at_ms.saturating_add(past.memory_ms(rules))
        })
    }

    /// Takes a period in and forgets what no longer matters.
    fn observe(&mut self, fleet: &Fleet<'_>) -> Verdict {
        let (rules, now_ms) = (fleet.rules, fleet.now_ms);
        self.moves.retain(|_, past| now_ms < past.at_ms.saturating_add(past.memory_ms(rules)));
        while self.recent.front().is_some_and(|(at_ms, _)| at_ms + MINUTE_MS <= now_ms) {
            self.recent.pop_front();
        }
        let hottest = fleet.lines.iter().map(|line| line.share()).fold(0.0, f64::max);
        let is_even = hottest <= fleet.target().max(rules.trigger_floor);
        let is_imbalanced = !is_even
            && (hottest > rules.trigger_ratio * fleet.bound || hottest > rules.trigger_share);
        let window = u32::MAX >> (32 - rules.trigger_window.clamp(1, 32));
        self.periods = (self.periods << 1 | u32::from(is_imbalanced)) & window;
        let hits = self.periods.count_ones();
        self.relieving = !is_even && (self.relieving || hits >= rules.trigger_hits);
        match (self.relieving, is_even) {
            (true, _) => Verdict::Relieving,
            (false, false) if hits > 0 => Verdict::Watched { hits, needed: rules.trigger_hits },
            _ => Verdict::Even,
        }
    }

    /// How many more devices may be moved for load in this minute.
    fn budget(&self, fleet: &Fleet<'_>) -> usize {
        let share = fleet.problem.devices.len() as f64 * fleet.rules.churn_share.clamp(0.0, 1.0);
        let spent: usize = self.recent.iter().map(|(_, count)| count).sum();
        (share as usize).max(1).saturating_sub(spent).min(fleet.rules.moves_max)
    }
}

impl Past {
    fn memory_ms(&self, rules: &Rules) -> u64 {
        self.rest_ms.saturating_mul(rules.reversal_rests.max(1))
    }
}

/// What to move in this period, and the memory for the next one. Called once a period.
#[must_use]
pub fn decide(problem: &Problem, rules: &Rules, calm: &Calm, now_ms: u64) -> (Proposal, Calm) {
    let mut next = calm.clone();
    let fit = Fit { rules, calm, now_ms };
    let mut fleet = Fleet::new(problem, fit);
    let verdict = next.observe(&fleet);
    let budget = next.budget(&fleet);
    let moves_max = (verdict == Verdict::Relieving).then_some(budget);
    fleet.spare_below_trigger();
    let mut proposal = solve(&mut fleet, moves_max);
    proposal.verdict = Some(verdict);
    let is_idle = |a: &Move| matches!(a.reason, Reason::Breach(_));
    if moves_max.is_some_and(|most| most > 0) && proposal.moves.iter().all(is_idle) {
        // Nothing can be gained: it takes a new imbalance to try again.
        (next.relieving, next.periods) = (false, 0);
    }
    if proposal.moves.is_empty() {
        headroom::pass(&mut fleet, budget, &mut proposal);
    }
    proposal.finish(&fleet);
    (proposal, next)
}
