//! A device as the tables of a site get it.

use std::net::{IpAddr, SocketAddr};

use redirector_common::headers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6};
use redirector_common::wire::{Forwarding, MARK_ORIGIN, MARK_SERVICE, MARK_TRACKED};
use redirector_ctl::core::op::{DeviceSettings, Endpoint, Op};

use super::{server_ip, service_ip};
use crate::data_path::{Version, on};

/// A device at a [`Site`].
#[derive(Debug, Clone, Copy)]
pub struct Device {
    /// Its id.
    pub id: u32,
    /// Its server.
    pub server: u16,
    /// The server's own address.
    pub origin: IpAddr,
    /// Its settings.
    pub settings: DeviceSettings,
}

impl Device {
    /// Device `id` at service address `number`.
    pub fn new(
        (id, server): (u32, u16),
        (version, number): (Version, u16),
        (protocol, port, server_port): (u8, u16, u16),
        forwarding: Forwarding,
    ) -> Self {
        let settings = DeviceSettings {
            address: service_ip(version, number),
            port,
            port_last: port,
            protocol,
            server_port: if forwarding.is_direct() { port } else { server_port },
            forwarding,
            stateless: false,
            affinity: false,
            mss_max: 0,
        };
        Self { id, server, origin: server_ip(server), settings }
    }

    /// Where clients reach it.
    pub fn service(&self) -> SocketAddr {
        (self.settings.address, self.settings.port).into()
    }

    /// Where its server listens.
    pub fn at_server(&self) -> SocketAddr {
        let DeviceSettings { address, forwarding, server_port, .. } = self.settings;
        let own = if forwarding.is_direct() { address } else { self.origin };
        (own, server_port).into()
    }

    /// The ops that make its server's packets known.
    pub fn returns(&self) -> Vec<Op> {
        let DeviceSettings { server_port: port, protocol, .. } = self.settings;
        let endpoint = Endpoint { address: self.origin, port, protocol };
        vec![
            Op::SetMarks { address: self.origin, marks: MARK_ORIGIN | MARK_TRACKED },
            Op::AddReturn { endpoint, device: self.id, server: self.server },
        ]
    }

    /// The ops that make it known.
    pub(super) fn ops(&self) -> Vec<Op> {
        let Self { id, settings, .. } = *self;
        let DeviceSettings { address, port, protocol, .. } = settings;
        let marks = MARK_SERVICE | MARK_TRACKED;
        let mut ops = vec![
            Op::SetMarks { address, marks },
            Op::SetDevice { id, settings },
            Op::CommitAssociations { words: vec![(id, on(self.server))] },
        ];
        if !settings.forwarding.is_direct() {
            ops.extend(self.returns());
        }
        let icmp = if address.is_ipv4() { PROTOCOL_ICMP } else { PROTOCOL_ICMPV6 };
        for (port, protocol) in [(port, protocol), (0, icmp)] {
            ops.push(Op::AddService { service: Endpoint { address, port, protocol }, device: id });
        }
        ops
    }
}
