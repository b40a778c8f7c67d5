//! The planner's periods: what to move for load, shown, and carried out when it is to be.
//!
//! What is carried out goes the way of an operator's change: checked by the spec, on disk, then in
//! the tables. What is only recommended leaves no trace but the plan that is shown.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot;

use super::events::About;
use super::journal::{Answer, Wish};
use super::kernel::Kernel;
use super::load::HistoryOf;
use super::owner::Owner;
use super::planned::{PlanFigures, PlanState, PlanView, PlannedMove};
use super::{Applied, ChangeError, EventKind};
use crate::config::{PlanConfig, PlanMode};
use crate::core::balance::{
    Calm, Device, Move, Problem, Proposal, Reason, Rules, ServerAt, decide, spread_backups,
};
use crate::core::change::{self, Change};
use crate::core::fitness::obstacle;
use crate::core::outlook::Point;
use crate::core::outlook::problem::{Moment, Residence, blackout_ms};
use crate::core::spec::{Cause, Name, Spec};
use crate::platform::clock::Stopwatch;
use crate::platform::tables::FlowCensus;

/// What can be asked about plans and loads.
#[derive(Debug)]
pub(crate) enum PlanRequest {
    /// Show the plan.
    Show { answer: oneshot::Sender<PlanView> },
    /// Carry it out.
    Apply { if_match: Option<u64>, answer: oneshot::Sender<Result<Applied, PlanError>> },
    /// Throw it away until the next one.
    Discard { if_match: Option<u64>, answer: oneshot::Sender<Result<PlanView, PlanError>> },
    /// The last hour of a load. None when there is no such server or device.
    History { of: HistoryOf, answer: oneshot::Sender<Option<Vec<Point>>> },
}

/// Who has told the planner to carry its plan out.
pub(super) type PlanAsker = oneshot::Sender<Result<Applied, PlanError>>;

/// Why a plan was not carried out or thrown away.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is none with a move in it.
    #[error("there is no plan with a move in it: see GET /v1/plan for what it says")]
    Nothing,
    /// The desired state has changed since it was made.
    #[error(
        "the plan was made for generation {planned} and the state is at {current} by now: wait for \
         the next plan"
    )]
    Stale {
        /// What it was made for.
        planned: u64,
        /// The present generation.
        current: u64,
    },
    /// The change that it makes did not happen.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// The planner's memory.
#[derive(Debug)]
pub(super) struct Balance {
    pub(super) config: PlanConfig,
    rules: Rules,
    calm: Calm,
    current: Option<Current>,
    /// Device -> its server at the end of the last period. None before the first.
    known: Option<BTreeMap<Name, Name>>,
    /// Device -> until when it rests because somebody else moved it: ms since the Unix epoch.
    rests: BTreeMap<Name, u64>,
    /// The plan is on its way to the disk.
    is_carrying: bool,
}

/// The plan of this period.
#[derive(Debug)]
struct Current {
    problem: Problem,
    proposal: Proposal,
    view: PlanView,
}

impl Balance {
    pub(super) fn new(config: PlanConfig) -> Self {
        Self {
            config,
            rules: config.rules(),
            calm: Calm::default(),
            current: None,
            known: None,
            rests: BTreeMap::new(),
            is_carrying: false,
        }
    }

    /// Devices that an operator moved rest as those that the planner moved; and so do those that
    /// it moved before the daemon was started anew.
    fn note_moves(&mut self, spec: &Spec, now_ms: u64) {
        for (name, device) in &spec.devices {
            let now = &device.association;
            let has_moved = match self.known.as_ref().map(|known| known.get(name)) {
                None => now.cause == Cause::Overload,
                Some(before) => before.is_some_and(|before| *before != now.server),
            };
            if has_moved && now.cause != Cause::Failure {
                let until_ms = now.changed_at_ms.saturating_add(self.rules.rest_ms);
                self.rests.insert(name.clone(), until_ms);
            }
        }
        self.rests.retain(|_, until_ms| *until_ms > now_ms);
        let place = |(name, device): (&Name, &crate::core::spec::Device)| {
            (name.clone(), device.association.server.clone())
        };
        self.known = Some(spec.devices.iter().map(place).collect());
    }
}

impl<K: Kernel> Owner<K> {
    /// Ends a period and plans for the next one.
    pub(super) fn balance(&mut self) {
        let now_ms = self.now_ms();
        self.loads.outlook.close_period(now_ms);
        self.loads.shown = None;
        if self.balance.config.mode == PlanMode::Off || self.balance.is_carrying {
            return;
        }
        self.balance.note_moves(&self.spec, now_ms);
        let watch = Stopwatch::start();
        let residence = residence(&self.shown.census);
        let moment = Moment {
            spec: &self.spec,
            observed: &self.observed,
            outlook: &self.loads.outlook,
            residence: &residence,
            rests: &self.balance.rests,
            now_ms,
        };
        let problem = moment.problem();
        let (proposal, calm) = decide(&problem, &self.balance.rules, &self.balance.calm, now_ms);
        self.balance.calm = calm;
        self.own.planner.plans.add(watch.elapsed());
        self.own.planner.moves_proposed += proposal.moves.len() as u64;
        let view = self.view_of(&problem, &proposal, now_ms);
        let before = self.balance.current.take().map(|current| current.view);
        self.tell_plan(before.as_ref(), &view);
        self.balance.current = Some(Current { problem, proposal, view });
        if self.shown.frozen.is_some() {
            return;
        }
        self.spread_backups();
        if self.balance.config.mode == PlanMode::Automatic {
            self.apply_plan(None, None);
        }
    }

