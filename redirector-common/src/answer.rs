//! Packets that the redirector makes itself: the exact RST, echo replies, ICMP errors.
//!
//! Each is the packet that it answers, turned round in place, so that no state is needed.

use crate::checksum::{Checksum, ChecksumDelta};
use crate::family::{Family, IpHeader, OWN_HOPS};
use crate::frame::Frame;
use crate::headers::{
    DONT_FRAGMENT, ETHERNET_LEN, Ethernet, ICMP_LEN, Icmp, Ipv4, Ipv6, PROTOCOL_TCP, TCP_LEN, Tcp,
    VLAN_LEN,
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
pub fn reset<F: Family, X: Frame>(frame: X, packet: &Packet<F>) -> Result<X, (X, Reason)> {
    let network = usize::from(packet.layout.network) & OFFSET_MASK;
    let transport = network + F::HEADER_LEN;
    let found = frame
        .header(usize::from(packet.layout.transport) & OFFSET_MASK)
        .and_then(|tcp| Ok((*tcp, *frame.header(network)?)));
    let (tcp, mut old): (Tcp, F::Header) = match found {
        Ok(found) => found,
        Err(reason) => return Err((frame, reason)),
    };
    let mut frame = match frame.shortened(transport + TCP_LEN) {
        Ok(frame) => frame,
        Err(frame) => return Err((frame, Reason::NoRoom)),
    };
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
    let written = frame
        .change(network, |header: &mut F::Header| *header = ip)
        .and_then(|()| frame.change(transport, |header: &mut Tcp| *header = answer))
        .and_then(|()| turn_link(&mut frame));
    whole(frame, written)
}

/// What is only half written must not leave.
#[inline(always)]
fn whole<X>(frame: X, written: Result<(), Reason>) -> Result<X, (X, Reason)> {
    match written {
        Ok(()) => Ok(frame),
        Err(_) => Err((frame, Reason::NoRoom)),
    }
}

/// Turns an echo request into its reply. Source: RFC 792, RFC 4443 section 4.2.
///
/// # Errors
///
/// `NoRoom` when a header is not there, which a parsed packet's is.
#[inline(always)]
pub fn echo<F: Family, X: Frame>(mut frame: X, packet: &Packet<F>) -> Result<X, (X, Reason)> {
    let network = usize::from(packet.layout.network) & OFFSET_MASK;
    let transport = usize::from(packet.layout.transport) & OFFSET_MASK;
    let written = frame
        .change(transport, |icmp: &mut Icmp| {
            let word = |kind| Be16::new(u16::from_be_bytes([kind, 0]));
            let delta =
                ChecksumDelta::none().remove(word(F::ECHO_REQUEST)).add(word(F::ECHO_REPLY));
            icmp.kind = F::ECHO_REPLY;
            icmp.checksum = delta.applied_to(icmp.checksum);
        })
        .and_then(|()| {
            frame.change(network, |ip: &mut F::Header| {
                let (source, destination) = (*ip.source(), *ip.destination());
                *ip.source() = destination;
                *ip.destination() = source;
                ip.renew_hops();
            })
        })
        .and_then(|()| turn_link(&mut frame));
    whole(frame, written)
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
) -> Result<X, (X, Reason)> {
    let network = usize::from(packet.layout.network) & OFFSET_MASK;
    let bare = usize::from(packet.layout.transport) == network + F::HEADER_LEN;
    if !bare || matches!(packet.kind, Kind::Error | Kind::LaterFragment) {
        return Err((frame, Reason::Unanswerable));
    }
    let old = match read_old::<F>(&frame, network) {
        Ok(old) => old,
        Err(reason) => return Err((frame, reason)),
    };
    let frame = match frame.shortened(network + size_of::<F::Quote>()) {
        Ok(frame) => frame,
        Err(frame) => return Err((frame, Reason::NoRoom)),
    };
    let mut frame = match frame.moved_head((F::HEADER_LEN + ICMP_LEN) as isize) {
        Ok(frame) => frame,
        Err(frame) => return Err((frame, Reason::NoRoom)),
    };
    let own = tables.own_address(packet.arrival.ifindex()).unwrap_or(packet.ip.destination);
    let quote_len = size_of::<F::Quote>();
    let ip = F::header(own, packet.ip.source, F::ICMP, ICMP_LEN + quote_len, 0);
    let (kind, code) = match reason {
        Reason::HopsExceeded => F::NO_HOP_LEFT,
        _ => F::TOO_BIG,
    };
    let mut icmp = Icmp { kind, code, checksum: Be16::new(0), rest: Be32::new(mtu) };
    icmp.checksum = F::icmp_checksum(&ip, &icmp, &old.quote);
    let written = frame
        .change(network, |header: &mut F::Header| *header = ip)
        .and_then(|()| frame.change(network + F::HEADER_LEN, |header: &mut Icmp| *header = icmp))
        .and_then(|()| put_back(&mut frame, &old, network));
    whole(frame, written)
}

/// What is needed of a packet after its frame's beginning has moved.
struct Old<F: Family> {
    quote: F::Quote,
    ethernet: Ethernet,
    /// Bytes behind the Ethernet header: tags, if there are any.
    tags: [Be16; 4],
}

#[inline(always)]
fn read_old<F: Family>(frame: &impl Frame, network: usize) -> Result<Old<F>, Reason> {
    Ok(Old {
        quote: *frame.header(network)?,
        ethernet: *frame.header(0)?,
        tags: *frame.header(ETHERNET_LEN)?,
    })
}

/// Puts what was in front of the network header there again, turned round.
#[inline(always)]
fn put_back<F: Family>(frame: &mut impl Frame, old: &Old<F>, network: usize) -> Result<(), Reason> {
    let [a, b, c, d] = old.tags;
    if network >= ETHERNET_LEN + VLAN_LEN {
        frame.change(ETHERNET_LEN, |tag: &mut [Be16; 2]| *tag = [a, b])?;
    }
    if network >= ETHERNET_LEN + 2 * VLAN_LEN {
        frame.change(ETHERNET_LEN + VLAN_LEN, |tag: &mut [Be16; 2]| *tag = [c, d])?;
    }
    let Ethernet { source, destination, ether_type } = old.ethernet;
    frame.change(0, |header: &mut Ethernet| {
        *header = Ethernet { destination: source, source: destination, ether_type };
    })
}
