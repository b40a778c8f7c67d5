//! A new device on the command line, and what happens to open flows.

use clap::{Args as ClapArgs, ValueEnum};

use super::args::name;
use super::check_args::CheckArgs;
use super::service_args::ServiceArgs;
use crate::api::clients::OpenFlows;
use crate::api::wire::{Policy, PolicyBody, PolicyKind};

/// A new device.
#[derive(Debug, ClapArgs)]
pub struct AddDevice {
    /// Its name
    #[arg(value_parser = name)]
    pub name: String,
    /// Where clients reach it and how their packets get to its servers
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Servers that can reach it, best first, separated by commas
    #[arg(long, value_delimiter = ',', required = true, value_name = "SERVER,...")]
    pub servers: Vec<String>,
    /// Through which of them at first
    #[arg(long)]
    pub server: Option<String>,
    /// Load never moves it
    #[arg(long)]
    pub pinned: bool,
    /// A word: devices with the same one are kept on different servers by plans for load
    #[arg(long, value_name = "WORD")]
    pub keep_apart: Option<String>,
    /// How its servers are asked
    #[command(flatten)]
    pub check: CheckArgs,
    /// What happens to its open flows when it is moved
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// What happens to its open flows when load moves it
    #[command(flatten)]
    pub on_overload: OverloadArgs,
    /// After a failover, go back to the first of its servers when that has been healthy for so
    /// long, in ms. Left out: never
    #[arg(long, value_name = "N")]
    pub fail_back_after_ms: Option<u64>,
}

/// What happens to open flows.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct PolicyArgs {
    /// What happens to open flows. Left out: what the device has; a new one drains for an hour
    #[arg(long, value_enum)]
    policy: Option<PolicyArg>,
    /// How long open flows may stay, in ms; means --policy drain
    #[arg(long, value_name = "N")]
    deadline_ms: Option<u64>,
}

/// The words of the command line for the open flows of a client that is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OpenFlowsArg {
    /// They stay where they are
    Keep,
    /// They are reset, so that the client connects again
    Reset,
}

impl From<OpenFlowsArg> for OpenFlows {
    fn from(flows: OpenFlowsArg) -> Self {
        match flows {
            OpenFlowsArg::Keep => Self::Keep,
            OpenFlowsArg::Reset => Self::Reset,
        }
    }
}

/// What happens to open flows when load moves a device.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct OverloadArgs {
    /// What happens to open flows when load moves it. Left out: as with any move
    #[arg(long, value_enum, value_name = "POLICY")]
    on_overload: Option<PolicyArg>,
    /// How long they may stay then, in ms; means --on-overload drain
    #[arg(long, value_name = "N")]
    on_overload_deadline_ms: Option<u64>,
}

impl OverloadArgs {
    /// The policy for the API; None where that of any move is meant.
    ///
    /// # Errors
    /// What does not fit together, in words.
    pub fn policy(self) -> Result<Option<Policy>, String> {
        let (policy, deadline_ms) = (self.on_overload, self.on_overload_deadline_ms);
        PolicyArgs { policy, deadline_ms }.policy()
    }
}

impl PolicyArgs {
    /// The policy for the API; None where the device's own is meant.
    ///
    /// # Errors
    /// What does not fit together, in words.
    pub fn policy(self) -> Result<Option<Policy>, String> {
        let kind = match (self.policy, self.deadline_ms) {
            (None, None) => return Ok(None),
            (Some(PolicyArg::Keep), _) => PolicyKind::Keep,
            (Some(PolicyArg::Reset), _) => PolicyKind::Reset,
            (Some(PolicyArg::Drain) | None, _) => PolicyKind::Drain,
        };
        Policy::try_from(PolicyBody { kind, deadline_ms: self.deadline_ms }).map(Some)
    }
}

/// The words of the command line for a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PolicyArg {
    /// They stay as long as they like
    Keep,
    /// They stay until a deadline
    Drain,
    /// They are reset with their next packet
    Reset,
}
