//! Packets that the redirector makes itself: the exact RST, echo replies, ICMP errors.
//!
//! Each is the packet that it answers, turned round in place, so that no state is needed.

use crate::checksum::{Checksum, ChecksumDelta};
use crate::family::{Family, IpHeader, OWN_HOPS};
use crate::frame::Frame;
use crate::headers::{
    DONT_FRAGMENT, Ethernet, ICMP_LEN, Icmp, Ipv4, Ipv6, PROTOCOL_TCP, TCP_LEN, Tcp,
};
use crate::order::{Be16, Be32, Be128};
use crate::packet::{Kind, OFFSET_MASK, Packet};
use crate::tables::Tables;
use crate::tcp::RST;
use crate::verdict::Reason;

/// An IPv4 header without options, never to be fragmented.
#[inline(always)]
pub fn header4(
    source: Be32,
    destination: Be32,
    protocol: u8,
    payload_len: usize,
    service_class: u8,
) -> Ipv4 {
    let mut header = Ipv4 {
        version_ihl: 0x45,
        tos: service_class,
        total_length: Be16::new((size_of::<Ipv4>() + payload_len) as u16),
        identification: Be16::new(0),
        flags_fragment: DONT_FRAGMENT,
        ttl: OWN_HOPS,
        protocol,
        checksum: Be16::new(0),
        source,
        destination,
    };
    header.checksum = Checksum::zero()
        .add(Be16::new(u16::from_be_bytes([header.version_ihl, service_class])))
        .add(header.total_length)
        .add(DONT_FRAGMENT)
        .add(Be16::new(u16::from_be_bytes([OWN_HOPS, protocol])))
        .add(source)
        .add(destination)
        .finish();
    header
}

/// An IPv6 header.
#[inline(always)]
pub fn header6(
    source: Be128,
    destination: Be128,
    protocol: u8,
    payload_len: usize,
    service_class: u8,
) -> Ipv6 {
    Ipv6 {
        version_class_label: Be32::new(6 << 28 | u32::from(service_class) << 20),
        payload_length: Be16::new(payload_len as u16),
        next_header: protocol,
        hop_limit: OWN_HOPS,
        source,
        destination,
    }
}

/// The sum of an ICMP header but for its checksum.
#[inline(always)]
pub fn icmp_sum(icmp: &Icmp) -> Checksum {
    Checksum::zero().add(Be16::new(u16::from_be_bytes([icmp.kind, icmp.code]))).add(icmp.rest)
}

/// Sends the frame back to where it came from.
#[inline(always)]
fn turn_link(frame: &mut impl Frame) -> Result<(), Reason> {
    frame.change(0, |ethernet: &mut Ethernet| {
        (ethernet.destination, ethernet.source) = (ethernet.source, ethernet.destination);
    })
}

/// Turns a client's segment into the RST that answers it.
///
/// Its sequence number is the segment's own acknowledgement number, which is what the client
/// expects next by construction, so that a receiver that follows RFC 5961 accepts it at once.
///
/// Shape: a segment with ACK set that is no RST (checked by the decision). Source: RFC 9293 section
/// 3.10.7.1, RFC 5961 section 3.
///
/// # Errors
///
/// `NoRoom` when the frame cannot be cut; nothing has changed.
#[inline(always)]
pub fn reset<F: Family, X: Frame>(frame: X, packet: &Packet<F>) -> Result<X, Reason> {
    let network = usize::from(packet.layout.network) & OFFSET_MASK;
    let transport = network + F::HEADER_LEN;
    let tcp: Tcp = *frame.header(usize::from(packet.layout.transport) & OFFSET_MASK)?;
    let mut old: F::Header = *frame.header(network)?;
    let mut frame = frame.shortened(transport + TCP_LEN)?;
    let (from, to) = (*old.destination(), *old.source());
    let mut answer = Tcp {
        source: tcp.destination,
        destination: tcp.source,
        sequence: tcp.acknowledgement,
        acknowledgement: Be32::new(0),
        data_offset: ((TCP_LEN / 4) << 4) as u8,
        flags: RST,
        window: Be16::new(0),
        checksum: Be16::new(0),
        urgent: Be16::new(0),
    };
    answer.checksum = Checksum::zero()
        .add(from)
        .add(to)
        .add(Be16::new(u16::from(PROTOCOL_TCP)))
        .add(Be16::new(TCP_LEN as u16))
        .add(answer.source)
        .add(answer.destination)
        .add(answer.sequence)
        .add(Be16::new(u16::from_be_bytes([answer.data_offset, RST])))
        .finish();
    let ip = F::header(from, to, PROTOCOL_TCP, TCP_LEN, 0);
    frame.change(network, |header: &mut F::Header| *header = ip)?;
    frame.change(transport, |header: &mut Tcp| *header = answer)?;
    turn_link(&mut frame)?;
    Ok(frame)
}

