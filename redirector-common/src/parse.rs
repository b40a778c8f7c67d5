//! From a frame to a [`Packet`]: what makes headers acceptable, and the facts taken from them.
//!
//! Whatever is refused here is refused by name, and passes to the kernel's stack untouched.

mod network;
mod plain;

pub use network::{network4, network6, quoted4, quoted6};
pub use plain::{Plain, plain};

use crate::family::Family;
use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_QINQ, ETHER_TYPE_VLAN, ETHERNET_LEN, Ethernet, ICMP_LEN, Icmp, PROTOCOL_ICMP,
    PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, Ports, TCP_LEN, Tcp, UDP_LEN, Udp, VLAN_LEN,
    VlanTag,
};
use crate::order::Be16;
use crate::packet::{Kind, Layout, OFFSET_MASK, Packet};
use crate::tcp::{FIN, SYN, Segment};
use crate::verdict::Reason;
use crate::wire::{Hop, Tags};

/// The network header begins below this: Ethernet header and two tags.
pub const NETWORK_MASK: usize = 0x1f;
/// What is in front of the network header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// EtherType of the packet.
    pub ether_type: Be16,
    /// VLAN tags.
    pub tags: Tags,
    /// Where the network header begins.
    pub network: usize,
}

/// Which part of a packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment.
    First,
    /// Another fragment.
    Later,
}

/// What a network header says.
#[derive(Debug, Clone, Copy)]
pub struct Network<F: Family> {
    /// Source address.
    pub source: F::Address,
    /// Destination address.
    pub destination: F::Address,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Hops left.
    pub hops: u8,
    /// Which part of the packet this is.
    pub part: Part,
    /// Identification of a fragmented packet, as it lies in the header.
    pub identification: u32,
    /// Where the payload begins.
    pub transport: usize,
    /// Where the packet ends.
    pub end: usize,
}

impl<F: Family> Network<F> {
    /// A place for a header's facts.
    #[inline(always)]
    pub fn nothing() -> Self {
        Self {
            source: F::Address::default(),
            destination: F::Address::default(),
            protocol: 0,
            hops: 0,
            part: Part::Whole,
            identification: 0,
            transport: 0,
            end: 0,
        }
    }
}

/// Reads the Ethernet header and up to two VLAN tags.
///
/// # Errors
///
/// `Truncated`.
#[inline(always)]
pub fn link(frame: &impl Frame) -> Result<Link, Reason> {
    let ethernet: &Ethernet = frame.header(0)?;
    let ether_type = ethernet.ether_type;
    if ether_type != ETHER_TYPE_VLAN && ether_type != ETHER_TYPE_QINQ {
        return Ok(Link { ether_type, tags: Tags::NONE, network: ETHERNET_LEN });
    }
    let outer: &VlanTag = frame.header(ETHERNET_LEN)?;
    let (outer_id, ether_type) = (outer.control.get(), outer.ether_type);
    let network = ETHERNET_LEN + VLAN_LEN;
    if ether_type != ETHER_TYPE_VLAN {
        return Ok(Link { ether_type, tags: Tags::one(outer_id), network });
    }
    let inner: &VlanTag = frame.header(network)?;
    let tags = Tags::two(outer_id, inner.control.get());
    Ok(Link { ether_type: inner.ether_type, tags, network: network + VLAN_LEN })
}

/// Reads a packet of family `F` whose network header begins at `network`, into a place that the
/// caller has for it: in the kernel that is no stack.
///
/// # Errors
///
/// The reason for which it passes untouched.
#[inline(always)]
pub fn packet<F: Family>(
    frame: &impl Frame,
    network: usize,
    arrival: Hop,
    packet: &mut Packet<F>,
) -> Result<(), Reason> {
    F::network(frame, network, &mut packet.ip)?;
    let (protocol, part) = (packet.ip.protocol, packet.ip.part);
    let (transport, end) = (packet.ip.transport, packet.ip.end);
    check_len(frame, end)?;
    packet.kind = Kind::Other;
    packet.first_fragment = matches!(part, Part::First);
    packet.protocol = protocol;
    packet.arrival = arrival;
    packet.layout = Layout {
        network: network as u16,
        transport: transport as u16,
        end: end as u16,
        quoted_network: 0,
        quoted_transport: 0,
    };
    let mut ports = Ports { source: Be16::default(), destination: Be16::default() };
    let mut facts = Segment::default();
    match protocol {
        _ if matches!(part, Part::Later) => packet.kind = Kind::LaterFragment,
        PROTOCOL_TCP => {
            let tcp: &Tcp = frame.header(transport & OFFSET_MASK)?;
            packet.kind = Kind::Segment;
            facts = segment(tcp, end - transport)?;
            ports = Ports { source: tcp.source, destination: tcp.destination };
        }
        PROTOCOL_UDP => {
            let udp: &Udp = frame.header(transport & OFFSET_MASK)?;
            check_udp(udp, end - transport, packet.first_fragment)?;
            packet.kind = Kind::Datagram;
            ports = Ports { source: udp.source, destination: udp.destination };
        }
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
            packet.segment = facts;
            return icmp(frame, packet);
        }
        _ => {}
    }
    // Once, and of values that the compiler does not know: zeroes it would write in a loop.
    packet.segment = facts;
    let source = F::endpoint(packet.ip.source, ports.source, protocol);
    packet.tuple =
        F::tuple(source, F::endpoint(packet.ip.destination, ports.destination, protocol));
    Ok(())
}

