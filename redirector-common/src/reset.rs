//! The exact RST: a client's segment turned round, in place.
//!
//! Its sequence number is the segment's own acknowledgement number, which is what the client
//! expects next by construction, so that a receiver that follows RFC 5961 accepts it at once. No
//! state is needed.

use crate::checksum::ChecksumUpdate;
use crate::headers::{DONT_FRAGMENT, ETHERNET_LEN, Ethernet, IPV4_LEN, Ipv4, PROTOCOL_TCP};
use crate::headers::{TCP_LEN, Tcp};
use crate::order::{Be16, Be32};
use crate::tcp::RST;

/// Length of the frame that carries a RST over IPv4: headers only, in bytes.
pub const RESET_FRAME_LEN: usize = ETHERNET_LEN + IPV4_LEN + TCP_LEN;

/// Hops given to a RST (RFC 1700's default).
const RESET_TTL: u8 = 64;

/// Turns a client's segment into the RST that answers it.
///
/// Shape: headers of a frame of [`RESET_FRAME_LEN`] bytes, no IP options; the segment has ACK set
/// and is no RST (checked by the decision). Errors: none. Source: RFC 9293 section 3.10.7.1, RFC
/// 5961 section 3.
#[inline(always)]
pub fn reset(ethernet: &mut Ethernet, ip: &mut Ipv4, tcp: &mut Tcp) {
    (ethernet.destination, ethernet.source) = (ethernet.source, ethernet.destination);
    (ip.source, ip.destination) = (ip.destination, ip.source);
    (tcp.source, tcp.destination) = (tcp.destination, tcp.source);
    let total_length = Be16::new((IPV4_LEN + TCP_LEN) as u16);
    ip.version_ihl = 0x45;
    ip.tos = 0;
    ip.total_length = total_length;
    ip.identification = Be16::new(0);
    ip.flags_fragment = DONT_FRAGMENT;
    ip.ttl = RESET_TTL;
    tcp.sequence = tcp.acknowledgement;
    tcp.acknowledgement = Be32::new(0);
    tcp.data_offset = ((TCP_LEN / 4) << 4) as u8;
    tcp.flags = RST;
    tcp.window = Be16::new(0);
    tcp.urgent = Be16::new(0);
    ip.checksum = ChecksumUpdate::zero()
        .add(Be16::new(0x4500))
        .add(total_length)
        .add(DONT_FRAGMENT)
        .add(Be16::new(u16::from_be_bytes([RESET_TTL, PROTOCOL_TCP])))
        .add_u32(ip.source)
        .add_u32(ip.destination)
        .finish();
    tcp.checksum = ChecksumUpdate::zero()
        .add_u32(ip.source)
        .add_u32(ip.destination)
        .add(Be16::new(u16::from(PROTOCOL_TCP)))
        .add(Be16::new(TCP_LEN as u16))
        .add(tcp.source)
        .add(tcp.destination)
        .add_u32(tcp.sequence)
        .add(Be16::new(u16::from_be_bytes([tcp.data_offset, RST])))
        .finish();
}
