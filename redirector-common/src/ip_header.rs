//! Network headers, as far as they are read at a glance or changed in place: alike in both
//! families.

use crate::checksum::ChecksumDelta;
use crate::headers::{
    DONT_FRAGMENT, FRAGMENT_OFFSET, IPV4_LEN, IPV6_LEN, Ipv4, Ipv6, MORE_FRAGMENTS,
};
use crate::order::{Be16, Be32, Be128, Words as _};

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
    /// Whether it is in order, without options, and not of a fragment.
    fn is_plain(&self) -> bool;
    /// Source and destination, copied out.
    fn ends(&self) -> (A, A);
    /// Protocol number of what follows it.
    fn payload(&self) -> u8;
    /// Hops left.
    fn hops(&self) -> u8;
    /// Length of header and payload in bytes, as it states it.
    fn packet_len(&self) -> usize;
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

    #[inline(always)]
    fn is_plain(&self) -> bool {
        const VERSION_4_NO_OPTIONS: u8 = 0x45;
        const FRAGMENTED: u16 = FRAGMENT_OFFSET.raw() | MORE_FRAGMENTS.raw();
        self.version_ihl == VERSION_4_NO_OPTIONS
            && self.flags_fragment.raw() & FRAGMENTED == 0
            && usize::from(self.total_length.get()) >= IPV4_LEN
            && adds_up(self.words_sum())
    }

    #[inline(always)]
    fn ends(&self) -> (Be32, Be32) {
        (self.source, self.destination)
    }

    #[inline(always)]
    fn payload(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.ttl
    }

    #[inline(always)]
    fn packet_len(&self) -> usize {
        usize::from(self.total_length.get())
    }
}

/// Whether words that include their own checksum add up, as RFC 1071 has it.
#[inline(always)]
pub fn adds_up(sum: u32) -> bool {
    let once = (sum & 0xffff) + (sum >> 16);
    (once & 0xffff) + (once >> 16) == 0xffff
}

impl Ipv4 {
    /// The sum of the header's words, its checksum included.
    #[inline(always)]
    pub fn words_sum(&self) -> u32 {
        let words: &[u16; IPV4_LEN / 2] = zerocopy::transmute_ref!(self);
        let mut sum = 0;
        for word in words {
            sum += u32::from(*word);
        }
        sum
    }

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

    /// An extension header shows as a payload that is no transport protocol.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.version_class_label.get() >> 28 == 6
    }

    #[inline(always)]
    fn ends(&self) -> (Be128, Be128) {
        (self.source.copied(), self.destination.copied())
    }

    #[inline(always)]
    fn payload(&self) -> u8 {
        self.next_header
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.hop_limit
    }

    #[inline(always)]
    fn packet_len(&self) -> usize {
        IPV6_LEN + usize::from(self.payload_length.get())
    }
}
