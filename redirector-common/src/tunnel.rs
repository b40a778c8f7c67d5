//! Packets put into other packets: IP in IP, and GUE.
//!
//! Source: RFC 2003 (IPv4 in IPv4), RFC 4213 (IPv6 in IPv4), RFC 2473 (in IPv6); GUE variant 1
//! (draft-ietf-intarea-gue, section 4): the inner packet follows the UDP header directly, and its
//! IP version tells the families apart. The outer UDP checksum is zero (RFC 6935 for IPv6).

use crate::family::{Family, IpHeader, V4, V6};
use crate::frame::Frame;
use crate::headers::{IPV4_LEN, IPV6_LEN, PROTOCOL_UDP, UDP_LEN, Udp};
use crate::order::Be16;
use crate::packet::OFFSET_MASK;
use crate::tables::Tables;
use crate::verdict::Reason;
use crate::wire::{Forwarding, ServerLine};

/// First of the source ports that tunnels use to spread flows over queues (RFC 6335's dynamic
/// ports).
const SOURCE_PORTS: u16 = 0xc000;

/// Whether the server is reached over IPv6.
#[inline(always)]
pub fn over_v6(server: &ServerLine) -> bool {
    server.family == 6
}

/// Length in bytes of what is put in front of the packet.
#[inline(always)]
pub fn outer_len(server: &ServerLine, forwarding: u8) -> usize {
    let network_len = if over_v6(server) { IPV6_LEN } else { IPV4_LEN };
    match Forwarding::from_number(forwarding) {
        Forwarding::Gue => network_len + UDP_LEN,
        _ => network_len,
    }
}

/// EtherType of a packet that is put into another one on its way to this server.
#[inline(always)]
pub fn ether_type(server: &ServerLine) -> Be16 {
    if over_v6(server) { V6::ETHER_TYPE } else { V4::ETHER_TYPE }
}

/// Writes the outer headers of a packet of `len` bytes at `outer`, and takes one hop from the
/// packet inside.
///
/// # Errors
///
/// `Truncated` when the room in front of the packet is not there.
#[inline(always)]
pub fn wrap<F: Family, T: Tables<F>>(
    frame: &mut impl Frame,
    (tuple, len): (&F::Tuple, usize),
    tables: &T,
    (server, forwarding, outer): (&ServerLine, u8, usize),
) -> Result<(), Reason> {
    let inner = outer + outer_len(server, forwarding);
    let class = frame.change(inner & OFFSET_MASK, |ip: &mut F::Header| {
        ip.take_hop();
        ip.service_class()
    })?;
    let is_gue = matches!(Forwarding::from_number(forwarding), Forwarding::Gue);
    let (protocol, payload_len) = if is_gue {
        let hash = F::hash(tuple);
        let udp = Udp {
            source: Be16::new(SOURCE_PORTS | hash as u16),
            destination: tables.gue_port(),
            length: Be16::new((UDP_LEN + len) as u16),
            checksum: Be16::new(0),
        };
        frame.change((inner - UDP_LEN) & OFFSET_MASK, |header: &mut Udp| *header = udp)?;
        (PROTOCOL_UDP, UDP_LEN + len)
    } else {
        (F::INSIDE, len)
    };
    if over_v6(server) {
        let (from, to) = (tables.tunnel_source_v6(), V6::address(&server.address));
        let ip = V6::header(from, to, protocol, payload_len, class);
        frame.change(outer & OFFSET_MASK, |header| *header = ip)
    } else {
        let (from, to) = (tables.tunnel_source_v4(), V4::address(&server.address));
        let ip = V4::header(from, to, protocol, payload_len, class);
        frame.change(outer & OFFSET_MASK, |header| *header = ip)
    }
}
