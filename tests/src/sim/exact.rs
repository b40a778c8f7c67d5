//! The exact optimum on small cases, by mixed integer programming, to say how far the planner is
//! from it.
//!
//! The solver is microlp, in Rust, through good_lp. HiGHS would be faster, but needs a C++ compiler
//! and CMake on every machine that builds these tests. Where microlp does not end in its time, the
//! optimum of the relaxed problem stands in: nothing is better than that, so that the gap stated is
//! never smaller than the true one.

use anyhow::{Context, Result};
use good_lp::solvers::microlp::{MicroLpProblem, microlp};
use good_lp::{
    Expression, ProblemVariables, Solution, SolutionStatus, SolverModel, Variable,
    VariableDefinition, WithMipGap, WithTimeLimit, constraint, variable,
};
use redirector_ctl::core::balance::{
    Device, DeviceAt, Problem, Proposal, Rules, ServerAt, propose,
};

use super::instances::{Shape, problem};

/// How near to the optimum the exact solver goes, as a share.
const GAP: f32 = 0.001;
/// How the planner compares with the optimum on one case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compared {
    /// The hottest server's load over the optimum's, less 1.
    pub(super) gap: f64,
    /// Load moved over the least that reaches the same target.
    pub(super) moved: f64,
    /// Whether the optimum was found, or is the relaxed problem's.
    pub(super) is_exact: bool,
}

