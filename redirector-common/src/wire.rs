//! Wire types: what lies in the kernel's tables, written by one side and read by the other.
//!
//! Rules: every value that is changed while packets flow is made of aligned 8-byte words, each of
//! which means something by itself and is stored whole; whatever takes more than one word is
//! written while nothing refers to it. So no reader ever sees a mixture (G1, G5).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::headers::{Mac, Station};
use crate::order::{joined, parted};

mod device;
mod gateway;
mod recent_syn;
mod server_count;

pub use device::{DEVICE_AFFINITY, DEVICE_STATELESS, DeviceLine, Forwarding};
pub use gateway::{
    CONTROL_ANSWER_MAX, CONTROL_BANK, CONTROL_EDITION, CONTROL_GUE_PORT, CONTROL_LEN,
    CONTROL_LOCAL_PORTS, CONTROL_OPEN_MAX, CONTROL_TUNNEL_V4, CONTROL_TUNNEL_V6, INTERFACE_WORDS,
    INTERFACES_LEN, InterfaceLine, LOCALS_LEN, LOCALS_PER_FAMILY, LocalPorts, MARK_LOCAL,
    MARK_ORIGIN, MARK_SERVICE, MARK_TRACKED, MARKS_LEN, Tags, VlanKey, mark_place,
};
pub use recent_syn::{RECENT_SYN_LEN_MAX, RecentSyn, SYNS_LEN};
pub use server_count::ServerCount;

/// Version of the tables' layout. Pinned tables of another version are never reused: raise it with
/// every change to this module, `keys.rs`, `flow.rs` or the list of reasons.
pub const ABI_VERSION: u32 = 5;

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

    /// The way through interface `ifindex` to an address as it lies in a header.
    #[inline(always)]
    pub const fn to_station(station: Station, ifindex: u16) -> Self {
        let [a, b, c] = station.0;
        Self(joined([a, b, c, ifindex]))
    }

    /// The Ethernet address as it lies in a header.
    #[inline(always)]
    pub const fn station(self) -> Station {
        let [a, b, c, _] = parted(self.0);
        Station([a, b, c])
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

/// Counters of a device. Shape: 48 bytes; one per CPU.
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
    /// Requests of clients, as [`request`](crate::request) tells them.
    pub requests: u64,
}

const _: () = assert!(size_of::<DeviceCount>() == 48);

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
            let station: Station = zerocopy::transmute!(mac);
            prop_assert_eq!((hop.station(), Hop::to_station(station, ifindex)), (station, hop));
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
