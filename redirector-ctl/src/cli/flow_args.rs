//! Arguments about flows and explanations.

use std::net::{IpAddr, SocketAddr};

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use crate::api::explain::{Explain, TcpFlag};

/// What can be done with flows.
#[derive(Debug, Subcommand)]
pub enum FlowCommand {
    /// List open flows, a page at a time
    #[command(after_help = "Examples:\n  redirector flow list --device disk-a\n  redirector flow \
                            list --client 10.0.1.11 --limit 1000")]
    List(FlowList),
    /// Close a flow: its client is reset and may connect again
    #[command(after_help = "Example:\n  redirector flow close \
                            tcp-10.0.1.11-40000-10.0.1.100-10809")]
    Close {
        /// Id of the flow, as `flow list` shows it
        id: String,
    },
}

/// Which flows.
#[derive(Debug, ClapArgs)]
pub struct FlowList {
    /// Only those of this device
    #[arg(long)]
    pub device: Option<String>,
    /// Only those on this server
    #[arg(long)]
    pub server: Option<String>,
    /// Only those of this client
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<IpAddr>,
    /// About so many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u64,
    /// Where to go on, as the page before says
    #[arg(long)]
    pub cursor: Option<String>,
}

/// What can be explained.
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// What becomes of a client's packet, by running the program on it; changes nothing
    #[command(after_help = "Examples:\n  redirector explain packet --client 10.0.1.11 --device \
                            disk-a\n  redirector explain packet --client 10.0.1.11 --client-port \
                            40000 --service 10.0.1.100:10809 --flags ack")]
    Packet(ExplainPacket),
    /// What would move where if a server died; changes nothing
    #[command(after_help = "Example:\n  redirector explain death s1")]
    Death {
        /// Name of the server
        server: String,
    },
}

/// A packet, described.
#[derive(Debug, ClapArgs)]
pub struct ExplainPacket {
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    client: IpAddr,
    /// The client's port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    client_port: u16,
    /// The device that it is sent to
    #[arg(long, conflicts_with = "service", required_unless_present = "service")]
    device: Option<String>,
    /// Where it is sent to, a device or not
    #[arg(long, value_name = "ADDRESS:PORT")]
    service: Option<SocketAddr>,
    /// tcp, udp, or the number of another protocol; the device's when left out
    #[arg(long)]
    protocol: Option<String>,
    /// Flags of a TCP segment, separated by commas; syn when left out
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FLAG,...")]
    flags: Vec<FlagArg>,
    /// The interface by which it comes in; the first one when left out
    #[arg(long)]
    interface: Option<String>,
}

impl From<ExplainPacket> for Explain {
    fn from(packet: ExplainPacket) -> Self {
        let flags: Vec<TcpFlag> = packet.flags.into_iter().map(TcpFlag::from).collect();
        Self {
            client: packet.client,
            client_port: packet.client_port,
            device: packet.device,
            service: packet.service,
            protocol: packet.protocol,
            flags: (!flags.is_empty()).then_some(flags),
            sequence: None,
            acknowledgement: None,
            interface: packet.interface,
        }
    }
}

/// The words of the command line for a TCP flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FlagArg {
    /// It opens a conversation
    Syn,
    /// It acknowledges something
    Ack,
    /// It has something to deliver
    Psh,
    /// Its sender has nothing more to send
    Fin,
    /// It breaks the conversation off
    Rst,
}

impl From<FlagArg> for TcpFlag {
    fn from(flag: FlagArg) -> Self {
        match flag {
            FlagArg::Syn => Self::Syn,
            FlagArg::Ack => Self::Ack,
            FlagArg::Psh => Self::Psh,
            FlagArg::Fin => Self::Fin,
            FlagArg::Rst => Self::Rst,
        }
    }
}
