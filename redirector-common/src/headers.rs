//! Protocol headers as they lie in a frame. Only layout and field access; no judgement of content.
//!
//! Alignment is 2: a frame begins at an even address (the XDP headroom is 256 bytes), and every
//! header has an even length (Ethernet 14, VLAN tag 4, IPv4 a multiple of 4, IPv6 40, extension
//! headers a multiple of 8).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::order::{Be16, Be32, Be128};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// EtherType of IPv4 (RFC 894).
pub const ETHER_TYPE_IPV4: Be16 = Be16::new(0x0800);
/// EtherType of IPv6 (RFC 2464).
pub const ETHER_TYPE_IPV6: Be16 = Be16::new(0x86dd);
/// EtherType of a VLAN tag (IEEE 802.1Q).
pub const ETHER_TYPE_VLAN: Be16 = Be16::new(0x8100);
/// EtherType of the outer one of two tags (IEEE 802.1ad).
pub const ETHER_TYPE_QINQ: Be16 = Be16::new(0x88a8);
/// Protocol number of ICMP (RFC 792).
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of ICMPv6 (RFC 4443).
pub const PROTOCOL_ICMPV6: u8 = 58;
/// Protocol number of IPv4 inside IP (RFC 2003).
pub const PROTOCOL_IPV4: u8 = 4;
/// Protocol number of IPv6 inside IP (RFC 4213).
pub const PROTOCOL_IPV6: u8 = 41;
/// Protocol number of TCP (RFC 9293).
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP (RFC 768).
pub const PROTOCOL_UDP: u8 = 17;

/// An Ethernet address as it lies in a header: in words, because byte for byte it takes twice as
/// long to read and to write. Shape: 6 bytes, alignment 2.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Station(pub [u16; 3]);

/// An Ethernet header. Shape: 14 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Ethernet {
    /// Destination address.
    pub destination: Station,
    /// Source address.
    pub source: Station,
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

/// `flags_fragment` with only "don't fragment".
pub const DONT_FRAGMENT: Be16 = Be16::new(0x4000);
/// `flags_fragment` with only "more fragments".
pub const MORE_FRAGMENTS: Be16 = Be16::new(0x2000);
/// The offset in `flags_fragment`.
pub const FRAGMENT_OFFSET: Be16 = Be16::new(0x1fff);

/// An IPv6 header (RFC 8200). Shape: 40 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Ipv6 {
    /// Version in the upper four bits, then traffic class (8 bits) and flow label (20 bits).
    pub version_class_label: Be32,
    /// Length of what follows this header, in bytes.
    pub payload_length: Be16,
    /// What follows.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Source address.
    pub source: Be128,
    /// Destination address.
    pub destination: Be128,
}

/// The beginning of an IPv6 extension header (RFC 8200). Shape: 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Extension {
    /// What follows.
    pub next_header: u8,
    /// Length in units of 8 bytes, the first not counted.
    pub length: u8,
    /// Of a routing header, its type.
    pub kind: u8,
    /// Of a routing header, how many destinations are left.
    pub segments_left: u8,
}

/// An IPv6 fragment header (RFC 8200). Shape: 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Fragment6 {
    /// What follows.
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// Offset in units of 8 bytes in the upper thirteen bits, "more fragments" in the lowest.
    pub offset_more: Be16,
    /// Identification.
    pub identification: Be32,
}

/// A VLAN tag behind its EtherType (IEEE 802.1Q). Shape: 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct VlanTag {
    /// Priority (3 bits), drop eligibility (1 bit), VLAN (12 bits).
    pub control: Be16,
    /// What follows.
    pub ether_type: Be16,
}

/// An ICMP or ICMPv6 header (RFC 792, RFC 4443). Shape: 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Ones' complement checksum; of ICMPv6 with a pseudo-header.
    pub checksum: Be16,
    /// What the type makes of it: identifier and sequence number, or the MTU.
    pub rest: Be32,
}

/// The ports, with which TCP and UDP begin alike. Shape: 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(2))]
pub struct Ports {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
}

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
/// Length of an IPv6 header in bytes.
pub const IPV6_LEN: usize = size_of::<Ipv6>();
/// Length of a VLAN tag in bytes.
pub const VLAN_LEN: usize = size_of::<VlanTag>();
/// Length of an ICMP header in bytes.
pub const ICMP_LEN: usize = size_of::<Icmp>();
/// Length of a TCP header without options in bytes.
pub const TCP_LEN: usize = size_of::<Tcp>();
/// Length of a UDP header in bytes.
pub const UDP_LEN: usize = size_of::<Udp>();

const _: () = assert!(ETHERNET_LEN == 14);
const _: () = assert!(IPV4_LEN == 20);
const _: () = assert!(IPV6_LEN == 40);
const _: () = assert!(VLAN_LEN == 4);
const _: () = assert!(ICMP_LEN == 8);
const _: () = assert!(size_of::<Fragment6>() == 8);
const _: () = assert!(TCP_LEN == 20);
const _: () = assert!(UDP_LEN == 8);

impl Ipv4 {
    /// Header length in bytes as the header states it: 0 to 60.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        (self.version_ihl & 0x0f) as usize * 4
    }
}

impl Tcp {
    /// Header length in bytes as the header states it: 0 to 60.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        (self.data_offset >> 4) as usize * 4
    }
}