/// Compares on the case of a seed: 200 devices on 10 servers, with constraints. The search for the
/// optimum of whole devices ends after so many seconds; without any, the relaxed optimum is used.
pub(super) fn compare(seed: u64, search_s: Option<f64>) -> Result<Compared> {
    let shape = Shape {
        devices_len: 200,
        servers_len: 10,
        sigma: 1.0,
        resources_len: 1,
        constrained: true,
    };
    let problem = problem(shape, seed);
    // As even as it goes, whatever it takes.
    let evenly = Rules { stop: 0.001, gain_per_cost: 0.0, ..Rules::default() };
    let even = propose(&problem, &evenly, 0);
    let relaxed = relaxed_hottest(&problem)?;
    let exact = search_s.map(|limit_s| whole_hottest(&problem, &even, limit_s));
    let exact = exact.transpose()?.flatten();
    let optimum = exact.unwrap_or(relaxed).max(relaxed);
    let usual = propose(&problem, &Rules::default(), 0);
    let target = (1.0 + Rules::default().stop) * usual.bound;
    let load = |device: DeviceAt| problem.device(device).demand.get(0);
    let moved: f64 = usual.moves.iter().map(|one| load(one.device)).sum();
    Ok(Compared {
        gap: even.after / optimum - 1.0,
        moved: moved / least_moved(&problem, target)?,
        is_exact: exact.is_some(),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A device is on one server.
    Whole,
    /// It may be divided.
    Relaxed,
}

/// A choice for each device and each server where it may be.
struct Choices {
    variables: ProblemVariables,
    /// By device: server and choice.
    of: Vec<Vec<(ServerAt, Variable)>>,
}

impl Choices {
    fn new(problem: &Problem, kind: Kind, start: Option<&Proposal>) -> Self {
        let mut variables = ProblemVariables::new();
        let mut homes: Vec<ServerAt> = problem.devices.iter().map(|device| device.server).collect();
        for one in start.into_iter().flat_map(|proposal| &proposal.moves) {
            homes[one.device.0 as usize] = one.to;
        }
        let mut choices = |(device, home): (&Device, ServerAt)| {
            let servers = (0..problem.servers.len() as u32).map(ServerAt);
            let may = |server: &ServerAt| {
                device.allowed.has(*server) && device.pinned.is_none_or(|pin| pin == *server)
            };
            let choice = |server: ServerAt| {
                let choice = match (kind, start) {
                    (Kind::Relaxed, _) => variable().min(0.0).max(1.0),
                    (Kind::Whole, None) => variable().binary(),
                    (Kind::Whole, Some(_)) => {
                        variable().binary().initial(f64::from(server == home))
                    }
                };
                (server, variables.add(choice))
            };
            servers.filter(may).map(choice).collect()
        };
        let of = problem.devices.iter().zip(homes).map(&mut choices).collect();
        Self { variables, of }
    }

    /// What each server carries.
    fn loads(&self, problem: &Problem) -> Vec<Expression> {
        let mut loads = vec![Expression::from(0.0); problem.servers.len()];
        for (device, choices) in problem.devices.iter().zip(&self.of) {
            for (server, choice) in choices {
                loads[server.0 as usize].add_mul(device.demand.get(0), *choice);
            }
        }
        loads
    }

    /// Each device is somewhere, and no two of a group on one server.
    fn constraints(&self, problem: &Problem) -> Vec<good_lp::Constraint> {
        let once = |choices: &Vec<(ServerAt, Variable)>| {
            constraint!(choices.iter().map(|(_, choice)| *choice).sum::<Expression>() == 1.0)
        };
        let mut all: Vec<_> = self.of.iter().map(once).collect();
        let mut groups = std::collections::BTreeMap::<(u32, ServerAt), Expression>::new();
        for (device, choices) in problem.devices.iter().zip(&self.of) {
            let Some(group) = device.group else { continue };
            for (server, choice) in choices {
                *groups.entry((group, *server)).or_default() += *choice;
            }
        }
        all.extend(groups.into_values().map(|sum| constraint!(sum <= 1.0)));
        all
    }
}

/// The least load that the hottest server can have, devices being divisible.
fn relaxed_hottest(problem: &Problem) -> Result<f64> {
    let choices = Choices::new(problem, Kind::Relaxed, None);
    let (model, top) = hottest(problem, choices, variable().min(0.0));
    let solution = model.solve().context("find the least load of the hottest server")?;
    Ok(solution.value(top))
}

/// The least load that the hottest server can have, beginning with a plan; None when it is not
/// found in time.
fn whole_hottest(problem: &Problem, start: &Proposal, limit_s: f64) -> Result<Option<f64>> {
    let choices = Choices::new(problem, Kind::Whole, Some(start));
    let (model, top) = hottest(problem, choices, variable().min(0.0).initial(start.after));
    let Ok(solution) = model.with_time_limit(limit_s).with_mip_gap(GAP)?.solve() else {
        return Ok(None);
    };
    let is_known = !matches!(solution.status(), SolutionStatus::TimeLimit);
    Ok(is_known.then(|| solution.value(top)))
}

/// The problem of the hottest server, and the variable that is its load.
fn hottest(
    problem: &Problem,
    mut choices: Choices,
    top: VariableDefinition,
) -> (MicroLpProblem, Variable) {
    let top = choices.variables.add(top);
    let (loads, mut constraints) = (choices.loads(problem), choices.constraints(problem));
    constraints.extend(loads.into_iter().map(|load| constraint!(load <= top)));
    let model = choices.variables.minimise(top).using(microlp);
    (constraints.into_iter().fold(model, SolverModel::with), top)
}

/// The least load to be moved until no server is above the target, devices being divisible.
fn least_moved(problem: &Problem, target: f64) -> Result<f64> {
    let choices = Choices::new(problem, Kind::Relaxed, None);
    let (loads, mut constraints) = (choices.loads(problem), choices.constraints(problem));
    constraints.extend(loads.into_iter().map(|load| constraint!(load <= target)));
    let mut moved = Expression::from(0.0);
    for (device, of) in problem.devices.iter().zip(&choices.of) {
        for (_, choice) in of.iter().filter(|(server, _)| *server != device.server) {
            moved.add_mul(device.demand.get(0), *choice);
        }
    }
    let model = choices.variables.minimise(moved.clone()).using(microlp);
    let model = constraints.into_iter().fold(model, SolverModel::with);
    let solution = model.solve().context("find the least load to be moved")?;
    Ok(solution.eval(&moved))
}
