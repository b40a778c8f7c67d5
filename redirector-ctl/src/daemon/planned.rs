//! The plan as shown: plain values, with names and sentences.

use serde::{Deserialize, Serialize};

use super::balance::cause_of;
use crate::config::{PlanConfig, PlanMode};
use crate::core::balance::{Move, Problem, Proposal};
use crate::core::outlook::Expected;
use crate::core::plan::Blocked;
use crate::core::spec::{Cause, Name};

/// What has become of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanState {
    /// None has been made yet.
    None,
    /// It has nothing to move.
    Empty,
    /// It waits for a word.
    Proposed,
    /// It was made for a state that is no more.
    Stale,
    /// It was carried out.
    Applied,
    /// It was thrown away.
    Discarded,
}

impl PlanState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Empty, Self::Proposed, Self::Stale, Self::Applied, Self::Discarded];

    /// The word for it, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Empty => "empty",
            Self::Proposed => "proposed",
            Self::Stale => "stale",
            Self::Applied => "applied",
            Self::Discarded => "discarded",
        }
    }
}

/// A plan for load.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanView {
    /// Who moves devices for load.
    pub mode: PlanMode,
    /// Time from one plan to the next, in ms.
    pub interval_ms: u64,
    /// When it was made: ms since the Unix epoch.
    pub made_at_ms: Option<u64>,
    /// Generation that it was made for.
    pub generation: u64,
    /// What has become of it.
    pub state: PlanState,
    /// Whether load is a reason to move, in words.
    pub verdict: Option<String>,
    /// Share below which nobody could bring the hottest server.
    pub bound: f64,
    /// Share of the hottest server as it is.
    pub before: f64,
    /// The same with all moves made.
    pub after: f64,
    /// The moves.
    pub moves: Vec<PlannedMove>,
    /// What should be otherwise but stays, and why.
    pub blocked: Vec<Blocked>,
    /// Servers that take nothing, and why.
    pub refusals: Vec<(Name, String)>,
}

/// A move and its figures: shares of what each server carries in its worst signal.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedMove {
    /// Which device.
    pub device: Name,
    /// Where it is.
    pub from: Name,
    /// Where it goes.
    pub to: Name,
    /// Why, for the record of the association.
    pub cause: Cause,
    /// Why, in a sentence.
    pub why: String,
    /// The signal of which there is too much.
    pub signal: String,
    /// Of the server that is relieved: before and after.
    pub relieved: (f64, f64),
    /// Of the other server: before and after.
    pub receiver: (f64, f64),
    /// What it gains over the payback time, in server-seconds.
    pub gain: f64,
    /// What it costs, in server-seconds.
    pub cost: f64,
    /// What is expected of the device, in bytes a second.
    pub expected: Option<Expected>,
}

/// A plan in figures, without its moves and reasons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlanFigures {
    /// Who moves devices for load.
    pub mode: PlanMode,
    /// When it was made: ms since the Unix epoch.
    pub made_at_ms: Option<u64>,
    /// What has become of it.
    pub state: PlanState,
    /// Share below which nobody could bring the hottest server.
    pub bound: f64,
    /// Share of the hottest server as it is.
    pub before: f64,
    /// The same with all moves made.
    pub after: f64,
    /// How many moves it has.
    pub moves_len: usize,
    /// How much should be otherwise but stays.
    pub blocked_len: usize,
    /// How many servers take nothing.
    pub refusals_len: usize,
}

impl From<&PlanView> for PlanFigures {
    fn from(view: &PlanView) -> Self {
        let PlanView { mode, made_at_ms, state, bound, before, after, .. } = *view;
        Self {
            mode,
            made_at_ms,
            state,
            bound,
            before,
            after,
            moves_len: view.moves.len(),
            blocked_len: view.blocked.len(),
            refusals_len: view.refusals.len(),
        }
    }
}

impl PlannedMove {
    pub(super) fn of(problem: &Problem, one: &Move, expected: Option<Expected>) -> Self {
        let name = |server| problem.server(server).name.clone();
        let figures = &one.figures;
        let signal = problem.resources.get(figures.resource).copied().unwrap_or("load");
        Self {
            device: problem.device(one.device).name.clone(),
            from: name(one.from),
            to: name(one.to),
            cause: cause_of(one),
            why: one.why(problem),
            signal: signal.to_owned(),
            relieved: (figures.from_before, figures.from_after),
            receiver: (figures.to_before, figures.to_after),
            gain: one.gain,
            cost: one.cost,
            expected,
        }
    }
}

impl PlanView {
    /// What is shown before the first plan.
    #[must_use]
    pub fn none(config: &PlanConfig) -> Self {
        Self {
            mode: config.mode,
            interval_ms: config.interval_ms,
            made_at_ms: None,
            generation: 0,
            state: PlanState::None,
            verdict: None,
            bound: 0.0,
            before: 0.0,
            after: 0.0,
            moves: Vec::new(),
            blocked: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// The same with what the proposal says as a whole.
    pub(super) fn with(self, problem: &Problem, proposal: &Proposal) -> Self {
        Self {
            verdict: proposal.verdict.map(|verdict| verdict.to_string()),
            bound: proposal.bound,
            before: proposal.before,
            after: proposal.after,
            blocked: proposal.blocked_words(problem),
            refusals: problem.refusals(),
            ..self
        }
    }
}
