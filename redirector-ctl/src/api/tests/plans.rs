//! Loads, plans and histories on the wire.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{StatusCode, header};
use serde_json::json;

use super::harness::{Lab, NOW_MS, request};
use crate::config::PlanMode;
use crate::core::forecast::{Forecast, Forecaster};
use crate::core::load::{RefusalKind, Signal};
use crate::core::outlook::{Expected, Point, Rates};
use crate::core::plan::Blocked;
use crate::core::spec::{Cause, Spec};
use crate::daemon::{
    Applied, ChangeError, DeviceLoad, HistoryOf, LoadView, PlanError, PlanFigures, PlanRequest,
    PlanState, PlanView, PlannedMove, ServerLoad,
};

/// A plan of one move, and what has become of it.
pub struct Shelf(PlanView);

fn expected(point: f64) -> Option<Expected> {
    let by = Forecaster::Ewma;
    let forecast = Forecast { p90: 1.5 * point, point, mae: 0.1 * point, by };
    Some(Expected { forecast, loss: Some(0.05 * point) })
}

/// s1 is busy, of s2 and s3 nothing is known; disk-a has traffic.
pub fn loads() -> LoadView {
    let s1 = ServerLoad {
        worst: Some((Signal::Cpu, 0.95)),
        signals: [(Signal::Cpu, (0.95, NOW_MS - 2000)), (Signal::Memory, (0.5, NOW_MS))].into(),
        refusal: Some("its cpu is at 95 %".to_owned()),
        refusal_kind: Some(RefusalKind::Full),
        expected: expected(0.8),
        faults: [].into(),
    };
    let unknown = ServerLoad {
        refusal: Some("nothing tells its load".into()),
        refusal_kind: Some(RefusalKind::NoSource),
        ..ServerLoad::default()
    };
    let rates = Rates {
        packets_per_s: 100.0,
        bytes_per_s: 2048.0,
        flows_opened_per_s: 0.5,
        requests_per_s: 12.5,
    };
    let disk_a = DeviceLoad { rates: Some(rates), expected: expected(1024.0) };
    let servers = [("s1", s1), ("s2", unknown.clone()), ("s3", unknown)];
    LoadView {
        servers: servers.into_iter().map(|(name, load)| (name.to_owned(), load)).collect(),
        devices: Arc::new([(0, disk_a)].into()),
    }
}

impl Shelf {
    pub fn figures(&self) -> PlanFigures {
        (&self.0).into()
    }

    pub fn new() -> Self {
        let one = PlannedMove {
            device: "disk-a".into(),
            from: "s1".into(),
            to: "s2".into(),
            cause: Cause::Overload,
            why: "s1 goes from 95.0 % to 50.0 % of its cpu, and s2 from 5.0 % to 50.0 % of its \
                  worst"
                .into(),
            signal: "cpu".into(),
            relieved: (0.95, 0.5),
            receiver: (0.05, 0.5),
            gain: 120.0,
            cost: 0.02,
            expected: expected(1024.0),
        };
        Self(PlanView {
            mode: PlanMode::Recommend,
            interval_ms: 60_000,
            made_at_ms: Some(NOW_MS),
            generation: 1,
            state: PlanState::Proposed,
            verdict: Some("uneven for long enough".into()),
            bound: 0.5,
            before: 0.95,
            after: 0.5,
            moves: vec![one],
            blocked: vec![Blocked { what: "s3 stays".into(), by: "devices: 1 pinned".into() }],
            refusals: vec![("s3".into(), "it is draining".into())],
        })
    }

    pub fn answer(&mut self, request: PlanRequest, spec: &Spec) {
        match request {
            PlanRequest::Show { answer } => {
                let _ = answer.send(self.0.clone());
            }
            PlanRequest::Apply { if_match, answer } => {
                let applied = self.turn(if_match, spec, PlanState::Applied);
                let (generation, events) = (spec.generation, vec![1]);
                let _ = answer.send(applied.map(|()| Applied { generation, events }));
            }
            PlanRequest::Discard { if_match, answer } => {
                let discarded = self.turn(if_match, spec, PlanState::Discarded);
                let _ = answer.send(discarded.map(|()| self.0.clone()));
            }
            PlanRequest::History { of, answer } => {
                let point = Point { at_ms: NOW_MS, value: Some(0.5), p50: None, p90: Some(0.75) };
                let is_known = match of {
                    HistoryOf::Server(name) => spec.servers.contains_key(&name),
                    HistoryOf::Device(name) => spec.devices.contains_key(&name),
                };
                let _ = answer.send(is_known.then(|| vec![point]));
            }
        }
    }

    fn turn(&mut self, if_match: Option<u64>, spec: &Spec, to: PlanState) -> Result<(), PlanError> {
        let current = spec.generation;
        if if_match.is_some_and(|seen| seen != current) {
            return Err(ChangeError::Stale { current }.into());
        }
        if self.0.state != PlanState::Proposed {
            return Err(PlanError::Nothing);
        }
        if self.0.generation != current {
            return Err(PlanError::Stale { planned: self.0.generation, current });
        }
        self.0.state = to;
        Ok(())
    }
}

