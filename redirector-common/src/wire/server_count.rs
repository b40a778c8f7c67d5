//! What is counted of a server: its traffic, and what speaks for and against it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Count;

/// Counters of a server. Shape: 64 bytes; one per CPU, so plain additions are exact.
///
/// What is said of answers is about TCP whose way back leads through the redirector; all of it
/// stays zero where servers answer by themselves.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct ServerCount {
    /// Packets and bytes, both directions.
    pub carried: Count,
    /// Segments to the server that want something (they have payload), since this CPU last saw one
    /// from it that says something. The only one that does not grow for ever.
    pub waiting: u64,
    /// Segments from the server that say something: payload or FIN.
    pub answered: u64,
    /// SYNs to the server.
    pub opened: u64,
    /// Its answers to SYNs with SYN.
    pub accepted: u64,
    /// Its RSTs to flows that are not proven.
    pub refused: u64,
    /// ICMP errors about packets to it, from whomever.
    pub unreachable: u64,
}

const _: () = assert!(size_of::<ServerCount>() == 64);
