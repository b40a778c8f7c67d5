//! A packet as a small value: what the decision needs to know, copied out of the frame.

use crate::family::Family;
use crate::order::Be16;
use crate::parse::Network;
use crate::tcp::Segment;
use crate::wire::Hop;

/// What a packet is to the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A TCP segment.
    Segment,
    /// A UDP datagram.
    Datagram,
    /// A packet of another protocol, known by its addresses only.
    Other,
    /// A fragment that is not the first one of its packet.
    LaterFragment,
    /// An ICMP error. Source and destination are those that an answer to the quoted packet would
    /// have, so that the error goes where such an answer would go.
    Error,
    /// An ICMP echo request.
    Echo,
}

/// Where in the frame things lie, in bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layout {
    /// The network header.
    pub network: u16,
    /// The transport header.
    pub transport: u16,
    /// The end of the packet; what follows is padding.
    pub end: u16,
    /// The network header that an ICMP error quotes.
    pub quoted_network: u16,
    /// The transport header that an ICMP error quotes.
    pub quoted_transport: u16,
}

/// Length of the Ethernet header and tags can be at most so much, options and extension headers at
/// most so much more: every header begins below this, which the kernel's verifier needs to hear.
pub const OFFSET_MASK: usize = 0x1ff;
/// The transport header begins at most here, so that it and its options lie below the mask also
/// behind a tag and a tunnel's headers that are put in front: 60 bytes and 56.
pub const TRANSPORT_MAX: usize = OFFSET_MASK - 116;

/// What the decision needs to know of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<F: Family> {
    /// Source and destination, ports and protocol.
    pub tuple: F::Tuple,
    /// The network header.
    pub ip: Network<F>,
    /// What it is.
    pub kind: Kind,
    /// Whether it is the first one of several fragments.
    pub first_fragment: bool,
    /// Protocol number of what is translated: of an error, that of the packet it quotes.
    pub protocol: u8,
    /// TCP facts; all zero for what is not TCP.
    pub segment: Segment,
    /// The Ethernet source address and the interface it came in by: the way back.
    pub arrival: Hop,
    /// Where things lie.
    pub layout: Layout,
}

impl<F: Family> Packet<F> {
    /// A place for a packet.
    #[inline(always)]
    pub fn nothing() -> Self {
        let nowhere = F::endpoint(F::Address::default(), Be16::default(), 0);
        Self {
            tuple: F::tuple(nowhere, nowhere),
            ip: Network::nothing(),
            kind: Kind::Other,
            first_fragment: false,
            protocol: 0,
            segment: Segment::default(),
            arrival: Hop::UNKNOWN,
            layout: Layout::default(),
        }
    }

    /// Where it comes from.
    #[inline(always)]
    pub fn source(&self) -> F::Endpoint {
        F::source(&self.tuple)
    }

    /// Where it goes to.
    #[inline(always)]
    pub fn destination(&self) -> F::Endpoint {
        F::destination(&self.tuple)
    }

    /// Address that it comes from.
    #[inline(always)]
    pub fn source_address(&self) -> F::Address {
        F::parts(&self.source()).0
    }

    /// Address that it goes to.
    #[inline(always)]
    pub fn destination_address(&self) -> F::Address {
        F::parts(&self.destination()).0
    }

    /// Port that it comes from.
    #[inline(always)]
    pub fn source_port(&self) -> Be16 {
        F::parts(&self.source()).1
    }

    /// Port that it goes to.
    #[inline(always)]
    pub fn destination_port(&self) -> Be16 {
        F::parts(&self.destination()).1
    }

    /// Whether a hop is left for sending it on.
    #[inline(always)]
    pub fn may_travel(&self) -> bool {
        self.ip.hops > 1
    }

    /// Whether a TCP conversation is opened: always a new decision (G3).
    #[inline(always)]
    pub fn opens(&self) -> bool {
        self.segment.opens()
    }

    /// Whether one of the TCP flags is set; false for what is not TCP.
    #[inline(always)]
    pub fn has(&self, flags: u8) -> bool {
        self.segment.has(flags)
    }

    /// Whether this is TCP.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        matches!(self.kind, Kind::Segment)
    }

    /// Whether this is an ICMP error about a packet.
    #[inline(always)]
    pub fn is_error(&self) -> bool {
        matches!(self.kind, Kind::Error)
    }

    /// Length of the packet from its network header on, in bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        usize::from(self.layout.end) - usize::from(self.layout.network)
    }

    /// Whether nothing is in it, which no parsed packet is.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