/// Turns an echo request into its reply. Source: RFC 792, RFC 4443 section 4.2.
///
/// # Errors
///
/// `Truncated`, which the parsed packet is not.
#[inline(always)]
pub fn echo<F: Family, X: Frame>(mut frame: X, packet: &Packet<F>) -> Result<X, Reason> {
    let transport = usize::from(packet.layout.transport) & OFFSET_MASK;
    frame.header::<Icmp>(transport)?;
    frame.change(usize::from(packet.layout.network) & OFFSET_MASK, |ip: &mut F::Header| {
        let (source, destination) = (*ip.source(), *ip.destination());
        *ip.source() = destination;
        *ip.destination() = source;
        ip.renew_hops();
    })?;
    frame.change(transport, |icmp: &mut Icmp| {
        let word = |kind| Be16::new(u16::from_be_bytes([kind, 0]));
        let delta =
            ChecksumDelta::none().remove(word(F::ECHO_REQUEST)).add(word(F::ECHO_REPLY));
        icmp.kind = F::ECHO_REPLY;
        icmp.checksum = delta.applied_to(icmp.checksum);
    })?;
    turn_link(&mut frame)?;
    Ok(frame)
}

/// Turns a packet into the ICMP error about it: no hop left, or longer than `mtu` bytes.
///
/// Quotes the network header and 8 bytes, which is what every sender needs to know its flow by.
/// Source: RFC 792, RFC 1191, RFC 4443 sections 3.2 and 3.3.
///
/// # Errors
///
/// `Unanswerable` for what must not be answered (errors, later fragments) or has options, which
/// would hide the ports; `NoRoom` when the frame cannot be reshaped. Nothing has changed.
#[inline(always)]
pub fn unreachable<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    packet: &Packet<F>,
    tables: &T,
    (reason, mtu): (Reason, u32),
) -> Result<X, Reason> {
    let network = usize::from(packet.layout.network) & OFFSET_MASK;
    let bare = usize::from(packet.layout.transport) == network + F::HEADER_LEN;
    if !bare || matches!(packet.kind, Kind::Error | Kind::LaterFragment) {
        return Err(Reason::Unanswerable);
    }
    let quote: F::Quote = *frame.header(network)?;
    let mut old: F::Header = *frame.header(network)?;
    let link: Ethernet = *frame.header(0)?;
    let tags: [Be16; 4] = *frame.header(size_of::<Ethernet>())?;
    let head_len = F::HEADER_LEN + ICMP_LEN;
    let frame = frame.shortened(network + size_of::<F::Quote>())?;
    let mut frame = frame.moved_head(head_len as isize)?;
    let source = tables.own_address(packet.arrival.ifindex()).unwrap_or(*old.destination());
    let ip =
        F::header(source, *old.source(), F::ICMP, ICMP_LEN + size_of::<F::Quote>(), 0);
    let (kind, code) = match reason {
        Reason::HopsExceeded => F::NO_HOP_LEFT,
        _ => F::TOO_BIG,
    };
    let mut icmp = Icmp { kind, code, checksum: Be16::new(0), rest: Be32::new(mtu) };
    icmp.checksum = F::icmp_checksum(&ip, &icmp, &quote);
    frame.change(network, |header: &mut F::Header| *header = ip)?;
    frame.change(network + F::HEADER_LEN, |header: &mut Icmp| *header = icmp)?;
    // What was in front of the network header has to move with the frame's beginning.
    if network > size_of::<Ethernet>() {
        frame.change(size_of::<Ethernet>(), |moved: &mut [Be16; 2]| *moved = [tags[0], tags[1]])?;
    }
    if network > size_of::<Ethernet>() + 4 {
        frame.change(size_of::<Ethernet>() + 4, |moved: &mut [Be16; 2]| {
            *moved = [tags[2], tags[3]];
        })?;
    }
    frame.change(0, |header: &mut Ethernet| {
        *header = Ethernet { destination: link.source, source: link.destination, ..link };
    })?;
    Ok(frame)
}
