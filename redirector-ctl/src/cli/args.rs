//! The command line as typed values. What cannot be right is refused here, with exit code 2.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use reqwest::Url;

use super::access_args::{AccessArgs, TokenCommand};
use super::association_args::AssociationCommand;
use super::device_args::{AddDevice, OpenFlowsArg, PolicyArgs};
use super::flow_args::{ExplainCommand, FlowCommand};
use super::plan::PlanCommand;
use super::record::RecordCommand;
use super::server_args::ServerCommand;

const DEFAULT_API: &str = "unix:/run/redirector/api.sock";

const EXAMPLES: &str = "\
Examples:
  redirector check --config /etc/redirector.toml     all mistakes of a file at once
  redirector run --config /etc/redirector.toml       the daemon
  redirector status                                  is it well, what happens to packets
  redirector device list                             devices, their servers and flows
  redirector device move disk-a --to s2              new flows to s2, open flows drain
  redirector association set disk-a=s2 disk-b=s3     two moves in one step
  redirector plan                                    what load asks for, and why
  redirector flow list --device disk-a               its open flows
  redirector explain packet --client 10.0.1.11 --device disk-a
  redirector record dump --file now.pcapng           the last packets, for Wireshark
  redirector events --follow                         what happens, as it happens
  redirector --output json device show disk-a        what the API answers

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the daemon cannot be reached.";

/// Keeps every flow on its server and moves devices between servers under running I/O.
#[derive(Debug, Parser)]
#[command(name = "redirector", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to talk to the daemon and to the user.
    #[command(flatten)]
    pub options: Options,
}

/// Options of every command.
#[derive(Debug, Clone, ClapArgs)]
pub struct Options {
    /// Where the daemon answers: unix:/path/to/socket, http://127.0.0.1:7070 or
    /// https://gateway.example:7070
    #[arg(long, global = true, value_name = "ADDRESS")]
    #[arg(env = "REDIRECTOR_API", default_value = DEFAULT_API)]
    pub api: Address,
    /// A table for people, or the body of the API's answer, unchanged
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// After a change, wait until it is in the packet path and what it made drain has drained
    #[arg(long, global = true)]
    pub wait: bool,
    /// What a port with credentials asks for
    #[command(flatten)]
    pub access: AccessArgs,
}

/// Where the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A URL.
    Http(Url),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Self::Http).ok_or_else(|| {
            "write unix:/path/to/socket or http://ADDRESS:PORT, such as http://127.0.0.1:7070, \
             or https:// and the name in the daemon's certificate"
                .into()
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(url) => url.fmt(f),
        }
    }
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences for people.
    Table,
    /// The body of the API's answer, unchanged.
    Json,
}

/// What to do: here on this machine, or by asking the daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon until SIGTERM or SIGINT; packets go on being redirected when it ends
    #[command(after_help = "Example:\n  redirector run --config /etc/redirector/redirector.toml")]
    Run(ConfigFile),
    /// Check a configuration file and report every mistake
    #[command(after_help = "Example:\n  redirector check --config /etc/redirector/redirector.toml")]
    Check(ConfigFile),
    /// Check this machine for what a configuration needs, and say how to mend what is missing
    #[command(after_help = "Needs the daemon's capabilities, and no daemon; one that runs is not \
                            disturbed. Ends with 1 if there is a fault: warnings and notes are \
                            none.\n\nExample:\n  redirector doctor --config \
                            /etc/redirector/redirector.toml")]
    Doctor(ConfigFile),
    /// Take the program and its tables out of the kernel; redirecting ends
    #[command(
        after_help = "Example:\n  redirector detach --config /etc/redirector/redirector.toml"
    )]
    Detach(ConfigFile),
    /// Print the OpenAPI document
    #[command(after_help = "Example:\n  redirector openapi > openapi.json")]
    Openapi,
    /// Credentials for a port that asks for them
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  redirector completions bash > \
                            /usr/share/bash-completion/completions/redirector")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command
    #[command(after_help = "Examples:\n  redirector man | man -l -\n  redirector man --dir \
                            /usr/share/man/man1")]
    Man {
        /// Directory for the pages
        #[arg(long, value_name = "DIRECTORY")]
        dir: Option<PathBuf>,
    },
    /// A question or wish for the daemon.
    #[command(flatten)]
    Ask(Ask),
}