async fn say(lab: &Lab, word: &str, if_match: &str) -> super::harness::Answer {
    let mut asked = request("POST", &format!("/v1/plan/{word}"), Body::from("{}"));
    asked.headers_mut().insert(header::IF_MATCH, if_match.parse().unwrap());
    lab.send(asked).await
}

#[tokio::test]
async fn a_server_shows_its_load_with_signals_age_and_forecast() {
    let lab = Lab::new();
    let load = lab.get("/v1/servers/s1").await.json()["load"].clone();
    assert_eq!((&load["score"], &load["signal"]), (&json!(0.95), &json!("cpu")));
    assert_eq!(load["signals"]["cpu"], json!({"share": 0.95, "age_ms": 2000}));
    assert_eq!(load["refusal"], "its cpu is at 95 %");
    assert_eq!(
        load["forecast"],
        json!({"p50": 0.8, "p90": 1.2, "error": 0.08, "forecaster": "weighted mean", "loss": 0.04})
    );
    let unknown = lab.get("/v1/servers/s2").await.json()["load"].clone();
    assert_eq!((&unknown["score"], &unknown["forecast"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn a_device_shows_its_traffic_and_what_is_expected_of_it() {
    let device = Lab::new().get("/v1/devices/disk-a").await.json();
    assert_eq!(device["traffic"]["bytes_per_second"], 2048.0);
    assert_eq!(
        (&device["requests"], &device["traffic"]["requests_per_second"]),
        (&json!(7), &json!(12.5))
    );
    assert_eq!(device["traffic"]["forecast"]["p90"], 1536.0);
    assert_eq!(device["pinned"], false);
}

#[tokio::test]
async fn sources_of_figures_are_put_with_the_server_and_kept() {
    let lab = Lab::new();
    let body = json!({
        "address": "10.0.2.14",
        "metrics_url": "http://10.0.2.14:9100/metrics",
        "agent_address": "10.0.2.14:9999",
        "bytes_per_second_max": 125_000_000,
    });
    let put = lab.put("/v1/servers/s4", body.clone()).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.json());
    for field in ["metrics_url", "agent_address", "bytes_per_second_max"] {
        assert_eq!(put.json()[field], body[field], "{field}");
    }
    for (field, value) in [
        ("metrics_url", json!("http://nas:9100/metrics")),
        ("agent_address", json!("10.0.2.14:0")),
        ("bytes_per_second_max", json!(0)),
    ] {
        let mut bad = body.clone();
        bad[field] = value;
        let refused = lab.put("/v1/servers/s4", bad).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{field}");
        assert_eq!(refused.problem()["field"], field);
    }
}

#[tokio::test]
async fn a_plan_shows_moves_with_figures_and_what_is_blocked() {
    let plan = Lab::new().get("/v1/plan").await.json();
    assert_eq!((&plan["mode"], &plan["state"]), (&json!("recommend"), &json!("proposed")));
    assert_eq!(plan["moves"][0]["from_before"], 0.95);
    assert_eq!(plan["moves"][0]["cause"], "overload");
    assert_eq!(plan["blocked"][0], json!({"what": "s3 stays", "by": "devices: 1 pinned"}));
    assert_eq!(plan["refusals"][0], json!({"server": "s3", "why": "it is draining"}));
}

#[tokio::test]
async fn a_plan_is_applied_once_and_only_for_the_state_that_was_seen() {
    let lab = Lab::new();
    let stale = say(&lab, "apply", "\"99\"").await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    let generation = lab.spec().await.generation;
    let applied = say(&lab, "apply", &format!("\"{generation}\"")).await;
    assert_eq!((applied.status, &applied.json()["state"]), (StatusCode::OK, &json!("applied")));
    let again = say(&lab, "apply", "*").await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(again.problem()["code"], "no_plan");
}

#[tokio::test]
async fn a_plan_for_an_earlier_state_is_a_conflict_and_a_page_cannot_say_the_word() {
    let lab = Lab::new();
    lab.put("/v1/servers/s9", json!({"address": "10.0.2.19"})).await;
    let late = say(&lab, "apply", "*").await;
    assert_eq!(
        (late.status, &late.problem()["code"]),
        (StatusCode::CONFLICT, &json!("plan_stale"))
    );
    let mut plain = request("POST", "/v1/plan/apply", Body::from("{}"));
    plain.headers_mut().insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
    assert_eq!(lab.send(plain).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_discarded_plan_cannot_be_applied() {
    let lab = Lab::new();
    let discarded = say(&lab, "discard", "*").await;
    assert_eq!(discarded.json()["state"], "discarded");
    assert_eq!(say(&lab, "apply", "*").await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_history_is_of_one_server_or_one_device() {
    let lab = Lab::new();
    let history = lab.get("/v1/history?server=s1").await.json();
    assert_eq!((&history["unit"], &history["step_ms"]), (&json!("share"), &json!(5000)));
    assert_eq!(history["points"][0]["p90"], 0.75);
    assert_eq!(lab.get("/v1/history?device=disk-a").await.json()["unit"], "bytes_per_second");
    assert_eq!(lab.get("/v1/history?device=s1").await.status, StatusCode::NOT_FOUND);
    for query in ["", "?server=s1&device=disk-a", "?who=s1"] {
        let refused = lab.get(&format!("/v1/history{query}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
    }
}
