//! The lab's devices as values: a disk or an echo service, each with its service address.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::topology::service_address;

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
    /// The service address.
    pub address: Ipv4Addr,
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
    /// Where clients reach it.
    pub fn service(&self) -> SocketAddr {
        SocketAddrV4::new(self.address, self.port).into()
    }

    /// Where clients reach its disk with NBD programs.
    pub fn uri(&self) -> String {
        format!("nbd://{}:{}/{}", self.address, self.port, self.name)
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
            port,
            server_port,
            kind,
            server: server.to_owned(),
        }
    }
}
