//! Who is who at a site: addresses of both families and Ethernet addresses, all by number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::data_path::Version;

/// Server with an IPv4 address, and the same machine by its IPv6 address.
pub const SERVER_V4: u16 = 1;
/// The same machine by its IPv6 address.
pub const SERVER_V6: u16 = 2;

/// A host's side: clients are 1, servers 2, clients behind a router 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Clients.
    Clients = 1,
    /// Servers.
    Servers = 2,
    /// Clients behind a router.
    Far = 3,
}

/// Address of host `number` on a side; the gateway is 1.
pub fn address(version: Version, side: Side, number: u16) -> IpAddr {
    match version {
        Version::V4 => Ipv4Addr::new(10, side as u8, 0, number as u8).into(),
        Version::V6 => Ipv6Addr::new(0xfd00 + side as u16, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

/// Host number of the client.
pub const CLIENT: u16 = 11;
/// Host number of the server.
pub const SERVER: u16 = 12;

/// Service address `number`.
pub fn service_ip(version: Version, number: u16) -> IpAddr {
    match version {
        Version::V4 => Ipv4Addr::new(10, 9, 0, number as u8).into(),
        Version::V6 => Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

/// A local address of the gateway that is on none of its networks.
pub(super) fn local_ip(version: Version, number: u16) -> IpAddr {
    match version {
        Version::V4 => Ipv4Addr::new(10, 8, 0, number as u8).into(),
        Version::V6 => Ipv6Addr::new(0xfd08, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

/// Ethernet address of host `number` on a side.
pub fn mac(side: Side, number: u16) -> [u8; 6] {
    [2, 0, side as u8, 0, 0, number as u8]
}

/// The same as `ip` takes it.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Address of a server by its id.
pub fn server_ip(id: u16) -> IpAddr {
    let version = if id == SERVER_V4 { Version::V4 } else { Version::V6 };
    address(version, Side::Servers, SERVER)
}
