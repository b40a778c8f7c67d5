//! How long servers take to answer: from a client's data to its server's.
//!
//! Of each device one question at a time is timed, and at most one in a tick of the kernel's timer
//! (4 ms), so that it costs other packets a look at one line. Where servers answer by themselves,
//! the client's own acknowledgement of more than it had seen is the answer. With several questions
//! under way on one connection, the answer to an earlier one may be taken for it.
//!
//! The times are counted in a log-linear histogram: four buckets to each doubling.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::family::Family;
use crate::order::{Be16, Words as _};
use crate::tcp::{SYN, Segment};
use crate::verdict::Action;

/// Buckets of a histogram.
pub const BUCKETS_LEN: usize = 80;
/// The first buckets are as wide as this many bits of nanoseconds: 4.1 us.
const UNIT_SHIFT: u32 = 12;
/// Buckets to a doubling, as a power of two.
const PARTS_SHIFT: u32 = 2;
const PARTS: u64 = 1 << PARTS_SHIFT;

/// A question that nobody has answered for so many ticks of the kernel's timer is given up: 16 s
/// at 250 ticks a second.
const TICKS_MAX: u32 = 4096;

/// Response times of a device, as one CPU has met them. Shape: 328 bytes; the last bucket also
/// holds what took longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct ResponseTimes {
    /// Answers by how long they took.
    pub buckets: [u32; BUCKETS_LEN],
    /// All times together, in nanoseconds.
    pub sum_ns: u64,
}

const _: () = assert!(size_of::<ResponseTimes>() == 328);

/// The bucket of a time.
#[inline(always)]
pub fn bucket(ns: u64) -> usize {
    let units = ns >> UNIT_SHIFT;
    if units < PARTS {
        return units as usize;
    }
    let doublings = units.ilog2() - PARTS_SHIFT;
    let part = (units >> doublings) - PARTS;
    let index = (u64::from(doublings) + 1) * PARTS + part;
    if index < BUCKETS_LEN as u64 { index as usize } else { BUCKETS_LEN - 1 }
}

/// Where a bucket ends, in nanoseconds: the first time that is too long for it.
pub const fn bucket_end_ns(bucket: usize) -> u64 {
    let (row, part) = (bucket as u64 / PARTS, bucket as u64 % PARTS);
    let units = if row == 0 { part + 1 } else { (PARTS + part + 1) << (row - 1) };
    units << UNIT_SHIFT
}

/// The question of a device that is being timed. Shape: four aligned 8-byte words, stored whole.
///
/// Words: 0 the client's end; 1 when it asked, in nanoseconds, or zero where nobody is waited for;
/// 2 tick of the last question (bits 0-31), what its client had acknowledged (32-63); 3 zero. Two
/// CPUs that write at a time spoil one figure.
pub trait Question {
    /// Loads a word, once.
    fn word(&self, index: usize) -> u64;
    /// Stores a word, whole.
    fn set_word(&self, index: usize, value: u64);
}

/// A packet, as far as it asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saying {
    /// The client's end, mixed into a number.
    pub client: u64,
    /// What was done with the packet.
    pub action: Action,
    /// Whether it has payload.
    pub has_data: bool,
    /// What it acknowledges.
    pub acknowledgement: u32,
}

impl Saying {
    /// Of a packet with these TCP facts, from or to this client.
    #[inline(always)]
    pub fn new(client: u64, action: Action, segment: &Segment) -> Self {
        // What is no TCP is nothing but payload.
        let has_data =
            segment.flags == 0 || (segment.next != segment.sequence && !segment.has(SYN));
        Self { client, action, has_data, acknowledgement: segment.acknowledgement }
    }
}

/// The client's end of its own packet.
#[inline(always)]
pub fn asker<F: Family>(tuple: &F::Tuple) -> u64 {
    let (address, port, _) = F::parts(&F::source(tuple));
    mixed::<F>(address, port)
}

/// The client's end of a packet as it came: its source, or on the way back its destination, or the
/// end that it is given there.
#[inline(always)]
pub fn client<F: Family>(
    tuple: &F::Tuple,
    action: Action,
    (other, other_port): (&F::Address, Be16),
) -> u64 {
    if !matches!(action, Action::ToClient) {
        return asker::<F>(tuple);
    }
    if other_port.raw() != 0 {
        return mixed::<F>(*other, other_port);
    }
    let (address, port, _) = F::parts(&F::destination(tuple));
    mixed::<F>(address, port)
}

#[inline(always)]
fn mixed<F: Family>(address: F::Address, port: Be16) -> u64 {
    u64::from(address.fold()) << 16 | u64::from(port.raw())
}

