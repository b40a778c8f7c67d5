//! What the program knows of the gateway itself.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Hop, IFINDEX_MAX};

/// Word of the control table: which bank of associations is in force, 0 or 1. Written by the
/// daemon.
pub const CONTROL_BANK: u32 = 0;
/// Word of the control table: source address of IPv4 tunnels, as it lies in a header. Written by
/// the daemon at start, as the words below.
pub const CONTROL_TUNNEL_V4: u32 = 1;
/// Two words of the control table: source address of IPv6 tunnels, as it lies in a header.
pub const CONTROL_TUNNEL_V6: u32 = 2;
/// Word of the control table: UDP port of GUE tunnels, as it lies in a header.
pub const CONTROL_GUE_PORT: u32 = 4;
/// Word of the control table: entries that each CPU may make for flows never seen before, in one
/// window of time (see [`crate::flow::WINDOW_SHIFT`]).
pub const CONTROL_OPEN_MAX: u32 = 5;
/// Word of the control table: packets that each CPU may answer itself (RST, ICMP errors) in one
/// window of time.
pub const CONTROL_ANSWER_MAX: u32 = 6;
/// Word of the control table: a [`LocalPorts`].
pub const CONTROL_LOCAL_PORTS: u32 = 7;
/// Word of the control table: edition of the tables of service addresses and servers' endpoints,
/// which grows with each change of them. Written by the daemon.
pub const CONTROL_EDITION: u32 = 8;
/// Words in the control table.
pub const CONTROL_LEN: u32 = 16;

/// Local addresses of each family at most.
pub const LOCALS_PER_FAMILY: u32 = 64;
/// Lines of the table of local addresses: IPv4, then IPv6.
pub const LOCALS_LEN: u32 = 2 * LOCALS_PER_FAMILY;

/// Words of the table of marks: 16,384 places of four bits.
pub const MARKS_LEN: u32 = 1024;
/// The address is a service address.
pub const MARK_SERVICE: u32 = 1;
/// The address is a server's.
pub const MARK_ORIGIN: u32 = 2;
/// A device of this service address, or on this server, is tracked.
pub const MARK_TRACKED: u32 = 4;
/// The address is a local one of full NAT.
pub const MARK_LOCAL: u32 = 8;

/// The place of an address in the table of marks: word, and how far up in it.
///
/// Several addresses may share a place. What is marked there may concern the address; what is not
/// cannot.
#[inline(always)]
pub fn mark_place(folded: u32) -> (u32, u32) {
    let slot = folded.wrapping_mul(0x9e37_79b1) >> 18;
    (slot >> 4, (slot & 15) * 4)
}

/// Entries of the interface table: one word for each possible interface index.
pub const INTERFACES_LEN: u32 = IFINDEX_MAX + 1;

/// VLAN tags of a frame: none, one or two. Shape: bits 0-11 the inner or only VLAN, 12-23 the outer
/// one, 24-25 how many.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Tags(pub u32);

impl Tags {
    /// No tag.
    pub const NONE: Self = Self(0);

    /// One tag, by its control word or its VLAN, host order.
    #[inline(always)]
    pub const fn one(control: u16) -> Self {
        Self((control & 0xfff) as u32 | 1 << 24)
    }

    /// Two tags, likewise.
    #[inline(always)]
    pub const fn two(outer: u16, inner: u16) -> Self {
        Self((inner & 0xfff) as u32 | ((outer & 0xfff) as u32) << 12 | 2 << 24)
    }

    /// How many.
    #[inline(always)]
    pub const fn count(self) -> usize {
        (self.0 >> 24 & 3) as usize
    }

    /// The inner or only VLAN.
    #[inline(always)]
    pub const fn inner(self) -> u16 {
        (self.0 & 0xfff) as u16
    }

    /// The outer VLAN of two.
    #[inline(always)]
    pub const fn outer(self) -> u16 {
        (self.0 >> 12 & 0xfff) as u16
    }
}

/// What a tagged frame came in by: key of the VLAN table. Shape: 8 bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct VlanKey {
    /// Index of the interface that the program is attached to.
    pub ifindex: u32,
    /// The tags.
    pub tags: u32,
}

/// One line of the interface table: what is needed to send by an interface. Shape: 64 bytes.
///
/// Of an interface with VLAN tags, the index is its own, and frames leave by the one that carries
/// it. Written by the daemon while no hop names it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct InterfaceLine {
    /// Our own Ethernet address, and the interface that frames leave by; unknown where the program
    /// is not attached.
    pub own: Hop,
    /// Tags of its frames.
    pub tags: Tags,
    /// Longest packet that it takes, network header included, in bytes; zero for not known.
    pub mtu: u32,
    /// Our IPv6 address there, in network order; zero for none.
    pub address_v6: [u8; 16],
    /// Our IPv4 address there, in network order; zero for none.
    pub address_v4: [u8; 4],
    /// Zero.
    pub pad: [u8; 28],
}

/// Words in an interface's line.
pub const INTERFACE_WORDS: usize = 8;

const _: () = assert!(size_of::<InterfaceLine>() == INTERFACE_WORDS * 8);

/// The ports of full NAT and the numbers of local addresses, in one word.
///
/// Shape: bits 0-15 first port, 16-31 last port, 32-47 number of IPv4 addresses, 48-63 of IPv6
/// addresses; host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalPorts(pub u64);

impl LocalPorts {
    /// Puts the parts into a word.
    #[inline(always)]
    pub const fn new(first: u16, last: u16, v4_len: u16, v6_len: u16) -> Self {
        Self(first as u64 | (last as u64) << 16 | (v4_len as u64) << 32 | (v6_len as u64) << 48)
    }

    /// First port.
    #[inline(always)]
    pub const fn first(self) -> u16 {
        self.0 as u16
    }

    /// Last port.
    #[inline(always)]
    pub const fn last(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Number of IPv4 addresses.
    #[inline(always)]
    pub const fn v4_len(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// Number of IPv6 addresses.
    #[inline(always)]
    pub const fn v6_len(self) -> u16 {
        (self.0 >> 48) as u16
    }
}
