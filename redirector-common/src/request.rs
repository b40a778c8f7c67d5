//! What clients ask their servers for, as far as packets tell: requests, counted per device.
//!
//! A request is what a client ends by pushing: a segment with payload and PSH. Where there is no
//! such flag, each datagram is one. The client's packets alone say it, so that it is counted with
//! every way of forwarding.
//!
//! TCP does not say where a request ends, so this is a figure to compare a device with itself by,
//! and no number of commands. Requests that are written at once count as one, a request that is
//! written in pieces as several, and what is sent again once more. Linux also pushes where a burst
//! of its own ends (`__tcp_transmit_skb`), so that a large write counts as several.

use crate::record::payload_len;
use crate::tcp::{PSH, RST, Segment};
use crate::verdict::{Account, Action, Reason};

/// Whether a packet ends a request: one that was carried to a server, by its TCP facts (all zero
/// for what is not TCP).
#[inline(always)]
pub fn ends(account: &Account, segment: &Segment) -> bool {
    if !matches!(account.action, Action::ToServer | Action::Direct | Action::Tunnel) {
        return false;
    }
    if segment.flags != 0 {
        return segment.flags & (PSH | RST) == PSH && payload_len(segment) != 0;
    }
    // The first fragment of a datagram stands for all of it, and an error asks for nothing.
    !matches!(account.reason, Reason::FragmentForwarded | Reason::ErrorForwarded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::{ACK, FIN, SYN};

    const CARRIED: [Action; 3] = [Action::ToServer, Action::Direct, Action::Tunnel];

    fn is_one(action: Action, reason: Reason, segment: &Segment) -> bool {
        ends(&Account::of_nobody(action, reason), segment)
    }

    /// A segment of an established flow with so much payload.
    fn segment(flags: u8, payload_len: u32) -> Segment {
        let numbered = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        // Its numbers wrap.
        let sequence = u32::MAX;
        let next = sequence.wrapping_add(payload_len + numbered);
        Segment { flags, sequence, next, acknowledgement: 7 }
    }

    #[test]
    fn a_segment_with_payload_and_psh_ends_a_request_however_it_is_forwarded() {
        for action in CARRIED {
            for flags in [ACK | PSH, ACK | PSH | FIN] {
                for payload_len in [1, 1460, 65_000] {
                    let pushed = segment(flags, payload_len);
                    assert!(is_one(action, Reason::Established, &pushed), "{action:?} {pushed:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_pushed_or_has_no_payload_ends_none() {
        let parts = [(ACK, 1460), (ACK, 0), (ACK | FIN, 100), (SYN, 0), (RST, 0)];
        let empty = [(ACK | PSH, 0), (ACK | PSH | FIN, 0), (SYN | PSH, 0), (RST | ACK | PSH, 5)];
        for (flags, payload_len) in parts.into_iter().chain(empty) {
            let one = segment(flags, payload_len);
            assert!(!is_one(Action::ToServer, Reason::Established, &one), "{one:?}");
        }
    }

    #[test]
    fn a_datagram_is_a_request_but_for_its_later_fragments_and_errors_about_answers() {
        let none = Segment::default();
        for action in CARRIED {
            for reason in [Reason::Opened, Reason::Established, Reason::Stateless] {
                assert!(is_one(action, reason, &none), "{action:?} {}", reason.name());
            }
            for reason in [Reason::FragmentForwarded, Reason::ErrorForwarded] {
                assert!(!is_one(action, reason, &none), "{action:?} {}", reason.name());
            }
        }
    }

    #[test]
    fn what_goes_to_the_client_or_no_further_is_no_request() {
        use Action::{Drop, Echo, Pass, Reset, ToClient, Unreachable};
        for action in [ToClient, Pass, Drop, Reset, Echo, Unreachable] {
            for one in [segment(ACK | PSH, 100), Segment::default()] {
                assert!(!is_one(action, Reason::Returned, &one), "{action:?} {one:?}");
            }
        }
    }
}
