//! `/v1/events`: what happened, oldest first.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::{Params, within};
use super::limits::{EVENTS_DEFAULT, EVENTS_MAX};
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::reply::Reply;
use super::{stream, wire};
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
    /// At most so many, 1 to 1000; 100 when left out. A stream has no limit.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Lists events, or follows them: with `accept: text/event-stream` the answer is a stream of
/// server-sent events, first those that there are, then those to come. Each has an id, and a client
/// that sends the last one as `last-event-id` goes on after it. An event named `lost` says that
/// some were forgotten before they were read, one named `end` that the stream ends and why; both
/// have `code` and `detail`. The others have no name and are items of the list. A client that takes
/// nothing for ten seconds is cut off.
#[utoipa::path(get, path = "/v1/events", tag = "events",
    params(
        EventQuery,
        ("last-event-id" = Option<String>, Header, description = "Streams only: the last id seen"),
    ),
    responses(
        (status = 200, content(
            (EventList = "application/json"),
            (String = "text/event-stream"),
        )),
        ReadProblems
    ))]
pub(super) async fn list_events(
    State(api): State<Api>,
    Params(query): Params<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = within("limit", query.limit, (EVENTS_DEFAULT, EVENTS_MAX))?;
    if wants_stream(&headers) {
        return stream::follow(&api, &headers, query.after).await;
    }
    let snapshot = api.daemon.snapshot().await?;
    let events = api.daemon.events(query.after, limit).await?;
    let items = events.into_iter().map(Event::from).collect();
    Ok(Reply::ok(snapshot.spec.generation, EventList { items }).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    kinds.any(|kind| {
        let essence = kind.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("text/event-stream")
    })
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