    /// Backups follow the loads, so that a death adds little to each of the others: who would take
    /// over and could not carry it is replaced. That moves nothing, so no mode keeps it from being
    /// done; while moves are about to be made, the backups wait for what comes of them.
    fn spread_backups(&mut self) {
        let Some(Current { problem, proposal, .. }) = &self.balance.current else { return };
        if !proposal.moves.is_empty() && self.balance.config.mode == PlanMode::Automatic {
            return;
        }
        let chosen = spread_backups(problem, &self.balance.rules);
        let better = |(device, backup): (&Device, Option<ServerAt>)| {
            let backup = &problem.server(backup?).name;
            let now = &self.spec.devices.get(&device.name)?.association;
            let is_fit = obstacle(&self.spec, &self.observed, backup, &device.name).is_none();
            let is_new = now.backup.as_ref() != Some(backup) && now.server != *backup;
            (is_fit && is_new).then(|| (device.name.clone(), Some(backup.clone())))
        };
        let backups: BTreeMap<Name, Option<Name>> =
            problem.devices.iter().zip(chosen).filter_map(better).collect();
        if backups.is_empty() {
            return;
        }
        let changes = vec![(Change::SetBackups { backups }, "by load".to_owned())];
        let answer = Answer::Nobody("backups were not spread by load");
        self.wish(Wish { changes, if_match: None, answer });
    }

    /// Carries the plan out, all of it or nothing: what breaks a constraint first, then what is for
    /// load. Whoever asks for it hears of it when it is done; otherwise events tell.
    pub(super) fn apply_plan(&mut self, if_match: Option<u64>, asker: Option<PlanAsker>) {
        if let Err(error) = self.check_plan(if_match) {
            return self.tell_planner(asker, Err(error));
        }
        let Some(current) = &mut self.balance.current else {
            return self.tell_planner(asker, Err(PlanError::Nothing));
        };
        current.view.state = PlanState::Applied;
        let changes = changes(&current.problem, &current.proposal);
        self.balance.is_carrying = true;
        let if_match = Some(self.spec.generation);
        self.wish(Wish { changes, if_match, answer: Answer::Planner(asker) });
    }

    /// The plan is carried out, or has been refused.
    pub(super) fn plan_has_ended(
        &mut self,
        asker: Option<PlanAsker>,
        outcome: Result<Applied, ChangeError>,
    ) {
        self.balance.is_carrying = false;
        // What is owed to disk or tables is told by itself; the moves are made.
        let is_made = outcome.as_ref().map_or_else(ChangeError::is_made, |_| true);
        let counts = &mut self.own.planner;
        *(if is_made { &mut counts.applied } else { &mut counts.refused }) += 1;
        let now_ms = self.now_ms();
        if let Some(current) = &mut self.balance.current {
            if !is_made {
                current.view.state = PlanState::Proposed;
            }
            for one in current.proposal.moves.iter().filter(|_| is_made) {
                let device = self.spec.devices.get(&current.problem.device(one.device).name);
                let wait_ms = device.map_or(0, |it| blackout_ms(it.policy_of(cause_of(one))));
                let rules = &self.balance.rules;
                self.balance.calm.moved(&current.problem, rules, one, wait_ms, now_ms);
            }
        }
        self.tell_planner(asker, outcome.map_err(PlanError::from));
    }

    fn tell_planner(&mut self, asker: Option<PlanAsker>, outcome: Result<Applied, PlanError>) {
        match (asker, outcome) {
            (Some(asker), outcome) => {
                let _ = asker.send(outcome);
            }
            (None, Ok(_) | Err(PlanError::Nothing)) => {}
            (None, Err(PlanError::Change(error))) if error.is_made() => {}
            (None, Err(error)) => self.error(format!("the plan was not carried out: {error}")),
        }
    }

    /// Whether there is a plan to be carried out, made for the present state, that the caller has
    /// seen.
    fn check_plan(&self, if_match: Option<u64>) -> Result<(), PlanError> {
        let current = self.spec.generation;
        if if_match.is_some_and(|seen| seen != current) {
            return Err(ChangeError::Stale { current }.into());
        }
        match self.balance.current.as_ref().map(|known| &known.view) {
            Some(view) if view.state == PlanState::Proposed => {
                let planned = view.generation;
                let is_stale = planned != current;
                if is_stale { Err(PlanError::Stale { planned, current }) } else { Ok(()) }
            }
            _ => Err(PlanError::Nothing),
        }
    }

