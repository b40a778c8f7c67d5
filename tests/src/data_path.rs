//! Packets through the loaded program and through the same decision on the host.
//!
//! Nothing is attached: the kernel runs the program on packets given to it (BPF_PROG_TEST_RUN),
//! over real maps that are filled by the daemon's own `Tables`.

pub mod budget;
pub mod bulk;
pub mod check;
pub mod conversation;
pub mod describe;
pub mod fixture;
pub mod frame;
pub mod fuzz;
pub mod host;
pub mod oracle;
pub mod packets;
pub mod program;
pub mod replay;
pub mod reset;
pub mod text;
pub mod traffic;

pub use host::Host;
pub use program::{Outcome, Program, Runner};

use redirector_common::headers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6};
use redirector_common::wire::{Forwarding, MARK_ORIGIN, MARK_SERVICE, MARK_TRACKED, Tags};
use redirector_ctl::core::op::{
    AssociationWord, DeviceSettings, Endpoint, NextHop, Op, ServerState,
};
use redirector_ctl::platform::tables::{Gateway, GatewayInterface};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use redirector_common::headers::{PROTOCOL_TCP as TCP, PROTOCOL_UDP as UDP};

/// XDP actions by number (`linux/bpf.h`).
pub const DROP: u32 = 1;
/// Given to the kernel's stack.
pub const PASS: u32 = 2;
/// Sent back by the interface it came in by.
pub const TX: u32 = 3;
/// Sent by another interface.
pub const REDIRECT: u32 = 4;
/// Interface index that test-run packets come in by: the kernel takes the loopback device.
pub const INGRESS: u16 = 1;
/// The gateway's own Ethernet address on that interface.
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
/// The gateway's own addresses on that interface, from which its ICMP errors come.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The same for IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);
/// Source addresses of full NAT.
pub const LOCAL_V4: Ipv4Addr = Ipv4Addr::new(10, 2, 255, 1);
/// The same for IPv6.
pub const LOCAL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0xff, 1);
/// Source addresses of tunnels.
pub const TUNNEL_V4: Ipv4Addr = Ipv4Addr::new(10, 2, 255, 2);
/// The same for IPv6.
pub const TUNNEL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0xff, 2);
/// UDP port of GUE tunnels.
pub const GUE_PORT: u16 = 6080;

/// The gateway that test programs are told of.
pub fn gateway() -> Gateway {
    let interface = GatewayInterface {
        index: INGRESS,
        carrier: INGRESS,
        mac: GATEWAY_MAC,
        tags: Tags::NONE,
        mtu: 1500,
        address_v4: Some(GATEWAY_V4),
        address_v6: Some(GATEWAY_V6),
    };
    Gateway {
        interfaces: vec![interface],
        locals: vec![LOCAL_V4.into(), LOCAL_V6.into()],
        local_ports: (1024, 32_767),
        tunnel_source_v4: Some(TUNNEL_V4),
        tunnel_source_v6: Some(TUNNEL_V6),
        gue_port: GUE_PORT,
        new_flows_per_second_max: 0,
        answers_per_second_max: 0,
    }
}

/// Which address family a topology has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Address of server `id`.
pub fn server_address(id: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, (id >> 8) as u8, id as u8)
}

/// Ethernet address of server `id`.
pub fn server_mac(id: u16) -> [u8; 6] {
    [2, 0, 2, 0, (id >> 8) as u8, id as u8]
}

/// Service address of device `id`.
pub fn device_address(id: u32) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, (id >> 8) as u8, id as u8)
}

/// Address of server `id` in a family.
pub fn server_ip(version: Version, id: u16) -> IpAddr {
    match version {
        Version::V4 => server_address(id).into(),
        Version::V6 => Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, id).into(),
    }
}

/// Service address of device `id` in a family.
pub fn device_ip(version: Version, id: u32) -> IpAddr {
    match version {
        Version::V4 => device_address(id).into(),
        Version::V6 => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, id as u16).into(),
    }
}

/// Address of client `id` in a family.
pub fn client_ip(version: Version, id: u16) -> IpAddr {
    match version {
        Version::V4 => Ipv4Addr::new(10, 1, 9, id as u8).into(),
        Version::V6 => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 9, id).into(),
    }
}

/// Service port of every device here.
pub const SERVICE_PORT: u16 = 10_809;

/// Port of device `id` at the servers.
pub fn server_port(id: u32) -> u16 {
    20_000 + id as u16
}

