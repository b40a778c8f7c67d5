//! A packet as a small value: what the decision needs to know, copied out of the frame.

use crate::family::Family;
use crate::tcp::Segment;
use crate::wire::Hop;

/// What the decision needs to know of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<F: Family> {
    /// Where it comes from.
    pub source: F::Endpoint,
    /// Where it goes to.
    pub destination: F::Endpoint,
    /// TCP facts; None for UDP.
    pub segment: Option<Segment>,
    /// Hops left.
    pub ttl: u8,
    /// The Ethernet source address and the interface it came in by: the way back.
    pub arrival: Hop,
}

impl<F: Family> Packet<F> {
    /// Whether a TCP conversation is opened: always a new decision (G3).
    #[inline(always)]
    pub fn opens(&self) -> bool {
        matches!(&self.segment, Some(segment) if segment.opens())
    }

    /// Whether one of the TCP flags is set; false for UDP.
    #[inline(always)]
    pub fn has(&self, flags: u8) -> bool {
        matches!(&self.segment, Some(segment) if segment.has(flags))
    }

    /// Whether this is TCP.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.segment.is_some()
    }
}
