//! The packet that most are, read at a glance: no tags, options, extension headers or fragments,
//! all of it in the first buffer, and TCP or UDP.
//!
//! What is not of this kind is no worse for it: it is read by [`super::packet`], which knows all
//! kinds, and which reads the same of this one.

use super::{check_udp, segment};
use crate::family::{Family, IpHeader as _};
use crate::frame::Frame;
use crate::headers::{
    ETHERNET_LEN, Ethernet, PROTOCOL_TCP, PROTOCOL_UDP, Ports, Station, Tcp, Udp,
};
use crate::packet::Kind;
use crate::tcp::Segment;

/// What there is to know of a plain packet.
pub struct Plain<F: Family> {
    /// Source and destination, ports and protocol.
    pub tuple: F::Tuple,
    /// Who sent the frame.
    pub sender: Station,
    /// Hops left.
    pub hops: u8,
    /// A segment or a datagram.
    pub kind: Kind,
    /// TCP facts; all zero for UDP.
    pub segment: Segment,
    /// Length from the network header on, in bytes.
    pub len: usize,
}

impl<F: Family> Plain<F> {
    /// Where its network header begins.
    pub const NETWORK: usize = ETHERNET_LEN;
    /// Where its transport header begins.
    pub const TRANSPORT: usize = ETHERNET_LEN + F::HEADER_LEN;
}

/// Reads an untagged frame whose EtherType is that of family `F`; None if it is not plain.
#[inline(always)]
pub fn plain<F: Family>(frame: &impl Frame) -> Option<Plain<F>> {
    let ethernet: &Ethernet = frame.header(0).ok()?;
    let sender = ethernet.source;
    let ip: &F::Header = frame.header(Plain::<F>::NETWORK).ok()?;
    let len = ip.packet_len();
    if !ip.is_plain() || ETHERNET_LEN + len > frame.linear_len() {
        return None;
    }
    let (protocol, hops) = (ip.payload(), ip.hops());
    let (source, destination) = ip.ends();
    let payload_len = len.wrapping_sub(F::HEADER_LEN);
    let (kind, ports, segment) = transport::<F>(frame, protocol, payload_len)?;
    let source = F::endpoint(source, ports.source, protocol);
    let tuple = F::tuple(source, F::endpoint(destination, ports.destination, protocol));
    Some(Plain { tuple, sender, hops, kind, segment, len })
}

/// Reads a transport header in front of `len` bytes, itself included.
#[inline(always)]
fn transport<F: Family>(
    frame: &impl Frame,
    protocol: u8,
    len: usize,
) -> Option<(Kind, Ports, Segment)> {
    match protocol {
        PROTOCOL_TCP => {
            let tcp: &Tcp = frame.header(Plain::<F>::TRANSPORT).ok()?;
            let ports = Ports { source: tcp.source, destination: tcp.destination };
            Some((Kind::Segment, ports, segment(tcp, len).ok()?))
        }
        PROTOCOL_UDP => {
            let udp: &Udp = frame.header(Plain::<F>::TRANSPORT).ok()?;
            check_udp(udp, len, false).ok()?;
            let ports = Ports { source: udp.source, destination: udp.destination };
            Some((Kind::Datagram, ports, Segment::default()))
        }
        _ => None,
    }
}
