//! `/v1/events` as a stream of server-sent events (WHATWG HTML, section 9.2).
//!
//! The daemon's ring of events is the only queue: a stream holds its place in it and a few events
//! at most, so that slow clients cost nothing. One that has fallen out of the ring is told so.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Api;
use super::events;
use super::limits::{STREAM_BATCH_LEN, STREAM_LIFE, STREAM_PAUSE, STREAMS_MAX};
use super::problem::Problem;
use super::usage::StreamPlace;
use crate::daemon::{self, DaemonHandle};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a stream says of itself, under the event names `lost` and `end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Stable name, for programs: `lost`, `stopping` or `renew`.
    pub code: String,
    /// What it means and what to do.
    pub detail: String,
}

/// Answers with all events after the last one that the client has seen, and those to come.
pub(super) async fn follow(
    api: &Api,
    headers: &HeaderMap,
    after: u64,
) -> Result<Response, Problem> {
    let place = api.usage.stream(STREAMS_MAX).ok_or_else(too_many)?;
    let latest = api.daemon.follow().await?;
    let life = api.daemon.snapshot().await?.started_at_ms;
    let last_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let mut feed = Feed {
        daemon: api.daemon.clone(),
        latest,
        life,
        seen: 0,
        ready: VecDeque::new(),
        is_over: false,
        ends_at: Instant::now() + STREAM_LIFE,
        _place: place,
    };
    match last_id {
        Some(id) => feed.resume(id),
        None => feed.go_on_after(after),
    }
    let keep_alive = KeepAlive::new().interval(STREAM_PAUSE).text("nothing new");
    Ok(Sse::new(feed.events()).keep_alive(keep_alive).into_response())
}

fn too_many() -> Problem {
    let detail = format!(
        "{STREAMS_MAX} event streams are open, which is the most there can be: close one, or ask \
         for the list with `after` instead"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail)
}

/// One client's place in the ring of events.
struct Feed {
    daemon: DaemonHandle,
    /// Changes with each event; closed when the daemon stops.
    latest: watch::Receiver<u64>,
    /// Which life of the daemon: when it started. Numbers of events begin anew with each.
    life: u64,
    /// The last event that the client was given.
    seen: u64,
    /// To be sent next.
    ready: VecDeque<Event>,
    is_over: bool,
    ends_at: Instant,
    _place: StreamPlace,
}

impl Feed {
    /// Goes on after the event with the id `life-number`. Events of an earlier life of the daemon
    /// are gone, so that everything of this one is new then.
    fn resume(&mut self, id: &str) {
        let parts = id.split_once('-').and_then(|(life, number)| {
            Some((life.parse::<u64>().ok()?, number.parse::<u64>().ok()?))
        });
        match parts {
            Some((life, number)) if life == self.life => self.go_on_after(number),
            _ => self.begin_anew(),
        }
    }

    /// Goes on after an event of this life. A number that has not come yet is of an earlier one.
    fn go_on_after(&mut self, number: u64) {
        let last = *self.latest.borrow();
        match number > last {
            true => self.begin_anew(),
            false => self.seen = number,
        }
    }

    fn begin_anew(&mut self) {
        let detail = "the daemon was started anew: what follows is all that it knows; \
                      read the state, too";
        self.ready.push_back(notice("lost", "lost", detail));
    }

    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut feed| feed.next().await.map(|event| (Ok(event), feed)))
    }

    /// The next thing to send; None at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            // Noted before it is asked for: what comes in between wakes at once.
            self.latest.borrow_and_update();
            match self.daemon.events(self.seen, STREAM_BATCH_LEN).await {
                Err(_) => self.end("stopping", "the daemon is stopping: connect again later"),
                Ok(events) if events.is_empty() => self.wait().await,
                Ok(events) => self.take(events),
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            changed = self.latest.changed() => {
                if changed.is_err() {
                    self.end("stopping", "the daemon is stopping: connect again later");
                }
            }
            () = sleep_until(self.ends_at) => {
                self.end("renew", "a stream ends after some minutes: connect again");
            }
        }
    }

    fn take(&mut self, events: Vec<daemon::Event>) {
        for event in events {
            if event.id > self.seen + 1 {
                let detail = format!(
                    "events {} to {} were forgotten before they were read: read the state anew",
                    self.seen + 1,
                    event.id - 1
                );
                self.ready.push_back(notice("lost", "lost", &detail));
            }
            self.seen = event.id;
            let id = format!("{}-{}", self.life, event.id);
            let body = serde_json::to_string(&events::Event::from(event));
            let body = body.expect("an event is texts and numbers, which are always JSON");
            self.ready.push_back(Event::default().id(id).data(body));
        }
    }

    fn end(&mut self, code: &str, detail: &str) {
        self.is_over = true;
        self.ready.push_back(notice("end", code, detail));
    }
}

fn notice(name: &str, code: &str, detail: &str) -> Event {
    let notice = Notice { code: code.to_owned(), detail: detail.to_owned() };
    let body = serde_json::to_string(&notice).expect("two texts are always JSON");
    Event::default().event(name).data(body)
}
