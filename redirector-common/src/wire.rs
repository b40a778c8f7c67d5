//! Wire types: what lies in the kernel's tables, written by one side and read by the other.
//!
//! Rules: every value that is changed while packets flow is made of aligned 8-byte words, each of
//! which means something by itself and is stored whole; whatever takes more than one word is
//! written while nothing refers to it. So no reader ever sees a mixture (G1, G5).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::headers::Mac;
use crate::order::Be16;

/// Version of the tables' layout. Pinned tables of another version are never reused: raise it with
/// every change to this file, `family.rs` keys, `flow.rs` or the list of reasons.
pub const ABI_VERSION: u32 = 2;

/// Index of the device in the association table; `DEVICE_NONE` for no device.
pub const DEVICE_NONE: u32 = u32::MAX;
/// Server id that means no server.
pub const SERVER_NONE: u16 = 0;
/// Largest server id: ids have 12 bits in an association word.
pub const SERVER_ID_MAX: u16 = 4095;
/// Servers of a device, on average, for which the table of servers' endpoints has room.
pub const ORIGINS_PER_DEVICE: u32 = 64;
/// Largest interface index that a [`Hop`] can hold.
pub const IFINDEX_MAX: u32 = 65_535;

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

/// An association as the packet path reads it: one aligned 8-byte word, so a change is one store.
///
/// Shape: bits 0-11 server, 12-23 previous, 24-35 backup, 36-51 epoch, 52-59 epochs open, 60-63
/// zero.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Association(pub u64);

impl Association {
    /// An association that sends nothing anywhere.
    pub const NONE: Self = Self(0);

    /// Puts the parts into a word; ids above [`SERVER_ID_MAX`] lose their upper bits.
    #[inline(always)]
    pub const fn new(server: u16, previous: u16, backup: u16, epoch: u16, epochs_open: u8) -> Self {
        Self(
            (server & SERVER_ID_MAX) as u64
                | ((previous & SERVER_ID_MAX) as u64) << 12
                | ((backup & SERVER_ID_MAX) as u64) << 24
                | (epoch as u64) << 36
                | (epochs_open as u64) << 52,
        )
    }

    /// Server of new flows.
    #[inline(always)]
    pub const fn server(self) -> u16 {
        self.0 as u16 & SERVER_ID_MAX
    }

    /// Server of unknown mid-conversation packets while the device drains.
    #[inline(always)]
    pub const fn previous(self) -> u16 {
        (self.0 >> 12) as u16 & SERVER_ID_MAX
    }

    /// Server that takes over when `server` is dead.
    #[inline(always)]
    pub const fn backup(self) -> u16 {
        (self.0 >> 24) as u16 & SERVER_ID_MAX
    }

    /// Epoch given to new flows.
    #[inline(always)]
    pub const fn epoch(self) -> u16 {
        (self.0 >> 36) as u16
    }

    /// How many epochs before [`Self::epoch`] are still accepted.
    #[inline(always)]
    pub const fn epochs_open(self) -> u8 {
        (self.0 >> 52) as u8
    }

    /// Whether flows of `epoch` may go on.
    #[inline(always)]
    pub const fn accepts(self, epoch: u16) -> bool {
        self.epoch().wrapping_sub(epoch) <= self.epochs_open() as u16
    }
}

/// What the packet path may do with a server: one aligned 8-byte word.
///
/// Shape: bits 0-31 incarnation, 32-39 state (0 absent, 1 alive, 2 dead), rest zero.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct ServerWord(pub u64);

impl ServerWord {
    /// No such server.
    pub const ABSENT: Self = Self(0);

    /// A server that takes flows, in its `incarnation`th life.
    pub const fn alive(incarnation: u32) -> Self {
        Self(incarnation as u64 | 1 << 32)
    }

    /// A server that is dead.
    pub const fn dead(incarnation: u32) -> Self {
        Self(incarnation as u64 | 2 << 32)
    }

    /// Whether it takes flows.
    #[inline(always)]
    pub const fn is_alive(self) -> bool {
        (self.0 >> 32) as u8 == 1
    }

    /// Which life of the server this is.
    #[inline(always)]
    pub const fn incarnation(self) -> u32 {
        self.0 as u32
    }
}

/// Where a frame goes: Ethernet address and interface in one aligned 8-byte word; zero for unknown.
///
/// Shape: bytes 0-5 the address as in a header, bytes 6-7 the interface index, host order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Hop(pub u64);

impl Hop {
    /// Unknown: leave it to the kernel's stack.
    pub const UNKNOWN: Self = Self(0);

