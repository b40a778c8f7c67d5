//! Protocol headers as they lie in a frame. Only layout and field access; no judgement of content.
//!
//! Alignment is 2: a frame begins at an even address (the XDP headroom is 256 bytes), and every
//! header before the transport header has an even length (Ethernet 14, IPv4 a multiple of 4).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::order::{Be16, Be32};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// EtherType of IPv4 (RFC 894).
pub const ETHER_TYPE_IPV4: Be16 = Be16::new(0x0800);
/// Protocol number of TCP (RFC 9293).
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP (RFC 768).
pub const PROTOCOL_UDP: u8 = 17;

/// An Ethernet header. Shape: 14 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Ethernet {
    /// Destination address.
    pub destination: Mac,
    /// Source address.
    pub source: Mac,
    /// What follows.
    pub ether_type: Be16,
}

/// An IPv4 header without options (RFC 791). Shape: 20 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Ipv4 {
    /// Version in the upper four bits, header length in 32-bit words in the lower four.
    pub version_ihl: u8,
    /// Differentiated services and ECN.
    pub tos: u8,
    /// Length of header and payload in bytes.
    pub total_length: Be16,
    /// Identification for fragments.
    pub identification: Be16,
    /// Flags in the upper three bits, offset in units of 8 bytes in the lower thirteen.
    pub flags_fragment: Be16,
    /// Hops left.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Ones' complement checksum of the header.
    pub checksum: Be16,
    /// Source address.
    pub source: Be32,
    /// Destination address.
    pub destination: Be32,
}

/// `flags_fragment` bits that make a packet a fragment: "more fragments" and the offset.
pub const FRAGMENT_MASK: Be16 = Be16::new(0x3fff);
/// `flags_fragment` with only "don't fragment".
pub const DONT_FRAGMENT: Be16 = Be16::new(0x4000);

/// A TCP header without options (RFC 9293). Shape: 20 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Tcp {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
    /// Sequence number.
    pub sequence: Be32,
    /// Acknowledgement number.
    pub acknowledgement: Be32,
    /// Header length in 32-bit words in the upper four bits.
    pub data_offset: u8,
    /// Flags, see [`crate::tcp`].
    pub flags: u8,
    /// Receive window.
    pub window: Be16,
    /// Ones' complement checksum of pseudo-header, header and payload.
    pub checksum: Be16,
    /// Urgent pointer.
    pub urgent: Be16,
}

/// A UDP header (RFC 768). Shape: 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Udp {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
    /// Length of header and payload in bytes.
    pub length: Be16,
    /// Checksum as of TCP; zero means none was made.
    pub checksum: Be16,
}

/// Length of an Ethernet header in bytes.
pub const ETHERNET_LEN: usize = size_of::<Ethernet>();
/// Length of an IPv4 header without options in bytes.
pub const IPV4_LEN: usize = size_of::<Ipv4>();
/// Length of a TCP header without options in bytes.
pub const TCP_LEN: usize = size_of::<Tcp>();
/// Length of a UDP header in bytes.
pub const UDP_LEN: usize = size_of::<Udp>();

const _: () = assert!(ETHERNET_LEN == 14);
const _: () = assert!(IPV4_LEN == 20);
const _: () = assert!(TCP_LEN == 20);
const _: () = assert!(UDP_LEN == 8);

impl Ipv4 {
    /// Header length in bytes as the header states it: 0 to 60.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        (self.version_ihl & 0x0f) as usize * 4
    }

    /// Whether the packet is a fragment, the first one included.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.flags_fragment.raw() & FRAGMENT_MASK.raw() != 0
    }
}

impl Tcp {
    /// Header length in bytes as the header states it: 0 to 60.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        (self.data_offset >> 4) as usize * 4
    }
}