/// An ICMP message: an echo request, or an error with what it quotes.
#[inline(always)]
fn icmp<F: Family>(frame: &impl Frame, packet: &mut Packet<F>) -> Result<(), Reason> {
    let (transport, end) = (packet.ip.transport, packet.ip.end);
    let icmp: &Icmp = frame.header(transport & OFFSET_MASK)?;
    if packet.protocol != F::ICMP || packet.first_fragment || transport + ICMP_LEN > end {
        return Err(Reason::IcmpOther);
    }
    if icmp.kind == F::ECHO_REQUEST && icmp.code == 0 {
        packet.kind = Kind::Echo;
        let portless = |address| F::endpoint(address, Be16::default(), F::ICMP);
        packet.tuple = F::tuple(portless(packet.ip.source), portless(packet.ip.destination));
        return Ok(());
    }
    if !F::ERRORS.contains(&icmp.kind) {
        return Err(Reason::IcmpOther);
    }
    let quoted_network = transport + ICMP_LEN;
    let quoted = F::quoted(frame, quoted_network & OFFSET_MASK)?;
    if quoted.transport > end {
        return Err(Reason::IcmpOther);
    }
    // An error that is not sent to the one whose packet it quotes is none (RFC 5927).
    if quoted.source != packet.ip.destination || matches!(quoted.part, Part::Later) {
        return Err(Reason::IcmpOther);
    }
    let mut ports = Ports { source: Be16::default(), destination: Be16::default() };
    match quoted.protocol {
        PROTOCOL_TCP | PROTOCOL_UDP => {
            ports = *frame.header(quoted.transport & OFFSET_MASK)?;
            if quoted.transport + size_of::<Ports>() > end {
                return Err(Reason::IcmpOther);
            }
        }
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => return Err(Reason::IcmpOther),
        _ => {}
    }
    packet.kind = Kind::Error;
    packet.protocol = quoted.protocol;
    let source = F::endpoint(quoted.destination, ports.destination, quoted.protocol);
    packet.tuple = F::tuple(source, F::endpoint(quoted.source, ports.source, quoted.protocol));
    packet.layout.quoted_network = quoted_network as u16;
    packet.layout.quoted_transport = quoted.transport as u16;
    Ok(())
}

/// Whether a packet that ends at `end` is all there. The length of all buffers costs a call, so it
/// is asked for only if the first buffer does not do.
#[inline(always)]
fn check_len(frame: &impl Frame, end: usize) -> Result<(), Reason> {
    if end > frame.linear_len() && end > frame.len() {
        return Err(Reason::Truncated);
    }
    Ok(())
}

/// The facts of a TCP segment of `len` bytes, header included; that length comes from the IP
/// header, so that padding of short frames never counts.
#[inline(always)]
fn segment(tcp: &Tcp, len: usize) -> Result<Segment, Reason> {
    let header_len = tcp.header_len();
    if header_len < TCP_LEN || header_len > len {
        return Err(Reason::BadHeader);
    }
    let payload_len = (len - header_len) as u32;
    let marks_len = u32::from(tcp.flags & SYN != 0) + u32::from(tcp.flags & FIN != 0);
    Ok(Segment {
        flags: tcp.flags,
        sequence: tcp.sequence.get(),
        acknowledgement: tcp.acknowledgement.get(),
        next: tcp.sequence.get().wrapping_add(payload_len + marks_len),
    })
}

/// Checks a UDP header in front of `len` bytes, itself included; of a first fragment there is less
/// than it says.
#[inline(always)]
fn check_udp(udp: &Udp, len: usize, first_fragment: bool) -> Result<(), Reason> {
    let udp_len = usize::from(udp.length.get());
    if udp_len < UDP_LEN || len < UDP_LEN || (udp_len > len && !first_fragment) {
        return Err(Reason::BadHeader);
    }
    Ok(())
}