/// An association with nothing but a server.
pub fn on(server: u16) -> AssociationWord {
    AssociationWord { server, previous: 0, backup: 0, epoch: 1, epochs_open: 0 }
}

/// The op that brings a server to a state, in its first life.
pub fn server_state(id: u16, state: ServerState) -> Op {
    Op::SetServerState { id, state, incarnation: 1 }
}

/// A device of a test's topology.
#[derive(Debug, Clone, Copy)]
pub struct TestDevice {
    /// Its id.
    pub id: u32,
    /// Its settings.
    pub settings: DeviceSettings,
    /// Whether its packets come back by the redirector, so that the servers' endpoints are known.
    pub comes_back: bool,
    /// Whether its address is marked as that of a tracked device.
    pub tracked: bool,
}

impl TestDevice {
    /// Device `id` with one port, by `forwarding`.
    pub fn new(version: Version, id: u32, protocol: u8, forwarding: Forwarding) -> Self {
        let server_port = if forwarding.is_direct() { SERVICE_PORT } else { server_port(id) };
        let settings = DeviceSettings {
            address: device_ip(version, id),
            port: SERVICE_PORT,
            port_last: SERVICE_PORT,
            protocol,
            server_port,
            forwarding,
            stateless: false,
            affinity: false,
            mss_max: 0,
        };
        Self { id, settings, comes_back: !forwarding.is_direct(), tracked: true }
    }

    /// The same without entries in steady state.
    pub fn stateless(mut self) -> Self {
        self.settings.stateless = true;
        self.tracked = false;
        self
    }

    /// The ops that make it known, on server 1 of `servers` (ids from 1) of a family.
    pub fn ops(&self, servers: u16, version: Version) -> Vec<Op> {
        let Self { id, settings, .. } = *self;
        let tracked = if self.tracked { MARK_TRACKED } else { 0 };
        let mut ops = vec![
            Op::SetMarks { address: settings.address, marks: MARK_SERVICE | tracked },
            Op::SetDevice { id, settings },
            Op::CommitAssociations { words: vec![(id, on(1))] },
        ];
        for server in (1..=servers).filter(|_| self.comes_back) {
            let address = server_ip(version, server);
            let at = Endpoint { address, port: settings.server_port, protocol: settings.protocol };
            ops.push(Op::SetMarks { address, marks: MARK_ORIGIN | MARK_TRACKED });
            ops.push(Op::AddReturn { endpoint: at, device: id, server });
        }
        let Endpoint { address, port, protocol } = service(&settings);
        let wide = settings.port_last != settings.port;
        let port = if wide { 0 } else { port };
        ops.push(Op::AddService { service: Endpoint { address, port, protocol }, device: id });
        let icmp = if address.is_ipv4() { PROTOCOL_ICMP } else { PROTOCOL_ICMPV6 };
        let echo = Endpoint { address, port: 0, protocol: icmp };
        ops.push(Op::AddService { service: echo, device: id });
        ops
    }
}

/// The service address of a device.
pub fn service(settings: &DeviceSettings) -> Endpoint {
    let DeviceSettings { address, port, protocol, .. } = *settings;
    Endpoint { address, port, protocol }
}

/// The ops that make `servers` known (ids from 1), alive and with a way.
pub fn servers(version: Version, servers: u16) -> Vec<Op> {
    let mut ops = Vec::new();
    for id in 1..=servers {
        ops.push(Op::SetServerAddress { id, address: server_ip(version, id) });
        ops.push(Op::SetNextHop { id, next_hop: Some(NextHop { mac: server_mac(id), port: 0 }) });
        ops.push(server_state(id, ServerState::Alive));
    }
    ops
}

/// The ops that make `servers` (ids from 1) and `devices` (ids from 0) known for `protocol`, each
/// device on server 1.
pub fn topology(servers_len: u16, devices: u32, protocol: u8) -> Vec<Op> {
    topology_of(Version::V4, servers_len, devices, protocol)
}

/// The same in a family.
pub fn topology_of(version: Version, servers_len: u16, devices: u32, protocol: u8) -> Vec<Op> {
    let mut ops = servers(version, servers_len);
    for id in 0..devices {
        let device = TestDevice::new(version, id, protocol, Forwarding::Nat);
        ops.extend(device.ops(servers_len, version));
    }
    ops
}

/// An endpoint from its parts.
pub fn endpoint(address: Ipv4Addr, port: u16, protocol: u8) -> Endpoint {
    Endpoint { address: IpAddr::V4(address), port, protocol }
}
