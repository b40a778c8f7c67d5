//! Effects: the writes that bring the kernel's tables to what the spec and the observations ask
//! for.
//!
//! Every op is idempotent and prints as one line, so that a plan can be read before it is applied
//! and compared with a committed text.

use std::net::IpAddr;

use redirector_common::headers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::wire::Forwarding;

/// What the packet path may do with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// No such server: nothing is sent there.
    Absent,
    /// Takes new flows and keeps the open ones.
    Alive,
    /// Its open flows are reset, its new flows go to the backup.
    Dead,
}

/// Where frames for a server leave and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// Ethernet address of the next hop.
    pub mac: [u8; 6],
    /// Index of the interface in the configuration, from 0.
    pub port: u16,
}

/// One association as the kernel sees it (see `redirector_common::wire::Association`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssociationWord {
    /// Server of new flows; 0 for none.
    pub server: u16,
    /// Server of unknown mid-conversation packets while the device drains; 0 for none.
    pub previous: u16,
    /// Server that takes over when `server` is dead; 0 for none.
    pub backup: u16,
    /// Epoch given to new flows.
    pub epoch: u16,
    /// How many epochs before `epoch` are still accepted.
    pub epochs_open: u8,
}

/// The cold settings of a device, read for new flows and for the reverse direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSettings {
    /// Service address.
    pub address: IpAddr,
    /// First service port; zero for a device that is known by its address only.
    pub port: u16,
    /// Last service port.
    pub port_last: u16,
    /// Protocol number; zero for all protocols that have no device of their own.
    pub protocol: u8,
    /// Port at the servers of the first service port.
    pub server_port: u16,
    /// How a client's packet gets to its server.
    pub forwarding: Forwarding,
    /// Whether it keeps no entries while it does not drain.
    pub stateless: bool,
    /// Whether all of a client's flows to the device stay together.
    pub affinity: bool,
    /// Largest segment that SYNs may ask for, in bytes; zero for no limit.
    pub mss_max: u16,
}

/// An address, port and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Port; zero for all ports, and for protocols without.
    pub port: u16,
    /// Protocol number; zero for all protocols that have no entry of their own.
    pub protocol: u8,
}

/// The word for a protocol number in texts.
#[must_use]
pub fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        0 => "any",
        PROTOCOL_TCP => "tcp",
        PROTOCOL_UDP => "udp",
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => "icmp",
        _ => "other",
    }
}

/// One write to the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes the address of a server whose state word is `Absent`.
    SetServerAddress {
        /// Server id.
        id: u16,
        /// Its address.
        address: IpAddr,
    },
    /// One 8-byte store: the server's state word.
    SetServerState {
        /// Server id.
        id: u16,
        /// What the packet path may do with it.
        state: ServerState,
        /// Its present life.
        incarnation: u32,
    },
    /// One 8-byte store: where frames for the server go. None while the neighbour is unresolved.
    SetNextHop {
        /// Server id.
        id: u16,
        /// The way to it.
        next_hop: Option<NextHop>,
    },
    /// Writes the settings of a device that no service address names yet.
    SetDevice {
        /// Device id.
        id: u32,
        /// Its settings.
        settings: DeviceSettings,
    },
    /// Changes associations: one is a single 8-byte store, several are one flip of the bank.
    CommitAssociations {
        /// Device id and new word; ids without a word keep theirs.
        words: Vec<(u32, AssociationWord)>,
    },
    /// Says what may be known of an address: `MARK_` bits; zero for nothing.
    SetMarks {
        /// Address.
        address: IpAddr,
        /// `redirector_common::wire::MARK_` bits.
        marks: u32,
    },
    /// Makes a service address name a device.
    AddService {
        /// Service address.
        service: Endpoint,
        /// Device id.
        device: u32,
    },
    /// Takes a service address away.
    RemoveService {
        /// Service address.
        service: Endpoint,
    },
    /// Makes a server's endpoint name a device for the way back.
    AddReturn {
        /// The server's address, the device's port there.
        endpoint: Endpoint,
        /// Device id.
        device: u32,
        /// Server id.
        server: u16,
    },
    /// Takes a server's endpoint away.
    RemoveReturn {
        /// The server's address, the device's port there.
        endpoint: Endpoint,
    },
}
