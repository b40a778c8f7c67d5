//! The event stream: what comes in which order, how it is resumed, and how it ends.

use axum::body::{Body, BodyDataStream};
use axum::http::{StatusCode, header};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::super::limits::STREAMS_MAX;
use super::harness::{Lab, request};

/// A stream as a client reads it.
struct Reading {
    body: BodyDataStream,
    text: String,
}

impl Reading {
    async fn of(lab: &Lab, path: &str, last_id: Option<&str>) -> Self {
        let mut asked = request("GET", path, Body::empty());
        asked.headers_mut().insert(header::ACCEPT, "text/event-stream".parse().expect("a value"));
        if let Some(id) = last_id {
            asked.headers_mut().insert("last-event-id", id.parse().expect("a value"));
        }
        let Ok(answer) = lab.router.clone().oneshot(asked).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: answer.into_body().into_data_stream(), text: String::new() }
    }

    /// The next message: its id or, without one, its name; and its data. None at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name));
                let name = field("id: ").or_else(|| field("event: ")).map(str::to_owned);
                let data = field("data: ").map(|data| serde_json::from_str(data).expect("JSON"));
                self.text = rest.to_owned();
                if let (Some(name), Some(data)) = (name, data) {
                    return Some((name, data));
                }
                continue;
            }
            let bytes = self.body.next().await?.expect("it is in memory");
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

async fn move_to(lab: &Lab, server: &str) {
    let moved = lab.put("/v1/associations/disk-a", json!({ "server": server })).await;
    assert_eq!(moved.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stream_tells_what_happened_and_then_what_happens() {
    let lab = Lab::new();
    move_to(&lab, "s2").await;
    let mut reading = Reading::of(&lab, "/v1/events", None).await;
    let (first_id, first) = reading.next().await.expect("an event");
    assert!(first_id.ends_with("-1") && first["id"] == 1 && first["kind"] == "change", "{first}");
    move_to(&lab, "s3").await;
    let (_, second) = reading.next().await.expect("another");
    assert_eq!(second["id"], 2);
    assert_eq!(second["at"], "2026-01-31T12:00:00.000Z", "it is what the list has");
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_id_and_says_when_events_are_lost() {
    let lab = Lab::new();
    for server in ["s2", "s3", "s1"] {
        move_to(&lab, server).await;
    }
    let (id, _) = Reading::of(&lab, "/v1/events", None).await.next().await.expect("an event");
    let (_, next) = Reading::of(&lab, "/v1/events", Some(&id)).await.next().await.expect("one");
    assert_eq!(next["id"], 2);
    let (_, next) = Reading::of(&lab, "/v1/events?after=2", None).await.next().await.expect("one");
    assert_eq!(next["id"], 3);
    for unknown in ["1-1", "nonsense", id.replace("-1", "-99").as_str()] {
        let mut reading = Reading::of(&lab, "/v1/events", Some(unknown)).await;
        let (name, notice) = reading.next().await.expect("a notice");
        assert_eq!((name.as_str(), &notice["code"]), ("lost", &json!("lost")), "{unknown}");
        assert_eq!(reading.next().await.expect("all there is").1["id"], 1, "{unknown}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_a_word_after_some_minutes() {
    let lab = Lab::new();
    let mut reading = Reading::of(&lab, "/v1/events", None).await;
    tokio::time::pause();
    let (name, notice) = reading.next().await.expect("a word of farewell");
    assert_eq!((name.as_str(), &notice["code"]), ("end", &json!("renew")));
    assert!(reading.next().await.is_none());
}

#[tokio::test]
async fn so_many_streams_and_no_more() {
    let lab = Lab::new();
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        open.push(Reading::of(&lab, "/v1/events", None).await);
    }
    let mut asked = request("GET", "/v1/events", Body::empty());
    asked.headers_mut().insert(header::ACCEPT, "text/event-stream".parse().expect("a value"));
    let refused = lab.send(asked).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.problem()["code"], "too_many_streams");
    open.pop();
    Reading::of(&lab, "/v1/events", None).await;
}
