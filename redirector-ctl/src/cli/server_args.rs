//! `redirector server`: what can be done with servers.

use std::net::IpAddr;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::args::name;
use super::plan::SourceArgs;
use crate::api::wire::AdminState;

/// What can be done with servers.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// List all servers
    #[command(after_help = "Example:\n  redirector server list")]
    List,
    /// Show one server
    #[command(after_help = "Example:\n  redirector server show s1")]
    Show(ServerName),
    /// Move its devices away; its open flows stay
    #[command(after_help = "Example:\n  redirector --wait server drain s1")]
    Drain(ServerName),
    /// Let it take devices
    #[command(after_help = "Example:\n  redirector server activate s1")]
    Activate(ServerName),
    /// Move its devices away and reset its open flows
    #[command(after_help = "Example:\n  redirector server deactivate s1")]
    Deactivate(ServerName),
    /// Declare it dead, as whoever has fenced it may: its devices fail over at once
    #[command(after_help = "Example:\n  redirector server fail s1")]
    Fail(ServerName),
    /// Add a server
    #[command(
        after_help = "Examples:\n  redirector server add s4 --address 10.0.2.14\n  redirector \
                            server add s5 --address fd00:2::15 --state inactive --metrics-url \
                            http://10.0.2.15:9100/metrics"
    )]
    Add {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
        /// Address on which it serves its devices
        #[arg(long)]
        address: IpAddr,
        /// What is wanted of it
        #[arg(long, value_enum, default_value_t = StateArg::Active)]
        state: StateArg,
        /// Where figures about its load come from
        #[command(flatten)]
        sources: SourceArgs,
    },
    /// Remove a server that no device lists
    #[command(after_help = "Example:\n  redirector server remove s4")]
    Remove(ServerName),
}

/// A server.
#[derive(Debug, ClapArgs)]
pub struct ServerName {
    /// Name of the server
    #[arg(value_parser = name)]
    pub name: String,
}

/// The words of the command line for an administrative state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// It takes devices
    Active,
    /// It keeps its open flows and gets no new ones
    Draining,
    /// It serves nothing
    Inactive,
    /// It is declared dead
    Failed,
}

impl From<StateArg> for AdminState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Active => Self::Active,
            StateArg::Draining => Self::Draining,
            StateArg::Inactive => Self::Inactive,
            StateArg::Failed => Self::Failed,
        }
    }
}
