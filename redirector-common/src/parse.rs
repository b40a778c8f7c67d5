//! What makes headers acceptable: pure checks on headers that somebody else found in a frame.
//!
//! Whatever is refused here is refused by name, and passes to the kernel's stack untouched.

use zerocopy::transmute_ref;

use crate::headers::{IPV4_LEN, Ipv4, TCP_LEN, Tcp, UDP_LEN, Udp};
use crate::tcp::{FIN, SYN, Segment};
use crate::verdict::Reason;

/// Checks an IPv4 header against itself; gives the packet's length in bytes, which the caller
/// checks against the frame.
///
/// # Errors
///
/// `BadHeader`, `IpOptions` or `Fragment`. Source: RFC 791; RFC 1812 section 5.2.2 for the
/// checksum, which a router must not leave unchecked.
#[inline(always)]
pub fn ipv4(ip: &Ipv4) -> Result<usize, Reason> {
    let ip_len = usize::from(ip.total_length.get());
    if ip.version_ihl >> 4 != 4 || ip.header_len() < IPV4_LEN || ip_len < ip.header_len() {
        return Err(Reason::BadHeader);
    }
    if ip.header_len() > IPV4_LEN {
        return Err(Reason::IpOptions);
    }
    if ip.is_fragment() {
        return Err(Reason::Fragment);
    }
    let words: &[u16; IPV4_LEN / 2] = transmute_ref!(ip);
    let mut sum = 0_u32;
    for word in words {
        sum += u32::from(*word);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    if sum != 0xffff {
        return Err(Reason::BadHeader);
    }
    Ok(ip_len)
}

/// The facts of a TCP segment in a packet of `ip_len` bytes; the payload's length comes from the IP
/// header, so that padding of short frames never counts.
///
/// # Errors
///
/// `BadHeader` when the header's length contradicts the packet's.
#[inline(always)]
pub fn tcp(tcp: &Tcp, ip_len: usize) -> Result<Segment, Reason> {
    let headers_len = IPV4_LEN + tcp.header_len();
    if tcp.header_len() < TCP_LEN || headers_len > ip_len {
        return Err(Reason::BadHeader);
    }
    let payload_len = (ip_len - headers_len) as u32;
    let marks_len = u32::from(tcp.flags & SYN != 0) + u32::from(tcp.flags & FIN != 0);
    Ok(Segment {
        flags: tcp.flags,
        sequence: tcp.sequence.get(),
        acknowledgement: tcp.acknowledgement.get(),
        next: tcp.sequence.get().wrapping_add(payload_len + marks_len),
    })
}

/// Checks a UDP header in a packet of `ip_len` bytes.
///
/// # Errors
///
/// `BadHeader` when the header's length contradicts the packet's.
#[inline(always)]
pub fn udp(udp: &Udp, ip_len: usize) -> Result<(), Reason> {
    let udp_len = usize::from(udp.length.get());
    if udp_len < UDP_LEN || IPV4_LEN + udp_len > ip_len {
        return Err(Reason::BadHeader);
    }
    Ok(())
}
