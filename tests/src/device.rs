//! The lab's devices as values: a disk or an echo service, each with its service address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::data_path::Version;
use crate::topology::{service_address, v6_beside};

/// What is behind a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A disk of so many bytes, spoken to in NBD.
    Disk {
        /// Size.
        bytes: u64,
    },
    /// An echo server that says who it is.
    Echo,
}

/// A device of the lab. Every server serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Name, also of the disk's file and NBD export.
    pub name: String,
    /// The service address, as it is in IPv4.
    pub address: Ipv4Addr,
    /// Whether that, or the IPv6 address beside it, is what clients know.
    pub version: Version,
    /// The port at the service address.
    pub port: u16,
    /// The port at every server.
    pub server_port: u16,
    /// What is behind it.
    pub kind: Kind,
    /// The server it begins on.
    pub server: String,
}

impl Device {
    /// The service address that clients know.
    pub fn ip(&self) -> IpAddr {
        match self.version {
            Version::V4 => self.address.into(),
            Version::V6 => v6_beside(self.address).into(),
        }
    }

    /// Where clients reach it.
    pub fn service(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), self.port)
    }

    /// Where clients reach its disk with NBD programs.
    pub fn uri(&self) -> String {
        format!("nbd://{}/{}", self.service(), self.name)
    }

    /// Two disks of `bytes` each and two echo services, begun on s1 and s2.
    pub fn standard_set(bytes: u64) -> Vec<Self> {
        let disk = Kind::Disk { bytes };
        vec![
            Self::numbered(0, "disk-a", (10809, 10901), disk, "s1"),
            Self::numbered(1, "disk-b", (10809, 10902), disk, "s2"),
            Self::numbered(2, "echo-a", (7000, 7001), Kind::Echo, "s1"),
            Self::numbered(3, "echo-b", (7000, 7002), Kind::Echo, "s2"),
        ]
    }

    fn numbered(
        number: u8,
        name: &str,
        (port, server_port): (u16, u16),
        kind: Kind,
        server: &str,
    ) -> Self {
        Self {
            name: name.to_owned(),
            address: service_address(number),
            version: Version::V4,
            port,
            server_port,
            kind,
            server: server.to_owned(),
        }
    }
}
