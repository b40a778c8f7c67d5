//! `/v1/events`: what happened, oldest first.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::Params;
use super::limits::{EVENTS_DEFAULT, EVENTS_MAX};
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::reply::Reply;
use super::wire;
use crate::core::spec::Cause;
use crate::daemon::{self, EventKind};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Grows by one with each event; begins at 1 when the daemon starts.
    pub id: u64,
    /// When; RFC 3339.
    #[schema(format = DateTime)]
    pub at: String,
    /// What.
    pub kind: EventKind,
    /// The device that it is about.
    pub device: Option<String>,
    /// The server that it is about.
    pub server: Option<String>,
    /// Why.
    pub cause: Option<Cause>,
    /// The whole of it in one sentence.
    pub text: String,
}

/// Some events, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// The events.
    pub items: Vec<Event>,
}

/// Which events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Only events with a greater id: the last one that you have seen.
    #[serde(default)]
    #[param(required = false)]
    after: u64,
    /// At most so many, 1 to 1000; 100 when left out.
    limit: Option<usize>,
}

/// Lists events.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventQuery),
    responses((status = 200, body = EventList), ReadProblems))]
pub(super) async fn list_events(
    State(api): State<Api>,
    Params(query): Params<EventQuery>,
) -> Result<Reply<EventList>, Problem> {
    let limit = query.limit.unwrap_or(EVENTS_DEFAULT);
    if !(1..=EVENTS_MAX).contains(&limit) {
        let detail = format!("limit {limit}: write 1 to {EVENTS_MAX}");
        return Err(Problem::malformed("bad_query", detail).in_field("limit"));
    }
    let snapshot = api.daemon.snapshot().await?;
    let events = api.daemon.events(query.after, limit).await?;
    let items = events.into_iter().map(Event::from).collect();
    Ok(Reply::ok(snapshot.spec.generation, EventList { items }))
}

impl From<daemon::Event> for Event {
    fn from(event: daemon::Event) -> Self {
        Self {
            id: event.id,
            at: wire::time(event.at_ms),
            kind: event.kind,
            device: event.device,
            server: event.server,
            cause: event.cause,
            text: event.text,
        }
    }
}
