//! Balancing: which devices to move so that no server is loaded much more than it must be, and why.
//!
//! The loop of four passes: devices whose association breaks a constraint, relief of the hottest
//! servers, swaps where constraints leave no single move, and the choice of what is worth its cost.
//! A fifth, in periods without relief, leaves room where devices are known to surge.
//! The objective is convex in each server's worst resource, so that the hottest server counts most.
//! [`propose`] is the solver alone; [`decide`] adds the rules that keep a plan from flapping, whose
//! memory is the value [`Calm`]. [`spread_backups`] says who takes over when a server dies.
//!
//! Everything is a function of its arguments (G11): equal gains are told apart by position, and no
//! order of a hash is ever seen.

mod bound;
mod breaches;
mod calm;
mod fleet;
mod headroom;
mod problem;
mod proposal;
mod relief;
mod scan;
mod select;
mod spread;
mod swaps;
mod text;

pub use calm::{Calm, Verdict, decide};
pub use problem::{
    Allowed, Device, DeviceAt, Eligibility, Problem, RESOURCES_MAX, Rules, Server, ServerAt, Surge,
    Vector,
};
pub use proposal::{Blocked, Breach, Figures, Move, Obstacle, Proposal, Reason, Stuck};
pub use spread::spread_backups;
pub use text::Text;

use fleet::Fleet;

/// What decides beside the loads.
#[derive(Clone, Copy)]
struct Fit<'a> {
    rules: &'a Rules,
    calm: &'a Calm,
    now_ms: u64,
}

/// What to move, from loads and constraints alone: no trigger, and no cap on churn but
/// [`Rules::moves_max`].
#[must_use]
pub fn propose(problem: &Problem, rules: &Rules, now_ms: u64) -> Proposal {
    let calm = Calm::default();
    let mut fleet = Fleet::new(problem, Fit { rules, calm: &calm, now_ms });
    let mut proposal = solve(&mut fleet, Some(rules.moves_max));
    proposal.finish(&fleet);
    proposal
}

/// How often the passes run in one plan. A second time helps where the choice among the steps of
/// the first has left some out on which others rested.
const ROUNDS_MAX: usize = 3;

/// Runs the passes: at most `moves_max` moves for load, or no relief at all. What comes of it is
/// still to be finished.
fn solve(fleet: &mut Fleet<'_>, moves_max: Option<usize>) -> Proposal {
    let mut proposal = Proposal::new(fleet);
    breaches::pass(fleet, &mut proposal);
    let mut room = moves_max.unwrap_or_default();
    for _ in 0..moves_max.map_or(0, |_| ROUNDS_MAX) {
        let start = fleet.start();
        let mut steps = relief::pass(fleet);
        swaps::pass(fleet, &mut steps);
        fleet.return_to(start, steps.iter().flat_map(select::Step::devices));
        proposal.clear_tallies();
        let taken = select::pass(fleet, room, steps, &mut proposal);
        room -= taken;
        if taken == 0 || fleet.hot().is_empty() {
            break;
        }
    }
    proposal
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
