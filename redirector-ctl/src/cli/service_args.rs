//! Arguments that say where clients reach a device and how their packets get to its servers.

use std::net::IpAddr;

use clap::{Args as ClapArgs, ValueEnum};

use crate::api::wire::{Affinity, Forwarding, PortRange, Protocol, Tracking};

/// The service address of a device, and how its packets are treated.
#[derive(Debug, Clone, ClapArgs)]
pub struct ServiceArgs {
    /// Address at which clients reach it
    #[arg(long)]
    pub address: IpAddr,
    /// Port at which clients reach it; not with --protocol any
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Further ports, separated by commas: single ones and ranges
    #[arg(long, value_delimiter = ',', value_name = "PORT|FIRST-LAST,...")]
    pub ports: Vec<PortRange>,
    /// Protocol of the service address
    #[arg(long, value_enum, default_value_t = ProtocolArg::Tcp)]
    protocol: ProtocolArg,
    /// What --port is at its servers; the same as --port when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub server_port: Option<u16>,
    /// How a client's packet gets to its server
    #[arg(long, value_enum, default_value_t = ForwardingArg::Nat)]
    forwarding: ForwardingArg,
    /// Whether an entry is kept for each open flow
    #[arg(long, value_enum, default_value_t = TrackingArg::Tracked)]
    tracking: TrackingArg,
    /// What is kept together on one server
    #[arg(long, value_enum, default_value_t = AffinityArg::Flow)]
    affinity: AffinityArg,
    /// Largest segment that SYNs may ask for, in bytes
    #[arg(long, value_name = "N")]
    pub mss_max: Option<u16>,
    /// Idle time after which an open TCP flow is forgotten, in ms
    #[arg(long, value_name = "N")]
    pub tcp_idle_timeout_ms: Option<u64>,
    /// Idle time after which another flow is forgotten, in ms
    #[arg(long, value_name = "N")]
    pub udp_idle_timeout_ms: Option<u64>,
}

impl ServiceArgs {
    /// The port for the API; 0 for none.
    ///
    /// # Errors
    /// There is none where one is needed.
    pub fn port(&self) -> Result<u16, String> {
        match (self.port, self.protocol) {
            (Some(port), _) => Ok(port),
            (None, ProtocolArg::Any) => Ok(0),
            (None, _) => Err("--port is missing: only --protocol any goes without".to_owned()),
        }
    }

    /// The protocol for the API.
    pub fn protocol(&self) -> Protocol {
        match self.protocol {
            ProtocolArg::Tcp => Protocol::Tcp,
            ProtocolArg::Udp => Protocol::Udp,
            ProtocolArg::Any => Protocol::Any,
        }
    }

    /// The way to the servers for the API.
    pub fn forwarding(&self) -> Forwarding {
        match self.forwarding {
            ForwardingArg::Nat => Forwarding::Nat,
            ForwardingArg::FullNat => Forwarding::FullNat,
            ForwardingArg::Dsr => Forwarding::Dsr,
            ForwardingArg::Ipip => Forwarding::Ipip,
            ForwardingArg::Gue => Forwarding::Gue,
        }
    }

    /// The tracking for the API.
    pub fn tracking(&self) -> Tracking {
        match self.tracking {
            TrackingArg::Tracked => Tracking::Tracked,
            TrackingArg::Stateless => Tracking::Stateless,
        }
    }

    /// The affinity for the API.
    pub fn affinity(&self) -> Affinity {
        match self.affinity {
            AffinityArg::Flow => Affinity::Flow,
            AffinityArg::Client => Affinity::Client,
        }
    }
}

/// The words of the command line for a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolArg {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// Every protocol but TCP, UDP and ICMP
    Any,
}

/// The words of the command line for the way to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ForwardingArg {
    /// The destination is rewritten; servers route back through the gateway
    Nat,
    /// The source is rewritten too; servers answer the gateway and do not see the client
    FullNat,
    /// Only the Ethernet address changes; servers own the service address
    Dsr,
    /// Inside another IP packet; servers own the service address
    Ipip,
    /// Inside a UDP datagram (GUE); servers own the service address
    Gue,
}

/// The words of the command line for tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TrackingArg {
    /// An entry for each open flow
    Tracked,
    /// Entries only for flows that open while the device drains
    Stateless,
}

/// The words of the command line for affinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AffinityArg {
    /// Each flow for itself
    Flow,
    /// All flows of one client
    Client,
}
