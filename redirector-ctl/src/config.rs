//! The configuration file: what it says, as plain values, and every mistake in it at once.
//!
//! [`Config::parse`] reads the whole text and reports all mistakes together, each with its line,
//! its field, what is wrong and what to do. A `Config` that exists is therefore a valid one, as far
//! as the file alone can tell; whether an interface exists is known only when the daemon attaches
//! to it. What may be said of servers and devices is decided by `core`, so that the file and the
//! API answer with the same words.

mod api;
mod check;
mod device;
mod log;
mod own;
mod planning;
mod probing;
mod problem;
mod reader;
mod recorder;
mod sections;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::core::change::SpecLimits;
use crate::core::observed::Doubt;
use crate::core::seed::{Seed, SeedDevice, SeedServer};
use crate::core::service::FamilySet;
use crate::core::spec::FlowPolicy;

pub use api::{ApiConfig, TlsConfig};
pub use log::{LogConfig, LogFormat};
pub use own::{LocalConfig, TunnelConfig, Vlan};
pub use planning::{LoadConfig, PlanConfig, PlanMode};
use problem::Report;
pub use problem::{ConfigError, ConfigProblem};
pub use recorder::RecorderConfig;

/// How long open flows stay after a move, where nothing else is said: one hour, in ms.
pub const DEADLINE_MS: u64 = 3_600_000;

/// What happens to open flows on a planned move, where nothing else is said.
pub const DEFAULT_POLICY: FlowPolicy = FlowPolicy::Drain { deadline_ms: DEADLINE_MS };

/// Longest time that open flows may stay after a move before they are reset: 30 days, in ms.
pub const DEADLINE_MAX_MS: u64 = 30 * 24 * 3_600_000;

/// A whole configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[redirector]`: where the daemon keeps its things.
    pub redirector: RedirectorConfig,
    /// `[api]`: where the REST API listens.
    pub api: ApiConfig,
    /// `[log]`: how the log is written.
    pub log: LogConfig,
    /// `[limits]`: sizes of the kernel's tables.
    pub limits: LimitsConfig,
    /// `[health]`: how servers are probed.
    pub health: HealthConfig,
    /// `[flows]`: how long idle flows are kept.
    pub flows: FlowsConfig,
    /// `[load]`: how servers are asked for figures about their load.
    pub load: LoadConfig,
    /// `[plan]`: when devices are moved for load.
    pub plan: PlanConfig,
    /// `[recorder]`: what the flight recorder keeps.
    pub recorder: RecorderConfig,
    /// `[local]`: what full NAT sends from.
    pub local: LocalConfig,
    /// `[tunnel]`: what tunnels send from.
    pub tunnel: TunnelConfig,
    /// `[[interface]]`: where the program is attached. Never empty.
    pub interfaces: Vec<InterfaceConfig>,
    /// `[[server]]`: the servers to begin with.
    pub servers: Vec<SeedServer>,
    /// `[[device]]`: the devices to begin with.
    pub devices: Vec<SeedDevice>,
}

/// `[redirector]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectorConfig {
    /// Directory of the state file; absolute.
    pub state_dir: PathBuf,
    /// Directory under a bpffs where links and maps are pinned; absolute.
    pub bpffs_dir: PathBuf,
    /// How often counters are read from the kernel, in ms.
    pub stats_interval_ms: u64,
}

/// `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Most devices.
    pub devices_max: u32,
    /// Most servers; at most 4095.
    pub servers_max: u16,
    /// Most proven flows.
    pub flows_max: u32,
    /// Most flows not yet proven.
    pub candidates_max: u32,
    /// Most clients of devices with affinity `client` that are remembered at a time.
    pub clients_max: u32,
    /// Most fragmented packets whose later fragments are followed at a time.
    pub fragments_max: u32,
    /// Paths that each CPU remembers in front of the flow table; a power of two.
    pub paths_max: u32,
    /// Entries that each CPU makes for new flows, a second; 0 for no limit.
    pub new_flows_per_second_max: u32,
    /// Packets that each CPU answers itself (RST, ICMP), a second; 0 for no limit.
    pub answers_per_second_max: u32,
}