    /// The way through interface `ifindex` to `mac`.
    #[inline(always)]
    pub const fn new(mac: Mac, ifindex: u16) -> Self {
        let [a, b, c, d, e, f] = mac;
        let [g, h] = ifindex.to_ne_bytes();
        Self(u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The Ethernet address.
    #[inline(always)]
    pub const fn mac(self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.0.to_ne_bytes();
        [a, b, c, d, e, f]
    }

    /// The interface index.
    #[inline(always)]
    pub const fn ifindex(self) -> u16 {
        let [.., g, h] = self.0.to_ne_bytes();
        u16::from_ne_bytes([g, h])
    }

    /// Whether the way is known.
    #[inline(always)]
    pub const fn is_known(self) -> bool {
        self.0 != 0
    }
}

/// One line of the server table. Shape: 64 bytes, a cache line.
///
/// The two words are stored singly at any time; the address is written only while the state is
/// absent.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct ServerLine {
    /// What the packet path may do with the server.
    pub state: ServerWord,
    /// Where frames for it go; unknown while the neighbour is unresolved.
    pub next_hop: Hop,
    /// Address in network order; IPv4 in the first four bytes, the rest zero.
    pub address: [u8; 16],
    /// 4 or 6.
    pub family: u64,
    /// Zero.
    pub pad: [u64; 3],
}

/// Position of the family in a server line, in 8-byte words.
pub const SERVER_FAMILY_WORD: usize = 4;
/// Position of the state in a server line, in 8-byte words.
pub const SERVER_STATE_WORD: usize = 0;
/// Position of the next hop in a server line, in 8-byte words.
pub const SERVER_NEXT_HOP_WORD: usize = 1;
/// Position of the address in a server line, in 8-byte words.
pub const SERVER_ADDRESS_WORD: usize = 2;
/// Words in a server line.
pub const SERVER_WORDS: usize = 8;

const _: () = assert!(size_of::<ServerLine>() == SERVER_WORDS * 8);

/// How a client's packet gets to its server: numbers of [`DeviceLine::forwarding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Forwarding {
    /// Destination rewritten; the server's way back leads through the redirector.
    Nat = 0,
    /// Source rewritten too, to a local address and port: the server answers the redirector.
    FullNat = 1,
    /// Only the Ethernet address: the server owns the service address and answers by itself.
    Dsr = 2,
    /// Put into another IP packet (RFC 2003, RFC 4213, RFC 2473); the server answers by itself.
    Ipip = 3,
    /// Put into a UDP datagram (GUE variant 1); the server answers by itself.
    Gue = 4,
}

impl Forwarding {
    /// From its number; what is unknown is `Nat`.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::FullNat,
            2 => Self::Dsr,
            3 => Self::Ipip,
            4 => Self::Gue,
            _ => Self::Nat,
        }
    }

    /// Whether the servers answer by themselves, so that their packets are never seen here.
    #[inline(always)]
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::Dsr | Self::Ipip | Self::Gue)
    }
}

/// The device keeps no entries while it does not drain.
pub const DEVICE_STATELESS: u8 = 1;
/// All of a client's flows to the device stay together.
pub const DEVICE_AFFINITY: u8 = 2;

/// One line of the device table: what is read for new flows and on the way back. Shape: 64 bytes.
///
/// Written only while no service address and no origin names the device.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct DeviceLine {
    /// Service address in network order; IPv4 in the first four bytes, the rest zero.
    pub address: [u8; 16],
    /// First service port; zero for a device that is known by its address only.
    pub port: Be16,
    /// Last service port.
    pub port_last: Be16,
    /// Port at the servers of the first service port; the others follow it.
    pub server_port: Be16,
    /// Largest segment that SYNs may ask for, in bytes; zero for no limit.
    pub mss_max: Be16,
    /// Protocol number; zero for all protocols that have no device of their own.
    pub protocol: u8,
    /// A [`Forwarding`].
    pub forwarding: u8,
    /// `DEVICE_` bits.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 5],
    /// Zero.
    pub spare: [u64; 4],
}

const _: () = assert!(size_of::<DeviceLine>() == 64);

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

/// What a server's endpoint means on the way back. Shape: 8 bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Origin {
    /// Device served at this endpoint.
    pub device: u32,
    /// Server whose endpoint it is.
    pub server: u16,
    /// Zero.
    pub pad: u16,
}

/// Packets and bytes. Shape: 16 bytes; one per CPU, so plain additions are exact.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
}

/// Counters of a device. Shape: 40 bytes; one per CPU.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct DeviceCount {
    /// From clients.
    pub to_server: Count,
    /// From servers.
    pub to_client: Count,
    /// Flows opened, by their first packet.
    pub flows_opened: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_association_word_gives_back_its_parts(
            server in 0..=SERVER_ID_MAX, previous in 0..=SERVER_ID_MAX, backup in 0..=SERVER_ID_MAX,
            epoch: u16, open: u8,
        ) {
            let word = Association::new(server, previous, backup, epoch, open);
            prop_assert_eq!(word.server(), server);
            prop_assert_eq!(word.previous(), previous);
            prop_assert_eq!(word.backup(), backup);
            prop_assert_eq!(word.epoch(), epoch);
            prop_assert_eq!(word.epochs_open(), open);
            prop_assert_eq!(word.0 >> 60, 0);
        }

        #[test]
        fn a_hop_gives_back_its_parts(mac: [u8; 6], ifindex: u16) {
            let hop = Hop::new(mac, ifindex);
            prop_assert_eq!((hop.mac(), hop.ifindex()), (mac, ifindex));
        }
    }

    #[test]
    fn an_epoch_is_accepted_only_inside_the_open_span_also_across_the_wrap() {
        let word = Association::new(1, 2, 3, 1, 3);
        for open in [1, 0, u16::MAX, u16::MAX - 1] {
            assert!(word.accepts(open), "{open}");
        }
        for closed in [2, 3, u16::MAX - 2, 1000] {
            assert!(!word.accepts(closed), "{closed}");
        }
    }

    #[test]
    fn a_dead_server_and_an_absent_one_are_not_alive() {
        assert!(ServerWord::alive(7).is_alive());
        assert_eq!(ServerWord::alive(7).incarnation(), 7);
        assert!(!ServerWord::dead(7).is_alive());
        assert!(!ServerWord::ABSENT.is_alive());
    }
}
