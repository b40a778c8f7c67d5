//! `/v1/status`: the daemon and the packet path as a whole.

use std::time::Duration;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::{Params, within};
use super::limits::{WAIT_DEFAULT_MS, WAIT_LOOK_MAX, WAIT_LOOK_MIN, WAIT_MAX_MS};
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::reply::Reply;
use super::wire::{self, Usage};
use crate::daemon::{InterfaceStatus, Snapshot};

/// The daemon and the packet path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Generation of the desired state.
    pub generation: u64,
    /// Generation that the kernel's tables hold; smaller than `generation` only for moments.
    pub applied_generation: u64,
    /// When the daemon started; RFC 3339. The packet path may have been at work for longer.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// How long ago that was, in ms.
    pub uptime_ms: u64,
    /// Why the daemon holds its decisions back; null in the normal case.
    pub frozen: Option<String>,
    /// What should be changed but cannot; empty in the normal case.
    pub blocked: Vec<Blocked>,
    /// Where the program is attached.
    pub interfaces: Vec<Interface>,
    /// Servers.
    pub servers_len: usize,
    /// Devices.
    pub devices_len: usize,
    /// The table of proven flows.
    pub flows: Usage,
    /// The table of flows not yet proven.
    pub candidates: Usage,
    /// What became of every packet seen; each is counted under one reason.
    pub reasons: Vec<ReasonCount>,
}

/// Something that should be changed but cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Blocked {
    /// What stays as it is.
    pub what: String,
    /// What stands in the way.
    pub by: String,
}

/// An interface on which the program is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index in the kernel.
    pub index: u32,
    /// Its Ethernet address.
    #[schema(example = "02:00:00:00:00:01")]
    pub mac: String,
    /// The mode in force, as the kernel says: `native` or `generic`; `none` or `other` when
    /// somebody else has changed what is attached.
    pub mode: String,
    /// Whether it has a carrier.
    pub link_up: bool,
    /// Its MTU, in bytes.
    pub mtu: u32,
}

/// Packets that had one verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasonCount {
    /// Stable name of the reason.
    pub name: String,
    /// What it means.
    pub help: String,
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// Answer only when the kernel's tables hold this generation or a later one.
    wait_generation: Option<u64>,
    /// At most so long, in ms, 1 to 15000; 10000 when left out. Then the answer is what holds.
    #[param(minimum = 1, maximum = 15_000)]
    wait_ms: Option<u64>,
}

/// Shows the daemon and the packet path, at once or when they hold a generation.
#[utoipa::path(get, path = "/v1/status", tag = "status", params(StatusQuery),
    responses((status = 200, body = Status), ReadProblems))]
pub(super) async fn get_status(
    State(api): State<Api>,
    Params(query): Params<StatusQuery>,
) -> Result<Reply<Status>, Problem> {
    let wait_ms = within("wait_ms", query.wait_ms, (WAIT_DEFAULT_MS, WAIT_MAX_MS))?;
    let shown = |of: &Snapshot| Reply::ok(of.spec.generation, Status::of(of));
    let Some(wanted) = query.wait_generation else {
        return Ok(shown(&*api.daemon.snapshot().await?));
    };
    let ends_at = Instant::now() + Duration::from_millis(wait_ms);
    let mut latest = api.daemon.follow().await?;
    loop {
        let snapshot = api.daemon.snapshot().await?;
        if snapshot.applied_generation >= wanted || Instant::now() >= ends_at {
            return Ok(shown(&snapshot));
        }
        // Each look is a turn of the daemon's loop, so many who wait look only when something has
        // happened, and now and then for what makes no event.
        let again_at = ends_at.min(Instant::now() + WAIT_LOOK_MAX);
        tokio::time::sleep(WAIT_LOOK_MIN).await;
        let _ = timeout_at(again_at, latest.changed()).await;
    }
}

impl Status {
    fn of(snapshot: &Snapshot) -> Self {
        let reasons = snapshot.counters.reasons.iter().map(|(reason, count)| ReasonCount {
            name: reason.name().to_owned(),
            help: reason.help().to_owned(),
            packets: count.packets,
            bytes: count.bytes,
        });
        let census = &snapshot.census;
        let blocked = snapshot
            .blocked
            .iter()
            .map(|blocked| Blocked { what: blocked.what.clone(), by: blocked.by.clone() });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: snapshot.spec.generation,
            applied_generation: snapshot.applied_generation,
            started_at: wire::time(snapshot.started_at_ms),
            uptime_ms: snapshot.now_ms.saturating_sub(snapshot.started_at_ms),
            frozen: snapshot.frozen.clone(),
            blocked: blocked.collect(),
            interfaces: snapshot.interfaces.iter().map(Interface::of).collect(),
            servers_len: snapshot.spec.servers.len(),
            devices_len: snapshot.spec.devices.len(),
            flows: Usage { used: census.flows_len, max: census.flows_max },
            candidates: Usage { used: census.candidates_len, max: census.candidates_max },
            reasons: reasons.collect(),
        }
    }
}

impl Interface {
    fn of(status: &InterfaceStatus) -> Self {
        Self {
            name: status.name.clone(),
            index: status.index,
            mac: wire::mac(status.mac),
            mode: status.mode.clone(),
            link_up: status.link_up,
            mtu: status.mtu,
        }
    }
}
