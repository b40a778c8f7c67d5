//! Address rewriting: pure functions on headers, which cannot fail.
//!
//! Each keeps every checksum as right, or as wrong, as it was, so that end-to-end protection holds.

use core::mem::replace;

use crate::checksum::ChecksumUpdate;
use crate::headers::{Ipv4, Tcp, Udp};
use crate::order::{Be16, Be32};

/// A transport header whose ports and checksum can be rewritten.
pub trait Transport {
    /// Source port.
    fn source(&mut self) -> &mut Be16;
    /// Destination port.
    fn destination(&mut self) -> &mut Be16;
    /// Replaces the checksum by what `update` makes of it, by the protocol's rules.
    fn update_checksum(&mut self, update: impl FnOnce(ChecksumUpdate) -> ChecksumUpdate);
}

impl Transport for Tcp {
    #[inline(always)]
    fn source(&mut self) -> &mut Be16 {
        &mut self.source
    }

    #[inline(always)]
    fn destination(&mut self) -> &mut Be16 {
        &mut self.destination
    }

    #[inline(always)]
    fn update_checksum(&mut self, update: impl FnOnce(ChecksumUpdate) -> ChecksumUpdate) {
        self.checksum = update(ChecksumUpdate::new(self.checksum)).finish();
    }
}

impl Transport for Udp {
    #[inline(always)]
    fn source(&mut self) -> &mut Be16 {
        &mut self.source
    }

    #[inline(always)]
    fn destination(&mut self) -> &mut Be16 {
        &mut self.destination
    }

    /// A zero checksum means that none was made and stays; one that comes out as zero is sent as
    /// all ones (RFC 768).
    #[inline(always)]
    fn update_checksum(&mut self, update: impl FnOnce(ChecksumUpdate) -> ChecksumUpdate) {
        if self.checksum.raw() == 0 {
            return;
        }
        let sum = update(ChecksumUpdate::new(self.checksum)).finish();
        self.checksum = if sum.raw() == 0 { Be16::from_raw(0xffff) } else { sum };
    }
}

/// Sends a packet to a server: rewrites destination address and port, takes one hop from the TTL.
///
/// Shape: `ip` without options, TTL at least 1. Errors: none. Source: RFC 1624 equation 3, RFC
/// 3022.
#[inline(always)]
pub fn to_server(ip: &mut Ipv4, transport: &mut impl Transport, address: Be32, port: Be16) {
    let old = (replace(&mut ip.destination, address), replace(transport.destination(), port));
    account(ip, transport, old, (address, port));
}

/// Sends a packet back to a client: rewrites source address and port, takes one hop from the TTL.
///
/// Shape, errors and source as of [`to_server`].
#[inline(always)]
pub fn to_client(ip: &mut Ipv4, transport: &mut impl Transport, address: Be32, port: Be16) {
    let old = (replace(&mut ip.source, address), replace(transport.source(), port));
    account(ip, transport, old, (address, port));
}

/// Takes one hop, and accounts for it and for what was replaced in both checksums.
#[inline(always)]
fn account(
    ip: &mut Ipv4,
    transport: &mut impl Transport,
    (old_address, old_port): (Be32, Be16),
    (address, port): (Be32, Be16),
) {
    let hop_word = |ip: &Ipv4| Be16::new(u16::from_be_bytes([ip.ttl, ip.protocol]));
    let old_word = hop_word(ip);
    ip.ttl = ip.ttl.wrapping_sub(1);
    ip.checksum = ChecksumUpdate::new(ip.checksum)
        .remove(old_word)
        .add(hop_word(ip))
        .remove_u32(old_address)
        .add_u32(address)
        .finish();
    transport.update_checksum(|sum| {
        sum.remove_u32(old_address).add_u32(address).remove(old_port).add(port)
    });
}