    /// Answers a question about plans or loads. Whoever asked may have gone.
    pub(super) fn answer_plan(&mut self, request: PlanRequest) {
        match request {
            PlanRequest::Show { answer } => {
                let _ = answer.send(self.plan_view());
            }
            PlanRequest::Apply { if_match, answer } => {
                self.apply_plan(if_match, Some(answer));
            }
            PlanRequest::Discard { if_match, answer } => {
                let discarded = self.check_plan(if_match).map(|()| {
                    if let Some(current) = &mut self.balance.current {
                        current.view.state = PlanState::Discarded;
                        self.own.planner.discarded += 1;
                    }
                    self.plan_view()
                });
                let _ = answer.send(discarded);
            }
            PlanRequest::History { of, answer } => {
                let _ = answer.send(self.loads.history(&of));
            }
        }
    }

    pub(super) fn plan_view(&self) -> PlanView {
        let mut view = match &self.balance.current {
            Some(current) => current.view.clone(),
            None => PlanView::none(&self.balance.config),
        };
        view.state = self.state_of(&view);
        view
    }

    /// The same in figures.
    pub(super) fn plan_figures(&self) -> PlanFigures {
        let current = self.balance.current.as_ref().map(|current| &current.view);
        let Some(view) = current else { return (&PlanView::none(&self.balance.config)).into() };
        PlanFigures { state: self.state_of(view), ..view.into() }
    }

    /// What has become of a plan by now.
    fn state_of(&self, view: &PlanView) -> PlanState {
        let is_stale = view.generation != self.spec.generation;
        if view.state == PlanState::Proposed && is_stale { PlanState::Stale } else { view.state }
    }

    fn view_of(&self, problem: &Problem, proposal: &Proposal, now_ms: u64) -> PlanView {
        let rules = &self.loads.outlook.rules;
        let forecast = |name: &Name| {
            let known = self.loads.outlook.devices.get(name)?;
            known.expected(rules, now_ms)
        };
        let planned = |one: &Move| {
            let name = &problem.device(one.device).name;
            PlannedMove::of(problem, one, forecast(name))
        };
        let moves: Vec<PlannedMove> = proposal.moves.iter().map(planned).collect();
        let state = if moves.is_empty() { PlanState::Empty } else { PlanState::Proposed };
        PlanView {
            made_at_ms: Some(now_ms),
            generation: self.spec.generation,
            state,
            moves,
            ..PlanView::none(&self.balance.config)
        }
        .with(problem, proposal)
    }

    /// An event tells of a recommendation when it is another than the last.
    fn tell_plan(&mut self, before: Option<&PlanView>, now: &PlanView) {
        let steps = |view: &PlanView| -> BTreeSet<(Name, Name)> {
            view.moves.iter().map(|one| (one.device.clone(), one.to.clone())).collect()
        };
        let is_known = before.is_some_and(|before| steps(before) == steps(now));
        if now.mode != PlanMode::Recommend || now.moves.is_empty() || is_known {
            return;
        }
        for one in &now.moves {
            let text = format!(
                "recommended: move device {} from {} to {}: {}",
                one.device, one.from, one.to, one.why
            );
            let about = About {
                device: Some(one.device.clone()),
                server: Some(one.to.clone()),
                cause: Some(one.cause),
            };
            self.events.record(now.made_at_ms.unwrap_or_default(), EventKind::Plan, about, text);
        }
    }
}

/// The changes that a proposal asks for, each with its reasons.
fn changes(problem: &Problem, proposal: &Proposal) -> Vec<(Change, String)> {
    let of = |cause: Cause| {
        let moves: Vec<&Move> =
            proposal.moves.iter().filter(|one| cause_of(one) == cause).collect();
        let wish = |one: &&Move| change::Move {
            device: problem.device(one.device).name.clone(),
            server: problem.server(one.to).name.clone(),
            policy: None,
        };
        let why: Vec<String> = moves
            .iter()
            .map(|one| format!("{}; {}", one.why(problem), one.worth(problem)))
            .collect();
        let moves: Vec<change::Move> = moves.iter().map(wish).collect();
        (!moves.is_empty()).then(|| (Change::Associate { moves, cause }, why.join("; ")))
    };
    [Cause::Planned, Cause::Overload].into_iter().filter_map(of).collect()
}

/// What breaks a constraint is moved by the operator's wish; everything else for load.
pub(super) fn cause_of(one: &Move) -> Cause {
    if matches!(one.reason, Reason::Breach(_)) { Cause::Planned } else { Cause::Overload }
}

/// Where the open flows were at the last sweep.
fn residence(census: &FlowCensus) -> Residence {
    let mut residence = Residence::new();
    for ((device, _, server), len) in &census.by_epoch {
        *residence.entry(*device).or_default().entry(*server).or_default() += len;
    }
    residence
}
