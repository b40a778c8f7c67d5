//! Wishes, and what is wrong with them: the words that operators, the planner and `apply` share.
//!
//! Not here: what a change does ([`Spec::apply`](super::spec::Spec::apply), in `apply`).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use redirector_common::wire::ORIGINS_PER_DEVICE;

use super::apply::ClientMove;
use super::observed::Observed;
use super::service::FamilySet;
use super::spec::{
    AdminState, Affinity, Cause, Check, CheckPace, FlowPolicy, Forwarding, LoadSources, Name,
    PortRange, Protocol, Tracking,
};

/// One wish, of an operator or of the planner.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there are few at a time, and requests box theirs")]
pub enum Change {
    /// Creates a server or replaces what is known of it; it keeps its id. A new address begins a
    /// new life.
    PutServer {
        /// Its name.
        name: Name,
        /// Address on which it serves its devices.
        address: IpAddr,
        /// What the operator wants of it. None: what he wanted before, active for a new one.
        state: Option<AdminState>,
        /// Where figures about its load come from.
        load: LoadSources,
    },
    /// Removes a server that no device lists and on which no flows drain.
    RemoveServer {
        /// Its name.
        name: Name,
    },
    /// Sets what the operator wants of a server.
    SetServerState {
        /// Its name.
        name: Name,
        /// The new state.
        state: AdminState,
    },
    /// Creates a device or replaces its settings; it keeps its id and, where allowed, its
    /// association.
    PutDevice {
        /// Its name.
        name: Name,
        /// Its settings.
        device: DeviceSpec,
    },
    /// Removes a device; its open flows are reset.
    RemoveDevice {
        /// Its name.
        name: Name,
    },
    /// Removes devices, then puts others, all or none: what each of them alone would do.
    PatchDevices {
        /// The names of those that go.
        remove: Vec<Name>,
        /// Name -> settings.
        put: BTreeMap<Name, DeviceSpec>,
    },
    /// Changes the servers of devices, all or none.
    Associate {
        /// What goes where.
        moves: Vec<Move>,
        /// Why.
        cause: Cause,
    },
    /// Lets the new flows of one client of a device go to another server.
    MoveClient(ClientMove),
    /// What was wished for these clients is over: device name and address of each.
    ForgetClients {
        /// Whose.
        clients: Vec<(Name, IpAddr)>,
    },
    /// Planner: the present life of these servers is over, its flows are never resumed.
    EndLives {
        /// Their names.
        servers: Vec<Name>,
    },
    /// Planner: these servers answer again and begin a new life.
    BeginLives {
        /// Their names.
        servers: Vec<Name>,
    },
    /// Planner: these servers have filled.
    EndFillings {
        /// Their names.
        servers: Vec<Name>,
    },
    /// Planner: the oldest drains of these devices are over; how many of each.
    EndDrains {
        /// Device name -> number of drains to end, oldest first.
        drains: BTreeMap<Name, usize>,
    },
    /// Planner: the servers that take over by themselves.
    SetBackups {
        /// Device name -> backup.
        backups: BTreeMap<Name, Option<Name>>,
    },
}

/// The settings of a device, as a client of the API or the configuration gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Service address.
    pub address: IpAddr,
    /// First or only service port; 0 for protocol any.
    pub port: u16,
    /// Further service ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRange>,
    /// Protocol.
    pub protocol: Protocol,
    /// What `port` is at the servers; `ports` keep that distance.
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
    /// Idle time of TCP flows, in ms. None: as `[flows]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_idle_timeout_ms: Option<u64>,
    /// Idle time of other flows, in ms. None: as `[flows]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_idle_timeout_ms: Option<u64>,
    /// Servers that can reach the device, in order of preference.
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
    /// What happens to open flows when the server is dead. None and reset are the same, and all
    /// that can be wished; so a [`Device`](super::spec::Device) does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<FlowPolicy>,
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
    /// Through which server the device is to be reached. None: the present one where it stays
    /// allowed, otherwise the first of `servers` that is fit.
    pub server: Option<Name>,
}

/// One device's change of server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The device.
    pub device: Name,
    /// Its new server.
    pub server: Name,
    /// What happens to its open flows; None: the device's own policy for the cause.
    pub policy: Option<FlowPolicy>,
}

/// What a change is judged against besides the spec.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Now, in ms since the Unix epoch.
    pub now_ms: u64,
    /// How much fits into the tables.
    pub limits: SpecLimits,
    /// What is known of the servers. [`Observed::default`] where nothing is.
    pub observed: &'a Observed,
}