/// Notes a packet that was carried; gives how long its answer took in nanoseconds, if it is the one
/// that is waited for.
#[inline(always)]
pub fn note(
    question: &impl Question,
    saying: &Saying,
    tick: impl FnOnce() -> u32,
    now_ns: impl FnOnce() -> u64,
) -> Option<u64> {
    let asked_ns = question.word(1);
    let to_client = matches!(saying.action, Action::ToClient);
    if asked_ns == 0 {
        if to_client || !saying.has_data {
            return None;
        }
        let tick = tick();
        if question.word(2) as u32 != tick {
            question.set_word(0, saying.client);
            question.set_word(2, u64::from(saying.acknowledgement) << 32 | u64::from(tick));
            question.set_word(1, now_ns());
        }
        return None;
    }
    let answers = match saying.action {
        Action::ToClient => saying.has_data,
        // The server answers by itself.
        Action::Direct | Action::Tunnel => {
            saying.acknowledgement != (question.word(2) >> 32) as u32
        }
        _ => false,
    };
    if answers && question.word(0) == saying.client {
        question.set_word(1, 0);
        return Some(now_ns().saturating_sub(asked_ns));
    }
    if !to_client && tick().wrapping_sub(question.word(2) as u32) > TICKS_MAX {
        question.set_word(1, 0);
    }
    None
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::tcp::ACK;

    #[derive(Default)]
    struct Place([Cell<u64>; 4]);

    impl Question for Place {
        fn word(&self, index: usize) -> u64 {
            self.0[index].get()
        }

        fn set_word(&self, index: usize, value: u64) {
            self.0[index].set(value);
        }
    }

    fn said(client: u64, action: Action, payload_len: u32, acknowledgement: u32) -> Saying {
        let segment = Segment { flags: ACK, next: payload_len, acknowledgement, sequence: 0 };
        Saying::new(client, action, &segment)
    }

    proptest! {
        #[test]
        fn a_time_lies_inside_its_bucket(ns: u64) {
            let of = bucket(ns);
            prop_assert!(ns < bucket_end_ns(of) || of == BUCKETS_LEN - 1);
            prop_assert!(of == 0 || bucket_end_ns(of - 1) <= ns);
        }
    }

    #[test]
    fn buckets_widen_by_a_quarter_of_a_doubling() {
        let ends: [u64; 10] = core::array::from_fn(|of| bucket_end_ns(of) >> UNIT_SHIFT);
        assert_eq!(ends, [1, 2, 3, 4, 5, 6, 7, 8, 10, 12]);
        assert!(bucket_end_ns(BUCKETS_LEN - 1) > 8_000_000_000, "over eight seconds");
    }

    #[test]
    fn an_answer_to_the_client_that_asked_is_timed_and_one_to_another_is_not() {
        let place = Place::default();
        assert_eq!(note(&place, &said(7, Action::ToServer, 10, 0), || 1, || 1000), None);
        assert_eq!(note(&place, &said(8, Action::ToClient, 10, 0), || 1, || 1500), None);
        assert_eq!(note(&place, &said(7, Action::ToClient, 0, 10), || 1, || 1600), None, "no data");
        assert_eq!(note(&place, &said(7, Action::ToClient, 10, 0), || 1, || 3000), Some(2000));
        assert_eq!(note(&place, &said(7, Action::ToClient, 10, 0), || 1, || 4000), None, "once");
    }

    #[test]
    fn one_question_is_timed_in_a_tick() {
        let place = Place::default();
        note(&place, &said(7, Action::ToServer, 10, 0), || 1, || 1000);
        note(&place, &said(7, Action::ToClient, 10, 0), || 1, || 2000);
        note(&place, &said(7, Action::ToServer, 10, 0), || 1, || 3000);
        assert_eq!(note(&place, &said(7, Action::ToClient, 10, 0), || 1, || 4000), None);
        note(&place, &said(7, Action::ToServer, 10, 0), || 2, || 5000);
        assert_eq!(note(&place, &said(7, Action::ToClient, 10, 0), || 2, || 6000), Some(1000));
    }

    #[test]
    fn where_the_server_answers_by_itself_the_clients_acknowledgement_tells() {
        let place = Place::default();
        note(&place, &said(7, Action::Direct, 10, 500), || 1, || 1000);
        assert_eq!(note(&place, &said(7, Action::Direct, 10, 500), || 1, || 1500), None);
        assert_eq!(note(&place, &said(7, Action::Direct, 0, 900), || 1, || 3000), Some(2000));
    }

    #[test]
    fn a_question_that_nobody_answers_is_given_up() {
        let place = Place::default();
        note(&place, &said(7, Action::ToServer, 10, 0), || 1, || 1000);
        note(&place, &said(8, Action::ToServer, 10, 0), || 2 + TICKS_MAX, || 2000);
        note(&place, &said(8, Action::ToServer, 10, 0), || 3 + TICKS_MAX, || 3000);
        let answered = note(&place, &said(8, Action::ToClient, 10, 0), || 4 + TICKS_MAX, || 4000);
        assert_eq!(answered, Some(1000));
    }
}
