//! The choice: what is worth its cost, best first, within the budget. The steps are made anew in
//! that order, each judged by the loads it then meets, because those before it may be left out.

use super::fleet::{Fleet, Line};
use super::problem::{DeviceAt, ServerAt};
use super::proposal::{Figures, Move, Proposal, Reason, Tally};
use super::swaps::is_possible;

/// How often steps that have to wait for others are tried again.
const ROUNDS_MAX: usize = 16;
/// What a move costs at least, in server-seconds, so that the rank is always a number.
const COST_MIN: f64 = 1e-9;

/// One move, or two that belong together.
#[derive(Debug, Clone)]
pub(super) struct Step {
    first: (DeviceAt, ServerAt),
    back: Option<(DeviceAt, ServerAt)>,
    /// By how much it lowers the objective, in servers.
    pub(super) gain: f64,
    cost: f64,
    /// When it was found it left the receiver within the limit: in another order too, it waits
    /// until it does.
    within: bool,
}

impl Step {
    /// The step as seen from the present loads, before it is made.
    pub(super) fn of(
        fleet: &Fleet<'_>,
        first: (DeviceAt, ServerAt),
        back: Option<(DeviceAt, ServerAt)>,
    ) -> Self {
        let cost = |device: DeviceAt| f64::from(fleet.problem.device(device).cost.max(0.0));
        let back_cost = back.map_or(0.0, |(device, _)| cost(device));
        let cost = cost(first.0) + back_cost;
        let mut step = Self { first, back, gain: 0.0, cost, within: false };
        (step.gain, step.within) = (step.gain_in(fleet), step.is_within(fleet));
        step
    }

    pub(super) fn make(&self, fleet: &mut Fleet<'_>) {
        fleet.put(self.first.0, self.first.1);
        if let Some((device, to)) = self.back {
            fleet.put(device, to);
        }
    }

    /// Whether neither server is hot after it.
    pub(super) fn is_enough(&self, fleet: &Fleet<'_>) -> bool {
        let [_, _, after_here, _] = self.lines(fleet);
        after_here.share() <= fleet.enough && self.within
    }

    fn is_within(&self, fleet: &Fleet<'_>) -> bool {
        let [_, _, _, after_there] = self.lines(fleet);
        after_there.share() <= fleet.limit()
    }

    /// The devices that it moves.
    pub(super) fn devices(&self) -> impl Iterator<Item = DeviceAt> + use<> {
        std::iter::once(self.first.0).chain(self.back.map(|(device, _)| device))
    }

    fn moves_len(&self) -> usize {
        1 + usize::from(self.back.is_some())
    }

    fn gain_in(&self, fleet: &Fleet<'_>) -> f64 {
        let [here, there, after_here, after_there] = self.lines(fleet);
        let before = fleet.pain(&here) + fleet.pain(&there);
        before - fleet.pain(&after_here) - fleet.pain(&after_there)
    }

    /// Both servers before, and both after.
    fn lines(&self, fleet: &Fleet<'_>) -> [Line; 4] {
        let (device, to) = self.first;
        let less = self.back.map(|(back, _)| fleet.demand(back)).unwrap_or_default();
        let more = fleet.demand(device);
        let (here, there) = (*fleet.line(fleet.at(device)), *fleet.line(to));
        [here, there, here.with(less, more), there.with(more, less)]
    }

    fn figures(&self, fleet: &Fleet<'_>) -> Figures {
        let [here, there, after_here, after_there] = self.lines(fleet);
        Figures {
            resource: here.worst().1,
            from_before: here.share(),
            from_after: after_here.share(),
            to_before: there.share(),
            to_after: after_there.share(),
        }
    }
}

/// Makes the steps that are worth it and within the budget; what is left out is counted. Gives back
/// how many moves that were.
pub(super) fn pass(
    fleet: &mut Fleet<'_>,
    moves_max: usize,
    mut steps: Vec<Step>,
    proposal: &mut Proposal,
) -> usize {
    let rank = |step: &Step| step.gain / step.cost.max(COST_MIN);
    steps.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
    let mut room = moves_max;
    for _ in 0..ROUNDS_MAX {
        let before_len = steps.len();
        steps.retain(|step| match judge(fleet, step, room) {
            Judged::Taken => {
                room -= step.moves_len();
                take(fleet, step, proposal);
                false
            }
            Judged::Waits => true,
            Judged::Left(reason) => {
                proposal.tally(fleet.at(step.first.0), reason);
                false
            }
        });
        if steps.len() == before_len {
            break;
        }
    }
    for step in steps {
        proposal.tally(fleet.at(step.first.0), Tally::NoRoom);
    }
    moves_max - room
}

enum Judged {
    Taken,
    /// It does not fit yet.
    Waits,
    Left(Tally),
}

fn judge(fleet: &Fleet<'_>, step: &Step, room: usize) -> Judged {
    if step.moves_len() > room {
        return Judged::Left(Tally::OverBudget);
    }
    let (device, to) = step.first;
    let fits = !step.within || step.is_within(fleet);
    if !fits || !is_possible(fleet, device, to, step.back.map(|(back, _)| back)) {
        return Judged::Waits;
    }
    let gain = step.gain_in(fleet) * fleet.rules.payback_s;
    if gain <= 0.0 || gain < least_gain(fleet, step) {
        return Judged::Left(Tally::TooDear);
    }
    Judged::Taken
}

/// What a step must gain over the payback time, in server-seconds.
fn least_gain(fleet: &Fleet<'_>, step: &Step) -> f64 {
    let reverses = |(device, to): (DeviceAt, ServerAt)| {
        let (device, to) = (fleet.problem.device(device), fleet.problem.server(to));
        fleet.calm.reverses(device.id, to.id, fleet.rules, fleet.now_ms)
    };
    let is_reversal = reverses(step.first) || step.back.is_some_and(reverses);
    let factor = if is_reversal { fleet.rules.reversal_gain } else { 1.0 };
    fleet.rules.gain_per_cost * step.cost * factor
}

fn take(fleet: &mut Fleet<'_>, step: &Step, proposal: &mut Proposal) {
    let figures = step.figures(fleet);
    let gain = step.gain_in(fleet) * fleet.rules.payback_s;
    let (device, to) = step.first;
    let from = fleet.at(device);
    let reason = |other: Option<DeviceAt>| other.map_or(Reason::Relief, Reason::Swap);
    let back = step.back.map(|(back, _)| back);
    let one = Move { device, from, to, figures, gain, cost: step.cost, reason: reason(back) };
    proposal.moves.push(one);
    if let Some((back, hot)) = step.back {
        let reason = Reason::SwapBack(device);
        proposal.moves.push(Move { device: back, from: to, to: hot, reason, ..one });
    }
    step.make(fleet);
}
