//! `/v1/plan`: what would be moved for load, why, and what stands in the way; and the word for it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::{Asked, audit, outcome_of};
use super::extract::Body;
use super::load::{Forecast, rounded, time};
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::Problem;
use super::reply::Reply;
use super::status::Blocked;
use crate::config::PlanMode;
use crate::core::spec::Cause;
use crate::daemon::{PlanError, PlanState, PlanView, PlannedMove};

/// A plan for load. Shares are of what a server carries well, in its worst signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Who moves devices for load, by `[plan]` of the configuration.
    pub mode: PlanMode,
    /// Time from one plan to the next, in ms.
    pub interval_ms: u64,
    /// When it was made; RFC 3339. Null before the first.
    #[schema(format = DateTime)]
    pub made_at: Option<String>,
    /// The generation that it was made for. It can be carried out while that is the present one.
    pub generation: u64,
    /// What has become of it.
    pub state: PlanState,
    /// Whether load is a reason to move, in words.
    #[schema(example = "uneven for long enough")]
    pub verdict: Option<String>,
    /// Share below which no association of the devices could bring the hottest server.
    pub bound: f64,
    /// Share of the hottest server as it is.
    pub hottest_before: f64,
    /// The same with all moves made.
    pub hottest_after: f64,
    /// The moves, in the order of their gain for their cost.
    pub moves: Vec<MoveForLoad>,
    /// What should be otherwise but stays, and what stands in the way.
    pub blocked: Vec<Blocked>,
    /// Servers that take no device for load, and why.
    pub refusals: Vec<RefusingServer>,
}

/// One move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MoveForLoad {
    /// The device.
    pub device: String,
    /// The server that it is on.
    pub from: String,
    /// The server that it goes to.
    pub to: String,
    /// `overload`, or `planned` where it breaks a constraint.
    pub cause: Cause,
    /// Why, in a sentence.
    pub why: String,
    /// The signal of which the first server has too much.
    #[schema(example = "cpu")]
    pub signal: String,
    /// Share of the server that it leaves, as it is.
    pub from_before: f64,
    /// The same after it and the moves before it.
    pub from_after: f64,
    /// Share of the server that it goes to, as it is.
    pub to_before: f64,
    /// The same after it.
    pub to_after: f64,
    /// What it gains over the payback time, in server-seconds of load above the even level.
    pub gain: f64,
    /// What it costs, in server-seconds.
    pub cost: f64,
    /// What is expected of the device, in bytes a second.
    pub forecast: Option<Forecast>,
}

/// A server that takes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusingServer {
    /// Its name.
    pub server: String,
    /// Why.
    pub why: String,
}

/// The word to do something with the plan. It has no fields; that it has to be sent as JSON keeps
/// pages in a browser from saying it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Word {}

/// Shows the plan for load.
#[utoipa::path(get, path = "/v1/plan", tag = "plan",
    responses((status = 200, body = Plan), ReadProblems))]
pub(super) async fn get_plan(State(api): State<Api>) -> Result<Reply<Plan>, Problem> {
    let snapshot = api.daemon.snapshot().await?;
    let view = api.daemon.plan().await?;
    Ok(Reply::ok(snapshot.spec.generation, view.into()))
}

/// Carries the plan out, all of it. Refused with 409 when there is none, or when the desired state
/// has changed since it was made.
#[utoipa::path(post, path = "/v1/plan/apply", tag = "plan", request_body = Word,
    params(("if-match" = Option<String>, Header, description = "The generation you have seen")),
    responses((status = 200, body = Plan), ChangeProblems))]
pub(super) async fn apply_plan(
    State(api): State<Api>,
    asked: Asked,
    Body(Word {}): Body<Word>,
) -> Result<Reply<Plan>, Problem> {
    let applied = api.daemon.apply_plan(asked.seen).await;
    noted(&asked, "apply the plan", applied.as_ref().map(|applied| applied.generation));
    let applied = applied?;
    let view = api.daemon.plan().await?;
    Ok(Reply::ok(applied.generation, view.into()))
}

/// Throws the plan away. The next one is made when its time comes.
#[utoipa::path(post, path = "/v1/plan/discard", tag = "plan", request_body = Word,
    params(("if-match" = Option<String>, Header, description = "The generation you have seen")),
    responses((status = 200, body = Plan), ChangeProblems))]
pub(super) async fn discard_plan(
    State(api): State<Api>,
    asked: Asked,
    Body(Word {}): Body<Word>,
) -> Result<Reply<Plan>, Problem> {
    let view = api.daemon.discard_plan(asked.seen).await;
    noted(&asked, "discard the plan", view.as_ref().map(|view| view.generation));
    let view = view?;
    Ok(Reply::ok(view.generation, view.into()))
}

/// Leaves an audit line of a word about the plan, and what came of it.
fn noted(asked: &Asked, what: &str, done: Result<u64, &PlanError>) {
    let (generation, outcome) = match done {
        Ok(generation) => (Some(generation), "done"),
        Err(PlanError::Nothing) => (None, "refused"),
        Err(PlanError::Stale { current, .. }) => (Some(*current), "stale"),
        Err(PlanError::Change(error)) => outcome_of(error),
    };
    audit(&asked.caller, what, generation, outcome);
}

impl From<PlanView> for Plan {
    fn from(view: PlanView) -> Self {
        let blocked = view.blocked.into_iter();
        let refusals = view.refusals.into_iter();
        Self {
            mode: view.mode,
            interval_ms: view.interval_ms,
            made_at: time(view.made_at_ms),
            generation: view.generation,
            state: view.state,
            verdict: view.verdict,
            bound: rounded(view.bound),
            hottest_before: rounded(view.before),
            hottest_after: rounded(view.after),
            moves: view.moves.into_iter().map(MoveForLoad::from).collect(),
            blocked: blocked.map(|one| Blocked { what: one.what, by: one.by }).collect(),
            refusals: refusals.map(|(server, why)| RefusingServer { server, why }).collect(),
        }
    }
}

impl From<PlannedMove> for MoveForLoad {
    fn from(one: PlannedMove) -> Self {
        Self {
            device: one.device,
            from: one.from,
            to: one.to,
            cause: one.cause,
            why: one.why,
            signal: one.signal,
            from_before: rounded(one.relieved.0),
            from_after: rounded(one.relieved.1),
            to_before: rounded(one.receiver.0),
            to_after: rounded(one.receiver.1),
            gain: rounded(one.gain),
            cost: rounded(one.cost),
            forecast: one.expected.map(Forecast::from),
        }
    }
}
