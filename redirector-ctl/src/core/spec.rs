//! Intent: what the operator wants, as values. Pure data; no clock, no I/O.
//!
//! A [`Spec`] is only ever replaced by [`Spec::apply`], which checks everything and may refuse, so
//! a spec that exists is a valid one. It is what the state file holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use super::check::{Check, CheckPace};
pub use super::filling::{Filling, Standing};
pub use super::load::source::{LoadSources, MetricsUrl};
use super::pieces::Pieces;
pub use super::ports::PortRange;
pub use super::service::{Affinity, Forwarding, Protocol, Tracking};
use super::shared::Shared;

/// Name of a server or device: 1 to 63 of `a-z 0-9 - . _`, beginning with a letter or digit.
pub type Name = String;

/// Devices by name. There may be very many.
pub type Devices = Shared<Pieces<Name, Device>>;

/// Everything the operator wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Version of the desired state: grows by one with every accepted change.
    pub generation: u64,
    /// Servers by name.
    pub servers: BTreeMap<Name, Server>,
    /// Devices by name.
    pub devices: Devices,
    /// Device -> its clients that were moved by themselves, for as long as that holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<Name, BTreeMap<IpAddr, HeldClient>>,
    /// Counters that outlive the servers and devices that held an id, so that a flow of an earlier
    /// holder is never taken for one of the present holder.
    #[serde(default)]
    pub slots: Slots,
}

impl Spec {
    /// Where the servers are.
    #[must_use]
    pub fn server_addresses(&self) -> BTreeSet<IpAddr> {
        self.servers.values().map(|server| server.address).collect()
    }
}

/// Last incarnation and epoch given out per id, kept after the holder is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Server id -> last incarnation.
    pub incarnations: BTreeMap<u16, u32>,
    /// Device id -> last epoch (16 bits, wraps).
    pub epochs: Shared<BTreeMap<u32, u16>>,
}

/// A client of a device that was moved by itself. It holds in one epoch of the device and one life
/// of the server, as the packet path's entry does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldClient {
    /// The server that gets its new flows.
    pub server: Name,
    /// The device's epoch when it was moved.
    pub epoch: u16,
    /// The server's life then.
    pub incarnation: u32,
    /// When it was moved: ms since the Unix epoch.
    pub moved_at_ms: u64,
}

/// A head through which devices can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Index of the server's line in the server table: 1 to 4095 (0 means none).
    pub id: u16,
    /// Address on which the server serves its devices.
    pub address: IpAddr,
    /// What the operator wants of it.
    pub state: AdminState,
    /// Counts the lives of this server: grows each time it returns from death, so that a returning
    /// server gets nothing of its earlier life (G10).
    pub incarnation: u32,
    /// The life that `incarnation` counts is over: the server was found dead and has not come back.
    /// Kept here so that a daemon that starts anew does not take a dead server for a living one.
    #[serde(default)]
    pub life_over: bool,
    /// While it takes load gradually, from the beginning of its life on. Kept here so that a daemon
    /// that starts anew goes on with it, and with nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filling: Option<Filling>,
    /// Where figures about its load come from.
    #[serde(default)]
    pub load: LoadSources,
}

impl Server {
    /// Whether it serves nothing: the packet path refuses its flows and sends new ones elsewhere.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.life_over || self.state.is_out()
    }

    /// Its present life is over, and what it was filled to with it.
    pub fn end_life(&mut self) {
        (self.life_over, self.filling) = (true, None);
    }
}

/// Administrative state: what the operator wants of a server. Health is a separate, measured fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// Takes devices.
    #[default]
    Active,
    /// Keeps its open flows, gets no new devices; its devices are moved away (cause planned).
    Draining,
    /// Serves nothing: its devices are moved away and its open flows are reset.
    Inactive,
    /// Declared dead, by an operator or by whoever has fenced it: as if its checks had found it
    /// dead, whatever they say. It stays so until it is made active.
    Failed,
}

impl AdminState {
    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
        }
    }

    /// Whether a server in this state serves nothing.
    #[must_use]
    pub fn is_out(self) -> bool {
        matches!(self, Self::Inactive | Self::Failed)
    }
}