/// The configuration file of a command.
#[derive(Debug, ClapArgs)]
pub struct ConfigFile {
    /// The configuration file; deploy/redirector.example.toml is an annotated one
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// What the daemon can be asked.
#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Show the daemon, its interfaces, how full the tables are and what becomes of packets
    #[command(
        after_help = "Examples:\n  redirector status\n  redirector --output json status | jq .flows"
    )]
    Status,
    /// Servers: the heads through which devices are reached
    #[command(subcommand)]
    Server(ServerCommand),
    /// Devices: what clients reach at one address
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Associations: through which server each device is reached
    #[command(subcommand)]
    Association(AssociationCommand),
    /// The plan for load: which devices are to move because of it, and why
    Plan {
        /// What to do with it; `show` when left out
        #[command(subcommand)]
        command: Option<PlanCommand>,
    },
    /// Open flows, one by one
    #[command(subcommand)]
    Flow(FlowCommand),
    /// What becomes of a packet and why, and what if a server died
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// The flight recorder: what became of the last packets, as files for Wireshark
    #[command(subcommand)]
    Record(RecordCommand),
    /// Print servers and devices as a file that `apply` takes
    #[command(after_help = "Example:\n  redirector export > site.toml")]
    Export,
    /// Make servers and devices what a file says, showing the difference first
    #[command(after_help = "Example:\n  redirector export > site.toml\n  redirector apply \
                            site.toml          what would change\n  redirector apply site.toml \
                            --yes\n\nServers and devices that the file does not have are removed. \
                            It is not one change but several; it stops at the first that is \
                            refused, or when somebody else changes something meanwhile.")]
    Apply {
        /// TOML, or JSON if its name ends in .json
        file: PathBuf,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Watch devices, servers, flows and events in the terminal
    #[command(
        after_help = "Keys: q quits, arrows mark a device, s changes the order, / filters by \
                            device or server, Esc takes the filter away.\n\nExample:\n  \
                            redirector top --once | head\n  \
                            redirector --output json top | jq .servers.items[].state"
    )]
    Top {
        /// Print one frame and end. With --output json that is done in any case: one look, as a
        /// line of JSON with the API's answers for `status`, `servers`, `devices` and `events`
        #[arg(long)]
        once: bool,
    },
    /// Show what happened, oldest first
    #[command(after_help = "Examples:\n  redirector events --after 120\n  redirector --output \
                            json events --follow | jq .text")]
    Events {
        /// Only events after this one
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: u64,
        /// At most so many, 1 to 1000
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u64,
        /// Go on with those to come, also over restarts of the daemon, until interrupted
        #[arg(long, conflicts_with = "limit")]
        follow: bool,
    },
}

/// What can be done with devices.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// List devices, by name
    #[command(after_help = "Examples:\n  redirector device list --search s2\n  redirector \
                            --output json device list | jq .items[].name")]
    List(DevicePage),
    /// Show one device
    #[command(after_help = "Example:\n  redirector device show disk-a")]
    Show(DeviceName),
    /// Move a device: its new flows go to another server
    #[command(after_help = "Example:\n  redirector device move disk-a --to s2 --policy drain \
                            --deadline-ms 60000")]
    Move {
        /// Name of the device
        #[arg(value_parser = name)]
        name: String,
        /// The server that is to get its new flows
        #[arg(long, value_name = "SERVER")]
        to: String,
        /// What happens to its open flows
        #[command(flatten)]
        policy: PolicyArgs,
    },
    /// Move one client of a device with affinity client: its new flows go to another server
    #[command(after_help = "Example:\n  redirector device move-client nas 10.0.1.11 --to n2 \
                            --open-flows reset")]
    MoveClient {
        /// Name of the device
        #[arg(value_parser = name)]
        name: String,
        /// Address of the client
        client: IpAddr,
        /// The server that is to get its new flows
        #[arg(long, value_name = "SERVER")]
        to: String,
        /// What happens to the flows that it has open on other servers
        #[arg(long, value_enum, default_value_t = OpenFlowsArg::Keep)]
        open_flows: OpenFlowsArg,
    },
    /// Add a device
    #[command(after_help = "Examples:\n  redirector device add disk-c --address 10.0.1.102 \
                            --port 10809 --server-port 10903 --servers s1,s2\n  redirector device \
                            add nas --address fd00:1::20 --port 2049 --ports 111,20048-20060 \
                            --servers n1,n2 --affinity client")]
    Add(Box<AddDevice>),
    /// Remove a device; its open flows are reset
    #[command(after_help = "Example:\n  redirector device remove disk-a")]
    Remove(DeviceName),
}

/// Which devices.
#[derive(Debug, ClapArgs)]
pub struct DevicePage {
    /// Only those whose name, address or server has these words
    #[arg(long, value_name = "WORDS")]
    pub search: Option<String>,
    /// At most so many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: u64,
    /// Go on where an earlier list has ended
    #[arg(long)]
    pub cursor: Option<String>,
}

/// A device.
#[derive(Debug, ClapArgs)]
pub struct DeviceName {
    /// Name of the device
    #[arg(value_parser = name)]
    pub name: String,
}

/// A name that can be a piece of a path. What else a name must be, the daemon says.
pub(super) fn name(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("a name has at least one letter or digit".to_owned()),
        _ => Ok(text.to_owned()),
    }
}
