//! The bytes of a question for a service address, and of what answers. Pure.

use std::net::{IpAddr, SocketAddr};

use etherparse::{PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
use redirector_common::family::{Family, V4, V6};
use redirector_common::headers::{PROTOCOL_UDP, UDP_LEN, Udp};
use redirector_common::order::{Be16, Be32, Be128};
use zerocopy::IntoBytes as _;

use super::Road;
use crate::core::service::Forwarding;
use crate::platform::frames;

/// Hops of a question: a server that has no such address must not send it on to one that has.
const HOPS: u8 = 1;
const WINDOW: u16 = 1024;

/// What a segment of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    /// It asks.
    Syn,
    /// It ends what an answer has begun.
    Reset,
}

/// What answers a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// To what it is an answer.
    pub to: Expected,
    /// A RST, and no SYN.
    pub is_refusal: bool,
}

/// How an answer is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expected {
    /// The service address.
    pub service: SocketAddr,
    /// Our end.
    pub here: SocketAddr,
    /// What it acknowledges.
    pub acknowledgement: u32,
}

/// A whole frame with a segment from `here` to `service` for a server; None when families do not
/// fit together, or there is no address to send a tunnel's packets from.
pub(super) fn frame(
    to: &Road,
    (here, service): (SocketAddr, SocketAddr),
    (segment, sequence): (Segment, u32),
) -> Option<Vec<u8>> {
    let mut tcp = TcpHeader::new(here.port(), service.port(), sequence, WINDOW);
    (tcp.syn, tcp.rst) = (segment == Segment::Syn, segment == Segment::Reset);
    let packet = packet((here.ip(), service.ip()), tcp)?;
    let (packet, is_v4) = match to.forwarding.is_tunnel() {
        true => (wrapped(to, &packet, (here, service))?, to.server.is_ipv4()),
        false => (packet, service.is_ipv4()),
    };
    Some(frames::framed((to.way.from, to.way.to), to.way.tags, (&packet, is_v4)))
}

fn packet(ends: (IpAddr, IpAddr), tcp: TcpHeader) -> Option<Vec<u8>> {
    let ip = match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), HOPS),
        _ => return None,
    };
    let mut bytes = Vec::new();
    ip.tcp_header(tcp).write(&mut bytes, &[]).ok()?;
    Some(bytes)
}

/// The packet inside another one to the server, with the headers that the program uses.
fn wrapped(to: &Road, inner: &[u8], (here, service): (SocketAddr, SocketAddr)) -> Option<Vec<u8>> {
    let mut payload: Vec<u8> = Vec::new();
    let mut protocol = if service.is_ipv4() { V4::INSIDE } else { V6::INSIDE };
    if to.forwarding == Forwarding::Gue {
        let udp = Udp {
            // Spreads questions over queues, as the program spreads flows.
            source: Be16::new(here.port()),
            destination: Be16::new(to.tunnel.gue_port),
            length: Be16::new((UDP_LEN + inner.len()) as u16),
            checksum: Be16::new(0),
        };
        payload.extend(udp.as_bytes());
        protocol = PROTOCOL_UDP;
    }
    payload.extend(inner);
    let len = payload.len();
    let mut packet = match to.server {
        IpAddr::V4(server) => {
            let from = Be32::new(to.tunnel.source_v4?.into());
            V4::header(from, Be32::new(server.into()), protocol, len, 0).as_bytes().to_vec()
        }
        IpAddr::V6(server) => {
            let from = Be128::from_bytes(to.tunnel.source_v6?.octets());
            let to = Be128::from_bytes(server.octets());
            V6::header(from, to, protocol, len, 0).as_bytes().to_vec()
        }
    };
    packet.extend(payload);
    Some(packet)
}

/// What an IP packet answers; None if it answers no SYN.
#[must_use]
pub fn answer(packet: &[u8]) -> Option<Answer> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let (from, to) = frames::addresses(sliced.net.as_ref()?)?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport.as_ref() else { return None };
    if !tcp.ack() || tcp.syn() == tcp.rst() {
        return None;
    }
    let service = SocketAddr::new(from, tcp.source_port());
    let here = SocketAddr::new(to, tcp.destination_port());
    let acknowledgement = tcp.acknowledgment_number();
    Some(Answer { to: Expected { service, here, acknowledgement }, is_refusal: tcp.rst() })
}
