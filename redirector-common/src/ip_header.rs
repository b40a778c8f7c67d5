//! Network headers, as far as they are changed in place: alike in both families.

use crate::checksum::ChecksumDelta;
use crate::headers::{DONT_FRAGMENT, Ipv4, Ipv6};
use crate::order::{Be16, Be32, Be128};

/// What is changed in a network header, alike in both families.
pub trait IpHeader<A> {
    /// Source address.
    fn source(&mut self) -> &mut A;
    /// Destination address.
    fn destination(&mut self) -> &mut A;
    /// Takes one hop, which must be there.
    fn take_hop(&mut self);
    /// Gives it all the hops that a packet of our own has.
    fn renew_hops(&mut self);
    /// Accounts for changed addresses in its own checksum, if it has one.
    fn account(&mut self, delta: ChecksumDelta);
    /// Its own checksum; zero if it has none.
    fn checksum(&self) -> Be16;
    /// Differentiated services and ECN.
    fn service_class(&self) -> u8;
    /// Whether routers must not fragment it.
    fn keeps_whole(&self) -> bool;
}

/// Hops given to packets of our own (RFC 1700's default).
pub const OWN_HOPS: u8 = 64;

impl IpHeader<Be32> for Ipv4 {
    #[inline(always)]
    fn source(&mut self) -> &mut Be32 {
        &mut self.source
    }

    #[inline(always)]
    fn destination(&mut self) -> &mut Be32 {
        &mut self.destination
    }

    #[inline(always)]
    fn take_hop(&mut self) {
        self.set_hops(self.ttl.wrapping_sub(1));
    }

    #[inline(always)]
    fn renew_hops(&mut self) {
        self.set_hops(OWN_HOPS);
    }

    #[inline(always)]
    fn account(&mut self, delta: ChecksumDelta) {
        self.checksum = delta.applied_to(self.checksum);
    }

    #[inline(always)]
    fn checksum(&self) -> Be16 {
        self.checksum
    }

    #[inline(always)]
    fn service_class(&self) -> u8 {
        self.tos
    }

    #[inline(always)]
    fn keeps_whole(&self) -> bool {
        self.flags_fragment.raw() & DONT_FRAGMENT.raw() != 0
    }
}

impl Ipv4 {
    #[inline(always)]
    fn set_hops(&mut self, hops: u8) {
        let word = |hops: u8, protocol: u8| Be16::new(u16::from_be_bytes([hops, protocol]));
        let old = word(self.ttl, self.protocol);
        self.ttl = hops;
        let delta = ChecksumDelta::none().remove(old).add(word(hops, self.protocol));
        self.checksum = delta.applied_to(self.checksum);
    }
}

impl IpHeader<Be128> for Ipv6 {
    #[inline(always)]
    fn source(&mut self) -> &mut Be128 {
        &mut self.source
    }

    #[inline(always)]
    fn destination(&mut self) -> &mut Be128 {
        &mut self.destination
    }

    #[inline(always)]
    fn take_hop(&mut self) {
        self.hop_limit = self.hop_limit.wrapping_sub(1);
    }

    #[inline(always)]
    fn renew_hops(&mut self) {
        self.hop_limit = OWN_HOPS;
    }

    #[inline(always)]
    fn account(&mut self, _delta: ChecksumDelta) {}

    #[inline(always)]
    fn checksum(&self) -> Be16 {
        Be16::default()
    }

    #[inline(always)]
    fn service_class(&self) -> u8 {
        (self.version_class_label.get() >> 20) as u8
    }

    #[inline(always)]
    fn keeps_whole(&self) -> bool {
        true
    }
}