/// A network-attached storage resource with a stable service address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Index of the device in the association table: 0 to `devices_max` - 1.
    pub id: u32,
    /// Address at which clients reach the device.
    pub address: IpAddr,
    /// Port at which clients reach the device; 0 for protocol any.
    pub port: u16,
    /// Further ports at which clients reach the device: ranges in order, none of which overlap or
    /// touch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRange>,
    /// Protocol of the service address.
    pub protocol: Protocol,
    /// Port at which every allowed server serves what clients reach at `port`; `ports` keep the
    /// same distance. Where the servers' packets come back this way, their address and these ports
    /// name this device alone, so that the way back needs no entry of its own.
    pub server_port: u16,
    /// How a client's packet gets to its server.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// Whether the packet path keeps an entry for each open flow.
    #[serde(default)]
    pub tracking: Tracking,
    /// What is kept together on one server.
    #[serde(default)]
    pub affinity: Affinity,
    /// Largest segment that SYNs may ask for, in bytes. None: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mss_max: Option<u16>,
    /// Idle time after which an open TCP flow is forgotten, in ms. None: as `[flows]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_idle_timeout_ms: Option<u64>,
    /// Idle time after which a flow that is not TCP is forgotten, in ms. None: as `[flows]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_idle_timeout_ms: Option<u64>,
    /// Servers that can reach the device, in order of preference. Never empty.
    pub servers: Vec<Name>,
    /// Whether load never moves it.
    #[serde(default)]
    pub pinned: bool,
    /// Devices with the same word here are kept on different servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_apart: Option<Name>,
    /// What happens to open flows on a planned move.
    pub on_planned: FlowPolicy,
    /// What happens to open flows when the device leaves a server that has too much load. None:
    /// what [`FlowPolicy::under_load`] makes of `on_planned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_overload: Option<FlowPolicy>,
    /// How long its preferred server, the first of `servers`, must be healthy again until a device
    /// that failed over goes back to it, in ms. None: never by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_back_after_ms: Option<u64>,
    /// How a server is asked whether it serves the device.
    #[serde(default)]
    pub check: Check,
    /// How often, and how many answers decide.
    #[serde(default)]
    pub check_pace: CheckPace,
    /// Through which server the device is reached.
    pub association: Association,
}

/// What happens to open flows when an association changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum FlowPolicy {
    /// Open flows stay on their server as long as they like.
    Keep,
    /// Open flows stay until the deadline, in ms after the change; what is open then is reset.
    Drain {
        /// Time from the change to the reset of what is still open, in ms.
        deadline_ms: u64,
    },
    /// Open flows are reset with their next packet.
    Reset,
}

/// Flows that stay on a server that has too much load keep it loaded: unless somebody says
/// otherwise, they have so long to end, in ms.
pub const OVERLOAD_DRAIN_MS: u64 = 60_000;

impl FlowPolicy {
    /// What this policy of planned moves becomes when the reason is load and nobody says otherwise:
    /// the same, but no drain lasts longer than [`OVERLOAD_DRAIN_MS`].
    #[must_use]
    pub fn under_load(self) -> Self {
        match self {
            Self::Keep | Self::Reset => self,
            Self::Drain { deadline_ms } => {
                Self::Drain { deadline_ms: deadline_ms.min(OVERLOAD_DRAIN_MS) }
            }
        }
    }
}

/// Why an association changes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// An operator asked for it.
    Planned,
    /// The server had more load than it can carry.
    Overload,
    /// The server is dead.
    Failure,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 3] = [Self::Planned, Self::Overload, Self::Failure];

    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Overload => "overload",
            Self::Failure => "failure",
        }
    }
}

/// The table's entry: device -> server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// Server that gets new flows.
    pub server: Name,
    /// Server that takes over by itself, in the packet path, if `server` dies. None with one
    /// server.
    pub backup: Option<Name>,
    /// Version of this association, kept in every flow: grows by one with each change of `server`,
    /// unless the server that is left serves nothing, which ends its flows without that.
    pub epoch: u16,
    /// Earlier associations whose flows may still be open, oldest first; at most 255.
    pub drains: Vec<Drain>,
    /// Why the association last changed.
    pub cause: Cause,
    /// When it last changed: ms since the Unix epoch.
    pub changed_at_ms: u64,
}

/// An earlier association whose open flows are still allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Server the flows are on.
    pub server: Name,
    /// Epoch the flows carry.
    pub epoch: u16,
    /// When they are reset: ms since the Unix epoch; None for `keep`.
    pub deadline_at_ms: Option<u64>,
    /// The server failed for this device: its flows are to be reset, and stay open only because
    /// older epochs are.
    #[serde(default)]
    pub failed: bool,
}
