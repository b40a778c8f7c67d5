//! Frames of the benchmark, of both families, built by an independent library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep, TcpHeader};
use redirector_common::tcp::{ACK, SYN};

use super::driver::Shape;
use crate::data_path::packets::CLIENT_MAC;
use crate::data_path::{GATEWAY_MAC, TCP};

/// Ethernet address that servers' frames come from.
const SERVER_MAC: [u8; 6] = [2, 0, 2, 0, 0, 1];
/// Hops of every frame.
const HOPS: u8 = 64;

/// A client by number, as the driver makes them.
pub fn client(shape: Shape, flow: u64) -> SocketAddr {
    let (further, port) = ((flow >> 14) as u32, 1024 + (flow & 0x3fff) as u16);
    let low = u32::from(Ipv4Addr::new(10, 128, 0, 0)) + further;
    let address = match shape {
        Shape::V4 | Shape::V4Back => IpAddr::V4(low.into()),
        Shape::V6 | Shape::V6Back => {
            let high = u128::from(Ipv6Addr::new(0xfd00, 10, 0, 0, 0, 0, 0, 0));
            IpAddr::V6((high | u128::from(low)).into())
        }
    };
    SocketAddr::new(address, port)
}

/// The first client's packet to a service address, or the server's answer to it.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The service address, or the server's endpoint.
    pub far: SocketAddr,
    /// Protocol number.
    pub protocol: u8,
}

impl Way {
    /// From the first client, with TCP flags and numbers.
    pub fn out(&self, flags: u8, numbers: (u32, u32)) -> Vec<u8> {
        let near = client(self.shape(), 0);
        frame((CLIENT_MAC, near), (GATEWAY_MAC, self.far), self.protocol, (flags, numbers))
    }

    /// To `near`, likewise.
    pub fn back_to(&self, near: SocketAddr, flags: u8, numbers: (u32, u32)) -> Vec<u8> {
        frame((SERVER_MAC, self.far), (GATEWAY_MAC, near), self.protocol, (flags, numbers))
    }

    /// To the first client, likewise.
    pub fn back(&self, flags: u8, numbers: (u32, u32)) -> Vec<u8> {
        self.back_to(client(self.shape(), 0), flags, numbers)
    }

    /// Shape of the packets out.
    pub fn shape(&self) -> Shape {
        if self.far.is_ipv4() { Shape::V4 } else { Shape::V6 }
    }

    /// Shape of the packets back.
    pub fn shape_back(&self) -> Shape {
        if self.far.is_ipv4() { Shape::V4Back } else { Shape::V6Back }
    }

    /// What a client sends in mid-conversation.
    pub fn segment(&self) -> Vec<u8> {
        self.out(ACK, (101, 510))
    }

    /// What opens a conversation.
    pub fn opening(&self) -> Vec<u8> {
        self.out(SYN, (100, 0))
    }
}

type End = ([u8; 6], SocketAddr);

fn frame(from: End, to: End, protocol: u8, (flags, numbers): (u8, (u32, u32))) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(from.0, to.0);
    let ip: PacketBuilderStep<IpHeaders> = match (from.1.ip(), to.1.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet.ipv4(source.octets(), destination.octets(), HOPS)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet.ipv6(source.octets(), destination.octets(), HOPS)
        }
        _ => unreachable!("the benchmark's ends are of one family"),
    };
    let mut bytes = Vec::new();
    let (source, destination) = (from.1.port(), to.1.port());
    let written = if protocol == TCP {
        let mut header = TcpHeader::new(source, destination, numbers.0, 8192);
        header.acknowledgment_number = numbers.1;
        header.syn = flags & SYN != 0;
        header.ack = flags & ACK != 0;
        ip.tcp_header(header).write(&mut bytes, &[])
    } else {
        ip.udp(source, destination).write(&mut bytes, &[0; 8])
    };
    written.expect("a vector takes everything");
    bytes
}
