//! What packets say of their server, counted beside its traffic: whether it is asked and whether it
//! answers. A daemon that reads this often notices a busy server's death before its checks do.
//!
//! A packet of an established flow costs some comparisons and an addition more than being counted
//! alone, in the line that is counted in anyway.

use crate::tcp::{FIN, RST, SYN, Segment};
use crate::verdict::{Account, Action, Reason};
use crate::wire::ServerCount;

/// Notes a packet that was carried to or from the server of `counts`: its TCP facts, and whether
/// its verdict lasts, which is to say that it belongs to a proven flow.
#[inline(always)]
pub fn note(counts: &mut ServerCount, account: &Account, segment: &Segment, lasting: bool) {
    if segment.has(SYN | FIN | RST) || matches!(account.reason, Reason::ErrorReturned) {
        return note_rare(counts, account, segment, lasting);
    }
    if segment.next == segment.sequence {
        return;
    }
    match account.action {
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
fn note_rare(counts: &mut ServerCount, account: &Account, segment: &Segment, lasting: bool) {
    match account.action {
        Action::ToServer if segment.opens() => counts.opened += 1,
        Action::ToClient if matches!(account.reason, Reason::ErrorReturned) => {
            counts.unreachable += 1;
        }
        // A server whose programs hang still shakes hands: its kernel does.
        Action::ToClient if segment.has(FIN) => answered(counts),
        // A proven flow is broken by its own server for reasons of its own.
        Action::ToClient if segment.has(RST) => counts.refused += u64::from(!lasting),
        Action::ToClient if segment.has(SYN) => counts.accepted += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::ACK;

    fn after(packets: &[(Action, u8, u32)]) -> ServerCount {
        let mut counts = ServerCount::default();
        for (action, flags, payload_len) in packets {
            let numbered = u32::from(flags & (SYN | FIN) != 0);
            let next = payload_len + numbered;
            let segment = Segment { flags: *flags, next, ..Segment::default() };
            let account = Account::of_nobody(*action, Reason::Established);
            note(&mut counts, &account, &segment, false);
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
        let account = Account::of_nobody(FROM, Reason::ErrorReturned);
        note(&mut counts, &account, &Segment::default(), false);
        assert_eq!((counts.unreachable, counts.answered), (1, 0));
    }
}
