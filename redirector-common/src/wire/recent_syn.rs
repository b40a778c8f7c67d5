//! A SYN that has begun a new flow, kept for a while: if its server dies without an answer, it is
//! sent to the survivor.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A frame with a SYN as it came in. Shape: 144 bytes; one ring of [`SYNS_LEN`] per CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct RecentSyn {
    /// When it came, in ns of the monotonic clock's last tick.
    pub at_ns: u64,
    /// Interface that it came in by.
    pub ifindex: u32,
    /// Length of the frame without padding; zero while the place is empty or being written.
    pub len: u16,
    /// Server that it was sent to.
    pub server: u16,
    /// Its beginning.
    pub frame: [u8; RECENT_SYN_LEN_MAX],
}

/// Longest frame that is kept: Ethernet with two tags, IPv6 and TCP with all options fit.
pub const RECENT_SYN_LEN_MAX: usize = 128;
/// Frames that each CPU keeps; a power of two. At a thousand new flows a second and CPU that is a
/// second's.
pub const SYNS_LEN: u32 = 1024;

const _: () =
    assert!(size_of::<RecentSyn>() == 16 + RECENT_SYN_LEN_MAX && SYNS_LEN.is_power_of_two());
