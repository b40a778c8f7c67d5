//! A daemon without a kernel: one task that applies changes to a spec, as the real owner task does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::{Extension, Router};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt as _;

use super::super::login::Entrance;
use super::super::usage::Usage;
use super::super::{Api, accept, listen, router};
use super::plans;
use crate::config::{ApiConfig, Config};
use crate::core::change::{Change, Context, SpecLimits};
use crate::core::drained::{Carried, DrainMarks};
use crate::core::health::Health;
use crate::core::observed::Observed;
use crate::core::op::NextHop;
use crate::core::spec::Spec;
use crate::core::whatif::death;
use crate::daemon::{
    self, Applied, ChangeError, DaemonHandle, Event, EventKind, InterfaceStatus, Own, ServerHealth,
    Snapshot,
};
use crate::platform::tables::{Count, Counters, DeviceCount, FlowCensus};

/// 2026-01-31T12:00:00Z.
pub const NOW_MS: u64 = 1_769_860_800_000;

const CONFIG: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/redirector.example.toml"));

/// An answer of the API, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Checks that this is a problem in the form of RFC 9457, and returns it.
    pub fn problem(&self) -> Value {
        let body = self.json();
        let shown = String::from_utf8_lossy(&self.bytes);
        assert_eq!(self.header(header::CONTENT_TYPE), "application/problem+json", "{shown}");
        assert_eq!(body["status"], json!(self.status.as_u16()), "{shown}");
        assert_eq!(body["request_id"], json!(self.header("x-request-id")), "{shown}");
        for member in ["type", "title", "code", "detail"] {
            assert!(
                body[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member}: {shown}"
            );
        }
        body
    }
}

/// The router in front of a daemon without a kernel, begun with the annotated example.
pub struct Lab {
    pub router: Router,
    pub daemon: DaemonHandle,
    pub(in crate::api) usage: Usage,
}

impl Lab {
    pub fn new() -> Self {
        let config = Config::parse(CONFIG).expect("the example is valid");
        let owner = Owner::new(&config);
        let (daemon, requests) = DaemonHandle::new(16);
        tokio::spawn(owner.run(requests));
        Self::before(daemon)
    }

    /// The router in front of this daemon, as behind the socket: nobody is asked who he is.
    pub fn before(daemon: DaemonHandle) -> Self {
        Self::with_series_of(100, daemon)
    }

    /// The same with another bound of what is in the metrics.
    pub fn with_series_of(devices_max: usize, daemon: DaemonHandle) -> Self {
        let api = Api::new(daemon.clone(), devices_max);
        let usage = api.usage.clone();
        let router = router(api).layer(Extension(Entrance::Open));
        Self { router, daemon, usage }
    }

    /// Serves the API on a socket in a new directory, which goes with the value that is returned.
    pub async fn on_socket() -> (tempfile::TempDir, PathBuf) {
        Self::serve(Self::new().router).await
    }

    /// The same of a router that somebody has put more in front of.
    pub async fn serve(router: Router) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("api.sock");
        let config = ApiConfig { unix_socket: Some(path.clone()), ..ApiConfig::default() };
        let listeners = listen::bind(&config).await.expect("the directory is new");
        tokio::spawn(accept::serve(router, listeners, std::future::pending()));
        (directory, path)
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body is in memory").to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, Body::empty())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(request("DELETE", path, Body::empty())).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(request("PUT", path, Body::from(body.to_string()))).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(request("PATCH", path, Body::from(body.to_string()))).await
    }

    /// Everything that is wanted now.
    pub async fn spec(&self) -> Spec {
        Spec::clone(&self.daemon.snapshot().await.expect("the daemon runs").spec)
    }
}

pub fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path);
    builder.header(header::CONTENT_TYPE, "application/json").body(body).expect("a good request")
}

/// What the owner task of the daemon does, less the kernel.
struct Owner {
    spec: Spec,
    limits: SpecLimits,
    events: Vec<Event>,
    plan: plans::Shelf,
    latest: watch::Sender<u64>,
}

