//! The solver alone, on problems of one moment: how good its plans are and how long they take.

use redirector_ctl::core::balance::{Problem, Proposal, Rules, propose};

use super::instances::{Shape, problem};
use crate::wait;

/// A data centre's worth: 100 000 devices on 1000 servers.
const LARGE: Shape = Shape {
    devices_len: 100_000,
    servers_len: 1000,
    sigma: 1.0,
    resources_len: 1,
    constrained: false,
};

/// What the solver does on some large problems.
#[derive(Debug, Clone, Default)]
pub(super) struct Solved {
    /// Hottest server over the least that it must carry, as it was and as it is planned.
    pub(super) before: Vec<f64>,
    pub(super) after: Vec<f64>,
    /// Load moved over the least that must be moved: what is above the target on each server.
    pub(super) moved: Vec<f64>,
    /// Time to a plan, in ms: by the wall and by the processor.
    pub(super) ms: Vec<f64>,
    pub(super) processor_ms: Vec<f64>,
}

/// One resource, no constraints.
pub(super) fn one_resource(rules: &Rules, seeds: &[u64], rounds: u32) -> Solved {
    solve(LARGE, rules, seeds, rounds)
}

/// Three resources, with allowed servers, pins, groups and servers that refuse.
pub(super) fn three_resources(rules: &Rules, seeds: &[u64], rounds: u32) -> Solved {
    solve(Shape { resources_len: 3, constrained: true, ..LARGE }, rules, seeds, rounds)
}

fn solve(shape: Shape, rules: &Rules, seeds: &[u64], rounds: u32) -> Solved {
    let mut solved = Solved::default();
    // All that it would do, in however many plans.
    let rules = Rules { moves_max: usize::MAX, ..rules.clone() };
    for seed in seeds {
        let problem = problem(shape, *seed);
        for _ in 0..rounds {
            let (begin, processor_begin) = (wait::now(), wait::processor_time());
            let proposal = std::hint::black_box(propose(&problem, &rules, 0));
            let (took, processor_took) =
                (begin.elapsed(), wait::processor_time().saturating_sub(processor_begin));
            solved.ms.push(took.as_secs_f64() * 1000.0);
            solved.processor_ms.push(processor_took.as_secs_f64() * 1000.0);
            drop(proposal);
        }
        let proposal = propose(&problem, &rules, 0);
        solved.before.push(proposal.before / proposal.bound);
        solved.after.push(proposal.after / proposal.bound);
        solved.moved.push(moved_over_least(&problem, &proposal, &rules));
    }
    solved
}

/// By the first resource: it says nothing where there are several.
fn moved_over_least(problem: &Problem, proposal: &Proposal, rules: &Rules) -> f64 {
    let demand = |device: usize| problem.devices[device].demand.get(0);
    let mut loads = vec![0.0; problem.servers.len()];
    for (index, device) in problem.devices.iter().enumerate() {
        loads[device.server.0 as usize] += demand(index);
    }
    let target = (1.0 + rules.stop) * proposal.bound;
    let least: f64 = loads.iter().map(|load: &f64| (load - target).max(0.0)).sum();
    let moved: f64 = proposal.moves.iter().map(|one| demand(one.device.0 as usize)).sum();
    moved / least.max(f64::MIN_POSITIVE)
}