/// `[health]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthConfig {
    /// Time between two probes of one server, in ms.
    pub interval_ms: u64,
    /// Time after which an unanswered probe has failed, in ms; at most `interval_ms`.
    pub timeout_ms: u64,
    /// Good probes in a row that make a dead server healthy.
    pub rise: u32,
    /// Failed probes in a row that make a healthy server dead.
    pub fall: u32,
    /// How much an interval may be longer or shorter by chance, in percent; at most 50.
    pub jitter_pct: u8,
    /// How often the packets' evidence is read, in ms; 0 for never.
    pub evidence_interval_ms: u64,
    /// How long a server that is asked may say nothing before it is suspected, in ms.
    pub silence_ms: u64,
    /// How long a suspect may take to accept one of several connections, in ms, unless it usually
    /// takes longer.
    pub confirm_timeout_ms: u64,
    /// Checks in a row that must find nobody there to confirm a suspicion.
    pub confirm_fall: u32,
    /// Largest share of the servers that may fall silent together and be believed dead, in percent.
    pub silent_share_max_pct: u8,
    /// How long more than that must have been silent to be believed dead after all, in ms.
    pub mass_hold_ms: u64,
    /// Other servers that must be well for a device, for one that refuses it to be believed dead.
    pub healthy_min: usize,
    /// How long a server stays out after its first death, in ms; doubles with each further one.
    pub hold_down_ms: u64,
    /// How long a server stays out at most, in ms.
    pub hold_down_max_ms: u64,
    /// A server that has lived for so long, in ms, has not died before.
    pub hold_down_forget_ms: u64,
}

impl HealthConfig {
    /// When silence of many servers is doubted.
    #[must_use]
    pub fn doubt(&self) -> Doubt {
        let Self { silent_share_max_pct, mass_hold_ms, healthy_min, .. } = *self;
        Doubt { silent_share_max_pct, mass_hold_ms, healthy_min }
    }
}

/// `[flows]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowsConfig {
    /// Idle time after which an open TCP flow is forgotten, in ms.
    pub tcp_idle_timeout_ms: u64,
    /// Idle time after which a UDP flow is forgotten, in ms.
    pub udp_idle_timeout_ms: u64,
    /// Idle time after which a closed TCP flow is forgotten, in ms.
    pub closing_timeout_ms: u64,
    /// Time between two passes over the flow table, in ms.
    pub sweep_interval_ms: u64,
}

/// `[[interface]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// Name of the interface.
    pub name: String,
    /// How the program is attached.
    pub mode: XdpMode,
    /// Whether the daemon adds each service address as a /32 to this interface, so that the
    /// gateway's kernel answers ARP for it.
    pub announce: bool,
    /// Tags of the frames on it that are for us, where the kernel has no interface for them.
    pub vlan: Option<Vlan>,
}

/// How an XDP program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver. Refused at attach where the driver cannot.
    #[default]
    Native,
    /// In the kernel's stack: slow, for drivers without XDP; only when asked for.
    Generic,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or has mistakes: all of them, in the order of their lines.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|problems| ConfigError::Invalid { path: path.to_owned(), problems })
    }

    /// Checks the text of a configuration file.
    ///
    /// # Errors
    /// All mistakes, in the order of their lines. Never empty.
    pub fn parse(text: &str) -> Result<Self, Vec<ConfigProblem>> {
        let mut report = Report::new(text);
        let config = sections::read(text, &mut report);
        check::check(&config, &mut report);
        let problems = report.into_problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
    /// The servers and devices to begin with.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed { servers: self.servers.clone(), devices: self.devices.clone() }
    }

    /// How many servers and devices there may be, and what there is to send from.
    #[must_use]
    pub fn spec_limits(&self) -> SpecLimits {
        SpecLimits {
            devices_max: self.limits.devices_max,
            servers_max: self.limits.servers_max,
            locals: FamilySet::of(self.local.addresses.iter().copied()),
            tunnel_sources: self.tunnel.families(),
            fill_ms: self.plan.fill_ms,
        }
    }
}
