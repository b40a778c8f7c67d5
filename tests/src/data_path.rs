//! Packets through the loaded program and through the same decision on the host.
//!
//! Nothing is attached: the kernel runs the program on packets given to it (BPF_PROG_TEST_RUN),
//! over real maps that are filled by the daemon's own `Tables`.

pub mod bulk;
pub mod conversation;
pub mod host;
pub mod packets;
pub mod program;

pub use host::Host;
pub use program::{Outcome, Program};

use redirector_ctl::core::op::{
    AssociationWord, DeviceSettings, Endpoint, NextHop, Op, ServerState,
};
use redirector_ctl::core::spec::Protocol;
use std::net::{IpAddr, Ipv4Addr};

/// XDP actions by number (`linux/bpf.h`).
pub const DROP: u32 = 1;
/// Given to the kernel's stack.
pub const PASS: u32 = 2;
/// Sent back by the interface it came in by.
pub const TX: u32 = 3;
/// Interface index that test-run packets come in by: the kernel takes the loopback device.
pub const INGRESS: u16 = 1;
/// The gateway's own Ethernet address on that interface.
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

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

/// The ops that make `servers` (ids from 1) and `devices` (ids from 0) known for `protocol`, each
/// device on server 1.
pub fn topology(servers: u16, devices: u32, protocol: Protocol) -> Vec<Op> {
    let mut ops = Vec::new();
    for id in 1..=servers {
        ops.push(Op::SetServerAddress { id, address: server_address(id).into() });
        ops.push(Op::SetNextHop { id, next_hop: Some(NextHop { mac: server_mac(id), port: 0 }) });
        ops.push(server_state(id, ServerState::Alive));
    }
    for id in 0..devices {
        let settings = DeviceSettings {
            address: device_address(id).into(),
            port: SERVICE_PORT,
            protocol,
            server_port: server_port(id),
        };
        ops.push(Op::SetDevice { id, settings });
        ops.push(Op::CommitAssociations { words: vec![(id, on(1))] });
        for server in 1..=servers {
            let endpoint = endpoint(server_address(server), server_port(id), protocol);
            ops.push(Op::AddReturn { endpoint, device: id, server });
        }
        let service = endpoint(device_address(id), SERVICE_PORT, protocol);
        ops.push(Op::AddService { service, device: id });
    }
    ops
}

/// An endpoint from its parts.
pub fn endpoint(address: Ipv4Addr, port: u16, protocol: Protocol) -> Endpoint {
    Endpoint { address: IpAddr::V4(address), port, protocol }
}
