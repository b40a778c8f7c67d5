//! A device's line: what is read for new flows and on the way back.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::order::Be16;

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