/// Entries for service addresses of a device, on average, for which the tables have room.
pub const SERVICES_PER_DEVICE: u32 = 4;

/// What the configuration fixes for all changes: how many servers and devices there may be, which
/// addresses of our own there are to send from, and how long servers fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecLimits {
    /// Devices at most; their ids are 0 to `devices_max` - 1.
    pub devices_max: u32,
    /// Servers at most, themselves at most 4095; their ids are 1 to `servers_max`.
    pub servers_max: u16,
    /// Families of the local addresses, from which full NAT sends.
    pub locals: FamilySet,
    /// Families of the addresses from which tunnels send.
    pub tunnel_sources: FamilySet,
    /// How long a server that begins a life takes load gradually, in ms; 0 for not at all.
    pub fill_ms: u64,
}

impl SpecLimits {
    /// Entries for service addresses at most.
    #[must_use]
    pub fn services_max(&self) -> usize {
        let devices_max = usize::try_from(self.devices_max).unwrap_or(usize::MAX);
        devices_max.saturating_mul(SERVICES_PER_DEVICE as usize)
    }

    /// Ways back (server's port and device together) at most.
    #[must_use]
    pub fn returns_max(&self) -> usize {
        let devices_max = usize::try_from(self.devices_max).unwrap_or(usize::MAX);
        devices_max.saturating_mul(ORIGINS_PER_DEVICE as usize)
    }
}

/// What kind of problem it is, for the API's status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The value itself makes no sense (400).
    Malformed,
    /// The thing that the change is about does not exist (404).
    NotFound,
    /// It collides with something that exists (409).
    Conflict,
    /// Well-formed, but it cannot be done (422).
    Refused,
}

/// One thing that is wrong with a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// Stable name, for programs: `unknown_server`.
    pub code: &'static str,
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// Where: the path of the field within the change, `servers[1]`.
    pub field: String,
    /// What is wrong and what to do, for people.
    pub detail: String,
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.detail)
    }
}

/// A refused change: everything that is wrong with it. The spec stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SpecError {
    /// At least one.
    pub problems: Vec<SpecProblem>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutServer { name, address, state: Some(state), .. } => {
                write!(f, "put server {name} at {address}, {}", state.name())
            }
            Self::PutServer { name, address, state: None, .. } => {
                write!(f, "put server {name} at {address}")
            }
            Self::RemoveServer { name } => write!(f, "remove server {name}"),
            Self::SetServerState { name, state } => write!(f, "server {name}: {}", state.name()),
            Self::PutDevice { name, device } => {
                write!(f, "put device {name} at {}", device.service())
            }
            Self::RemoveDevice { name } => write!(f, "remove device {name}"),
            Self::PatchDevices { remove, put } => {
                let part = |what: &str, len: usize, ends: Option<(&Name, &Name)>| {
                    let (first, last) = ends?;
                    Some(match len {
                        1 => format!("{what} device {first}"),
                        _ => format!("{what} {len} devices, {first} to {last}"),
                    })
                };
                let parts = [
                    part("remove", remove.len(), remove.first().zip(remove.last())),
                    part("put", put.len(), put.keys().next().zip(put.keys().next_back())),
                ];
                f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
            }
            Self::Associate { moves, cause } => {
                let parts: Vec<_> =
                    moves.iter().map(|m| format!("{} -> {}", m.device, m.server)).collect();
                write!(f, "move ({}) {}", cause.name(), parts.join(", "))
            }
            Self::MoveClient(ClientMove { device, client, server }) => {
                write!(f, "move client {client} of device {device} to {server}")
            }
            Self::ForgetClients { clients } => {
                let part = |(device, client): &(Name, IpAddr)| format!("{client} of {device}");
                write!(f, "forget {}", clients.iter().map(part).collect::<Vec<_>>().join(", "))
            }
            Self::EndLives { servers } => write!(f, "end lives {}", servers.join(", ")),
            Self::BeginLives { servers } => write!(f, "begin lives {}", servers.join(", ")),
            Self::EndFillings { servers } => write!(f, "end fillings {}", servers.join(", ")),
            Self::EndDrains { drains } => {
                let parts: Vec<_> = drains.iter().map(|(d, len)| format!("{d} {len}")).collect();
                write!(f, "end drains {}", parts.join(", "))
            }
            Self::SetBackups { backups } => {
                let part = |(device, backup): (&Name, &Option<Name>)| {
                    format!("{device} {}", backup.as_deref().unwrap_or("none"))
                };
                write!(f, "backups {}", backups.iter().map(part).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
