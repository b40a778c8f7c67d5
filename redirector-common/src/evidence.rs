//! What packets say of their server, counted beside its traffic: whether it is asked and whether it
//! answers. A daemon that reads this often notices a busy server's death before its checks do.
//!
//! A packet of an established flow costs some comparisons and an addition more than being counted
//! alone, in the line that is counted in anyway.

use crate::family::Family;
use crate::packet::Packet;
use crate::tcp::{FIN, RST, SYN};
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::ServerCount;

/// Notes a packet that `verdict` carries to or from the server of `counts`.
#[inline(always)]
pub fn note<F: Family>(counts: &mut ServerCount, packet: &Packet<F>, verdict: &Verdict<F>) {
    if packet.has(SYN | FIN | RST) || packet.is_error() {
        return note_rare(counts, packet, verdict);
    }
    if packet.segment.next == packet.segment.sequence {
        return;
    }
    match verdict.action {
        Action::ToServer => counts.waiting += 1,
        Action::ToClient => answered(counts),
        _ => {}
    }
}

#[inline(always)]
fn answered(counts: &mut ServerCount) {
    counts.waiting = 0;
    counts.answered += 1;
}

#[inline(always)]
fn note_rare<F: Family>(counts: &mut ServerCount, packet: &Packet<F>, verdict: &Verdict<F>) {
    match verdict.action {
        Action::ToServer if packet.opens() => counts.opened += 1,
        Action::ToClient if matches!(verdict.reason, Reason::ErrorReturned) => {
            counts.unreachable += 1;
        }
        // A server whose programs hang still shakes hands: its kernel does.
        Action::ToClient if packet.has(FIN) => answered(counts),
        // A proven flow is broken by its own server for reasons of its own.
        Action::ToClient if packet.has(RST) => counts.refused += u64::from(!verdict.lasting),
        Action::ToClient if packet.has(SYN) => counts.accepted += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::V4;
    use crate::packet::Kind;
    use crate::tcp::ACK;

    fn after(packets: &[(Action, u8, u32)]) -> ServerCount {
        let mut counts = ServerCount::default();
        for (action, flags, payload_len) in packets {
            let mut packet = Packet::<V4>::nothing();
            packet.kind = Kind::Segment;
            packet.segment.flags = *flags;
            let numbered = u32::from(flags & (SYN | FIN) != 0);
            packet.segment.next = payload_len + numbered;
            let mut verdict = Verdict::<V4>::undecided();
            verdict.set(*action, Reason::Established);
            note(&mut counts, &packet, &verdict);
        }
        counts
    }

    const TO: Action = Action::ToServer;
    const FROM: Action = Action::ToClient;

    #[test]
    fn a_question_waits_until_the_server_says_something() {
        assert_eq!(after(&[(TO, ACK, 28)]).waiting, 1);
        assert_eq!(after(&[(TO, ACK, 28), (TO, ACK, 28), (FROM, ACK, 0)]).waiting, 2);
        let answered = after(&[(TO, ACK, 28), (FROM, ACK, 16), (TO, ACK, 0)]);
        assert_eq!((answered.waiting, answered.answered), (0, 1));
    }

    #[test]
    fn a_handshake_answers_no_question_and_a_farewell_with_data_does() {
        let shaken = [(TO, ACK, 28), (TO, SYN, 0), (TO, SYN, 0), (FROM, SYN | ACK, 0)];
        let counts = after(&shaken);
        assert_eq!((counts.opened, counts.accepted, counts.waiting), (2, 1, 1));
        assert_eq!(after(&[(TO, ACK, 28), (FROM, FIN | ACK, 16)]).waiting, 0);
        assert_eq!(after(&[(TO, FIN | ACK, 0)]).waiting, 0, "who leaves wants nothing more");
        let refused = after(&[(TO, SYN, 0), (FROM, RST | ACK, 0)]);
        assert_eq!((refused.refused, refused.accepted), (1, 0));
    }

    #[test]
    fn servers_that_answer_by_themselves_are_never_waited_for() {
        for action in [Action::Direct, Action::Tunnel] {
            assert_eq!(after(&[(action, SYN, 0), (action, ACK, 28)]), ServerCount::default());
        }
    }

    #[test]
    fn an_error_about_a_packet_counts_against_its_server() {
        let mut counts = ServerCount::default();
        let mut packet = Packet::<V4>::nothing();
        packet.kind = Kind::Error;
        let mut verdict = Verdict::<V4>::undecided();
        verdict.set(FROM, Reason::ErrorReturned);
        note(&mut counts, &packet, &verdict);
        assert_eq!((counts.unreachable, counts.answered), (1, 0));
    }
}