impl Owner {
    fn new(config: &Config) -> Self {
        let (limits, observed) = (config.spec_limits(), Observed::default());
        let ctx = Context { now_ms: NOW_MS, limits, observed: &observed };
        let spec = config.seed().spec(&Spec::default(), &ctx).expect("the example is valid");
        Self {
            spec,
            limits,
            events: Vec::new(),
            plan: plans::Shelf::new(),
            latest: watch::Sender::default(),
        }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<daemon::Request>) {
        while let Some(request) = requests.recv().await {
            match request {
                daemon::Request::Change { change, if_match, answer } => {
                    let _ = answer.send(self.change(&change, if_match));
                }
                daemon::Request::Snapshot { answer } => {
                    let _ = answer.send(Arc::new(self.snapshot()));
                }
                daemon::Request::Events { after, limit, answer } => {
                    let events = self.events.iter().filter(|event| event.id > after);
                    let _ = answer.send(events.take(limit).cloned().collect());
                }
                daemon::Request::Plan(request) => self.plan.answer(request, &self.spec),
                daemon::Request::Follow { answer } => {
                    let _ = answer.send(self.latest.subscribe());
                }
                // What only the kernel's tables can answer is asked in vain here.
                daemon::Request::Inspect(daemon::Inspection::Explain { .. }) => {}
                daemon::Request::Inspect(daemon::Inspection::Flows { answer, .. }) => {
                    let _ = answer.send(Ok(Default::default()));
                }
                daemon::Request::Recorder(_) => {}
                daemon::Request::CloseFlow { answer, .. } => {
                    let _ = answer.send(Ok(None));
                }
                daemon::Request::Death { server, answer } => {
                    let observed = Observed::default();
                    let ctx = Context { now_ms: NOW_MS, limits: self.limits, observed: &observed };
                    let _ = answer.send(death(&self.spec, &ctx, &server));
                }
            }
        }
    }

    fn change(&mut self, change: &Change, if_match: Option<u64>) -> Result<Applied, ChangeError> {
        let current = self.spec.generation;
        if if_match.is_some_and(|seen| seen != current) {
            return Err(ChangeError::Stale { current });
        }
        let observed = Observed::default();
        let ctx = Context { now_ms: NOW_MS, limits: self.limits, observed: &observed };
        self.spec = self.spec.apply(change, &ctx).map_err(ChangeError::Refused)?;
        let id = self.events.len() as u64 + 1;
        self.events.push(Event {
            id,
            at_ms: NOW_MS,
            kind: EventKind::Change,
            device: None,
            server: None,
            cause: None,
            text: format!("{change:?}"),
        });
        self.latest.send_replace(id);
        Ok(Applied { generation: self.spec.generation, events: vec![id] })
    }

    fn snapshot(&self) -> Snapshot {
        let servers = &self.spec.servers;
        let health = ServerHealth {
            health: Health::Healthy,
            since_ms: NOW_MS,
            last_error: None,
            probe_ms: Some(0.5),
        };
        let next_hop = NextHop { mac: [2, 0, 0, 0, 0, 7], port: 1 };
        Snapshot {
            health: servers.keys().map(|name| (name.clone(), health.clone())).collect(),
            paths: BTreeMap::new(),
            next_hops: servers.keys().map(|name| (name.clone(), next_hop)).collect(),
            interfaces: vec![interface("clients0", 2), interface("servers0", 3)],
            counters: Arc::new(self.counters()),
            drain_marks: Arc::new(self.drain_marks()),
            census: Arc::new(self.census()),
            started_at_ms: NOW_MS - 5000,
            now_ms: NOW_MS,
            applied_generation: self.spec.generation,
            frozen: None,
            blocked: Vec::new(),
            held_down: ["s3".to_owned()].into(),
            loads: plans::loads(),
            plan: self.plan.figures(),
            spec: Arc::new(self.spec.clone()),
            owed: Vec::new(),
            limits: self.limits,
            own: Own::default(),
        }
    }

    fn counters(&self) -> Counters {
        let count = Count { packets: 10, bytes: 1000 };
        let device =
            DeviceCount { to_server: count, to_client: count, flows_opened: 4, requests: 7 };
        Counters {
            reasons: Vec::new(),
            recorder: Default::default(),
            devices: self.spec.devices.values().map(|known| (known.id, device)).collect(),
            responses: BTreeMap::new(),
            servers: self.spec.servers.values().map(|known| (known.id, count)).collect(),
        }
    }

    /// Whatever drains has done so since nothing had been carried.
    fn drain_marks(&self) -> DrainMarks {
        let mut marks = DrainMarks::default();
        marks.follow(&self.spec, &Carried::default(), NOW_MS - 1000);
        marks
    }

    /// Three flows on every association that is or drains.
    fn census(&self) -> FlowCensus {
        let mut census = FlowCensus { flows_max: 262_144, ..FlowCensus::default() };
        let server_id = |name: &String| self.spec.servers.get(name).map_or(0, |server| server.id);
        for device in self.spec.devices.values() {
            let now = &device.association;
            let drains = now.drains.iter().map(|drain| (drain.epoch, &drain.server));
            for (epoch, server) in drains.chain([(now.epoch, &now.server)]) {
                census.by_epoch.insert((device.id, epoch, server_id(server)), 3);
                census.flows_len += 3;
            }
        }
        census
    }
}

fn interface(name: &str, index: u32) -> InterfaceStatus {
    InterfaceStatus {
        name: name.to_owned(),
        index,
        mac: [2, 0, 0, 0, 0, 1],
        mode: "native".to_owned(),
        link_up: true,
        mtu: 1500,
    }
}
