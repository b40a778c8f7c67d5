//! What the daemon shows of itself: the read model of the API. Plain values, taken at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Own;
use super::load::LoadView;
use super::planned::PlanFigures;
use crate::core::change::SpecLimits;
use crate::core::drained::DrainMarks;
use crate::core::health::Health;
use crate::core::op::NextHop;
use crate::core::plan::Blocked;
use crate::core::spec::{Cause, Name, Spec};
use crate::platform::tables::{Counters, FlowCensus};

/// Everything there is to show, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The intent in force.
    pub spec: Arc<Spec>,
    /// Health of each server.
    pub health: BTreeMap<Name, ServerHealth>,
    /// Server -> health of its paths.
    pub paths: BTreeMap<Name, PathsSeen>,
    /// Server -> way to it; absent while the neighbour is unresolved.
    pub next_hops: BTreeMap<Name, NextHop>,
    /// The configured interfaces, in the order of the configuration ([`NextHop::port`] is an index
    /// of it).
    pub interfaces: Vec<InterfaceStatus>,
    /// The program's counters.
    pub counters: Arc<Counters>,
    /// What had been carried when drains began.
    pub drain_marks: Arc<DrainMarks>,
    /// The flows at the last sweep.
    pub census: Arc<FlowCensus>,
    /// When the daemon started: ms since the Unix epoch.
    pub started_at_ms: u64,
    /// Now: ms since the Unix epoch.
    pub now_ms: u64,
    /// Generation that the kernel's tables hold.
    pub applied_generation: u64,
    /// Why the daemon holds its decisions back; None in the normal case.
    pub frozen: Option<String>,
    /// What should be changed but cannot, and what stands in the way.
    pub blocked: Vec<Blocked>,
    /// Servers that died and may not begin a new life yet.
    pub held_down: BTreeSet<Name>,
    /// Loads of servers and devices.
    pub loads: LoadView,
    /// The plan for load, in figures.
    pub plan: PlanFigures,
    /// What could not be written to disk or tables and is tried again; empty in the normal case.
    pub owed: Vec<String>,
    /// How much fits into the tables.
    pub limits: SpecLimits,
    /// What the daemon counts of itself.
    pub own: Own,
}

/// The health of a server for each of its devices: its process for one device can die alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathsSeen {
    /// How many there are of each health.
    pub lens: BTreeMap<Health, usize>,
    /// Device -> health of the path, of those that are not healthy.
    pub troubled: BTreeMap<Name, Health>,
}

impl PathsSeen {
    /// Health of the path to a device.
    #[must_use]
    pub fn of(&self, device: &str) -> Health {
        self.troubled.get(device).copied().unwrap_or(Health::Healthy)
    }
}

/// What is known of a server's health.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerHealth {
    /// Its health.
    pub health: Health,
    /// Since when: ms since the Unix epoch.
    pub since_ms: u64,
    /// What the last failed check met with; None when the last checks were all answered.
    pub last_error: Option<String>,
    /// How long the last answered check took, in ms.
    pub probe_ms: Option<f64>,
}

/// An interface on which the program is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its index in the kernel.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// The mode in force: `native` or `generic`; `none` when the program has been taken away.
    pub mode: String,
    /// Whether it has a carrier.
    pub link_up: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Grows by one with each event; starts at 1 with the daemon.
    pub id: u64,
    /// When: ms since the Unix epoch.
    pub at_ms: u64,
    /// What.
    pub kind: EventKind,
    /// The device that it is about.
    pub device: Option<Name>,
    /// The server that it is about.
    pub server: Option<Name>,
    /// Why.
    pub cause: Option<Cause>,
    /// The whole of it in one sentence.
    pub text: String,
}

/// What an event tells of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The daemon started.
    Started,
    /// The spec changed.
    Change,
    /// A device moved to another server, planned.
    Move,
    /// A device moved because its server is dead for it.
    Failover,
    /// The flows of an earlier association ended or were ended.
    DrainEnded,
    /// A server, or a server for one device, failed its last check.
    ServerSuspect,
    /// A server, or a server for one device, is dead.
    ServerDead,
    /// A server, or a server for one device, is healthy.
    ServerHealthy,
    /// A server takes load gradually from now on, or has filled.
    ServerFilling,
    /// The daemon holds its decisions back, or no longer does.
    Frozen,
    /// The way to a server changed.
    Neighbour,
    /// An interface changed.
    Link,
    /// Figures about a server's load are missing, or come again.
    Load,
    /// Moves for load are recommended.
    Plan,
    /// Something that should not be failed; the text says what to do.
    Error,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::Started,
        Self::Change,
        Self::Move,
        Self::Failover,
        Self::DrainEnded,
        Self::ServerSuspect,
        Self::ServerDead,
        Self::ServerHealthy,
        Self::ServerFilling,
        Self::Frozen,
        Self::Neighbour,
        Self::Link,
        Self::Load,
        Self::Plan,
        Self::Error,
    ];

    /// The word for it, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Change => "change",
            Self::Move => "move",
            Self::Failover => "failover",
            Self::DrainEnded => "drain_ended",
            Self::ServerSuspect => "server_suspect",
            Self::ServerDead => "server_dead",
            Self::ServerHealthy => "server_healthy",
            Self::ServerFilling => "server_filling",
            Self::Frozen => "frozen",
            Self::Neighbour => "neighbour",
            Self::Link => "link",
            Self::Load => "load",
            Self::Plan => "plan",
            Self::Error => "error",
        }
    }
}
