//! What the flight recorder keeps of a packet that was decided on, and which packets these are.
//!
//! Each CPU has a ring for each [`Class`]: what is many at a time cannot push out what is not.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::family::Family;
use crate::packet::{Kind, Packet};
use crate::tcp::{FIN, RST, SYN, Segment};
use crate::verdict::{Action, Reason};

/// Most bytes of a frame that are kept: Ethernet with two tags, IPv6 and TCP with all options fit.
pub const RECORD_LEN_MAX: usize = 128;

/// A packet of which the recorder keeps the headers. Shape: 184 bytes.
///
/// Whole when `begin` and `end` are the same and not zero: the program clears `end` before it
/// writes anything and stores it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Record {
    /// Number of the record on its CPU and in its class, from 1 on.
    pub begin: u64,
    /// When it was decided on, in ns of the monotonic clock.
    pub at_ns: u64,
    /// Device concerned.
    pub device: u32,
    /// Interface that it came in by, or left by if it is kept as it left.
    pub ifindex: u32,
    /// Length of the whole frame, in bytes.
    pub frame_len: u32,
    /// Server concerned.
    pub server: u16,
    /// Bytes of `frame` that count.
    pub len: u16,
    /// Number of the [`Reason`].
    pub reason: u32,
    /// `RECORD_` bits.
    pub flags: u32,
    /// The server's incarnation for this flow; zero if it is not known.
    pub incarnation: u32,
    /// The device's epoch for this flow, if the incarnation is known.
    pub epoch: u16,
    /// Zero.
    pub pad: u16,
    /// The frame's headers.
    pub frame: [u8; RECORD_LEN_MAX],
    /// The same as `begin`, once all is written.
    pub end: u64,
}

const _: () = assert!(size_of::<Record>() == 56 + RECORD_LEN_MAX);

/// The frame is kept as it left; otherwise as it came in.
pub const RECORD_LEFT: u32 = 1;
/// The verdict lasts: the flow is proven.
pub const RECORD_LASTING: u32 = 2;

/// What the recorder of one CPU has done. Shape: 96 bytes. Program's own; the daemon reads it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct RecorderUse {
    /// By class.
    pub classes: [ClassUse; CLASSES_LEN as usize],
}

/// What it has done of one class. Shape: 32 bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct ClassUse {
    /// Packets recorded; those before the last ring's length are overwritten.
    pub recorded: u64,
    /// Packets left out, because more came in a window than are taken.
    pub left_out: u64,
    /// The window of time.
    pub window: u64,
    /// Recorded in it.
    pub used: u64,
}

/// How packets are told apart for recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Class {
    /// Resets, drops, answers, errors, flows that end by force.
    Trouble = 0,
    /// Packets that begin, prove or end flows.
    Turn = 1,
    /// Samples of all others.
    Plain = 2,
}

/// How many classes there are.
pub const CLASSES_LEN: u32 = 3;

/// Share of a ring that one window of time may fill, as a shift: a sixteenth, so that a ring holds
/// the last second of a flood and much more of anything else.
pub const WINDOW_SHARE_SHIFT: u32 = 4;

/// The class of a packet that is always recorded; `None` for one that is a sample at most, or that
/// passes to the kernel, because that is nobody's business here.
#[inline(always)]
pub fn class(action: Action, reason: Reason, segment: &Segment) -> Option<Class> {
    if matches!(action, Action::Pass) {
        return None;
    }
    match reason {
        Reason::Opened
        | Reason::Affine
        | Reason::Candidate
        | Reason::Proven
        | Reason::Adopted
        | Reason::FlowsFull => Some(Class::Turn),
        Reason::Unrecorded | Reason::FragmentForwarded | Reason::FragmentReturned => None,
        Reason::Established | Reason::Returned | Reason::Stateless | Reason::ReturnedUntracked => {
            match segment {
                segment if segment.has(RST) => Some(Class::Trouble),
                segment if segment.has(SYN | FIN) => Some(Class::Turn),
                _ => None,
            }
        }
        _ => Some(Class::Trouble),
    }
}

/// Bytes of a frame that are headers: what is recorded of it at most, never its payload.
#[inline(always)]
pub fn headers_len<F: Family>(packet: &Packet<F>) -> u16 {
    let layout = &packet.layout;
    match packet.kind {
        Kind::Segment => layout.end.saturating_sub(payload_len(&packet.segment)),
        // ICMP, the quoted network header, and the eight bytes that every error quotes.
        Kind::Error => layout.end.min(layout.quoted_transport.saturating_add(PORTS_LEN)),
        Kind::Datagram | Kind::Echo => layout.end.min(layout.transport.saturating_add(PORTS_LEN)),
        Kind::Other | Kind::LaterFragment => layout.end.min(layout.transport),
    }
}

/// Length of the UDP and of the ICMP header, and of what an error quotes of a transport header.
const PORTS_LEN: u16 = 8;

/// Bytes of payload of a segment: what its sequence numbers go on by, but for SYN and FIN.
#[inline(always)]
pub fn payload_len(segment: &Segment) -> u16 {
    let numbers = u32::from(segment.has(SYN)) + u32::from(segment.has(FIN));
    segment.next.wrapping_sub(segment.sequence).wrapping_sub(numbers) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::V4;
    use crate::packet::Layout;
    use crate::tcp::ACK;

    fn packet(kind: Kind, segment: Segment) -> Packet<V4> {
        let layout = Layout {
            network: 14,
            transport: 34,
            end: 166,
            quoted_network: 42,
            quoted_transport: 62,
        };
        Packet { kind, segment, layout, ..Packet::nothing() }
    }

    #[test]
    fn no_payload_is_a_header() {
        let data = Segment { flags: ACK, sequence: u32::MAX, next: 99, ..Segment::default() };
        assert_eq!(headers_len(&packet(Kind::Segment, data)), 66);
        let last = Segment { flags: ACK | FIN, sequence: 7, next: 108, ..Segment::default() };
        assert_eq!(headers_len(&packet(Kind::Segment, last)), 66);
        let none = Segment::default();
        assert_eq!(headers_len(&packet(Kind::Datagram, none)), 42);
        assert_eq!(headers_len(&packet(Kind::Echo, none)), 42);
        assert_eq!(headers_len(&packet(Kind::LaterFragment, none)), 34);
        assert_eq!(headers_len(&packet(Kind::Error, none)), 70);
    }

    #[test]
    fn plain_packets_are_samples_and_what_passes_is_not_looked_at() {
        let data = Segment { flags: ACK, next: 1, ..Segment::default() };
        let reset = Segment { flags: RST, ..Segment::default() };
        let of = |action, reason, segment: &Segment| class(action, reason, segment);
        assert_eq!(of(Action::ToServer, Reason::Established, &data), None);
        assert_eq!(of(Action::ToClient, Reason::Returned, &reset), Some(Class::Trouble));
        assert_eq!(of(Action::ToServer, Reason::Opened, &data), Some(Class::Turn));
        assert_eq!(of(Action::Reset, Reason::ResetDead, &data), Some(Class::Trouble));
        for reason in Reason::ALL {
            assert_eq!(of(Action::Pass, *reason, &reset), None, "{}", reason.name());
        }
    }
}
