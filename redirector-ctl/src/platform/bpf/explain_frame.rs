//! The frame of a described packet, and what can be read off the one that leaves.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
use redirector_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::wire::Tags;

use super::explain::Question;
use crate::platform::frames;

/// Who a described frame says it is from: a locally administered address of nobody.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
const HOPS: u8 = 64;
/// Payload of what is neither TCP nor UDP.
const SOME_BYTES: [u8; 8] = [0; 8];

/// A frame that is sent on or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaves {
    /// Source of the outermost packet; port 0 where it has none.
    pub source: SocketAddr,
    /// Its destination, likewise.
    pub destination: SocketAddr,
    /// To which Ethernet address the frame goes.
    pub mac: [u8; 6],
    /// Length of the frame, in bytes.
    pub len: usize,
}

/// The described packet, every checksum right, in a frame to our address `to` with `tags`.
pub(super) fn frame(question: &Question, to: [u8; 6], tags: Tags) -> Vec<u8> {
    let (client, service) = (question.key.client, question.key.service);
    let mut packet = Vec::new();
    // Two addresses of one family, and a vector takes everything: nothing can fail.
    let _ = match (client.ip(), service.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ip = PacketBuilder::ipv4(from.octets(), to.octets(), HOPS);
            write(ip, question, &mut packet)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = PacketBuilder::ipv6(from.octets(), to.octets(), HOPS);
            write(ip, question, &mut packet)
        }
        _ => Ok(()),
    };
    frames::framed((SENDER, to), tags, (&packet, client.is_ipv4()))
}

fn write(
    ip: etherparse::PacketBuilderStep<etherparse::IpHeaders>,
    question: &Question,
    bytes: &mut Vec<u8>,
) -> Result<(), etherparse::err::packet::BuildWriteError> {
    let (from, to) = (question.key.client.port(), question.key.service.port());
    match question.key.protocol {
        PROTOCOL_TCP => ip.tcp_header(tcp(question)).write(bytes, &[]),
        PROTOCOL_UDP => ip.udp(from, to).write(bytes, &[]),
        other => ip.write(bytes, IpNumber(other), &SOME_BYTES),
    }
}

fn tcp(question: &Question) -> TcpHeader {
    let (from, to) = (question.key.client.port(), question.key.service.port());
    let mut header = TcpHeader::new(from, to, question.sequence, 8192);
    header.acknowledgment_number = question.acknowledgement;
    let has = |bit: u8| question.flags & 1 << bit != 0;
    (header.fin, header.syn, header.rst) = (has(0), has(1), has(2));
    (header.psh, header.ack, header.urg) = (has(3), has(4), has(5));
    header
}

/// What can be read off a frame; None if it is no IP packet.
pub(super) fn leaves(bytes: &[u8]) -> Option<Leaves> {
    let mac = bytes.get(..6)?.try_into().ok()?;
    let sliced = SlicedPacket::from_ethernet(bytes).ok()?;
    let (from, to) = frames::addresses(sliced.net.as_ref()?)?;
    let ports = match sliced.transport.as_ref() {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ => (0, 0),
    };
    Some(Leaves {
        source: SocketAddr::new(from, ports.0),
        destination: SocketAddr::new(to, ports.1),
        mac,
        len: bytes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::tables::FlowKey;

    #[test]
    fn a_described_packet_is_read_off_its_frame_again() {
        for (client, service) in
            [("10.0.1.11:40000", "10.0.1.100:80"), ("[fd00::11]:40000", "[fd00::100]:80")]
        {
            let key = FlowKey {
                protocol: PROTOCOL_TCP,
                client: client.parse().unwrap(),
                service: service.parse().unwrap(),
            };
            let (sequence, acknowledgement, ingress) = (7, 8, 2);
            let device = None;
            let question = Question { key, flags: 2, sequence, acknowledgement, ingress, device };
            let mac = [2, 0, 0, 0, 0, 1];
            let plain = frame(&question, mac, Tags::NONE);
            let read = leaves(&plain).unwrap();
            assert_eq!((read.source, read.destination), (key.client, key.service));
            assert_eq!((read.mac, read.len), (mac, plain.len()));
            let double = frame(&question, mac, Tags::two(100, 7));
            assert_eq!(double[12..20], [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7]);
            assert_eq!(leaves(&double).unwrap().destination, key.service);
        }
    }
}
