//! Which clients are woken: those whose flow is refused and who have not been heard since.

use std::collections::BTreeMap;

use crate::platform::tables::Refused;
use crate::platform::tickle::Tickler;

/// A client that does not answer so many times is gone, or will be told by its next own segment.
const TRIES_MAX: u8 = 3;
/// Time from one try to the next. A client's kernel answers segments outside its window at most
/// once in 500 ms (`net.ipv4.tcp_invalid_ratelimit`), so a try before that is wasted.
const AGAIN_AFTER_MS: u64 = 600;
/// Clients woken after one sweep; the others have their turn after the next.
const WAKES_MAX: usize = 4096;

/// Wakes clients. Without a socket nobody is woken, and clients learn of a death when they next
/// send.
#[derive(Debug, Default)]
pub(super) struct Waking {
    tickler: Option<Tickler>,
    tried: BTreeMap<Refused, Tried>,
}

/// How often a client was tried, and when last, in the loop's milliseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tried {
    count: u8,
    at_ms: u64,
}

impl Tried {
    fn is_due(self, now_ms: u64) -> bool {
        let rested = self.count == 0 || now_ms >= self.at_ms.saturating_add(AGAIN_AFTER_MS);
        self.count < TRIES_MAX && rested
    }
}

impl Waking {
    pub(super) fn new() -> Self {
        let tickler = Tickler::open()
            .inspect_err(|error| {
                tracing::warn!(%error, "waiting clients cannot be woken: CAP_NET_RAW is needed");
            })
            .ok();
        Self { tickler, tried: BTreeMap::new() }
    }

    /// Wakes those of `refused` that are due. A flow whose client was heard is not refused any
    /// more, but closing, and so forgotten here. Says how many segments were sent.
    pub(super) fn wake(&mut self, refused: &[Refused], now_ms: u64) -> u64 {
        let (mut tried, mut sent) = (BTreeMap::new(), 0);
        for (flow, mut before) in in_turn(&self.tried, refused) {
            if before.is_due(now_ms) && tried.len() < WAKES_MAX {
                if let Some(tickler) = &self.tickler {
                    match tickler.wake(flow.service, flow.client, before.count) {
                        Ok(()) => sent += 1,
                        Err(error) => {
                            tracing::debug!(%error, client = %flow.client, "it was not woken");
                        }
                    }
                }
                before = Tried { count: before.count.saturating_add(1), at_ms: now_ms };
            }
            tried.insert(flow, before);
        }
        self.tried = tried;
        sent
    }
}

/// The refused flows with how each was tried, the least tried first.
fn in_turn(tried: &BTreeMap<Refused, Tried>, refused: &[Refused]) -> Vec<(Refused, Tried)> {
    let before = |flow: &Refused| tried.get(flow).copied().unwrap_or_default();
    let mut turn: Vec<(Refused, Tried)> =
        refused.iter().map(|flow| (*flow, before(flow))).collect();
    turn.sort_by_key(|(flow, tried)| (tried.count, *flow));
    turn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16) -> Refused {
        let client = std::net::SocketAddr::new([10, 0, 1, 11].into(), port);
        let service = std::net::SocketAddr::new([10, 0, 1, 100].into(), 10_809);
        Refused { client, service }
    }

    #[test]
    fn a_client_that_stays_silent_is_tried_a_few_times_and_then_left() {
        let mut waking = Waking::default();
        for (turn, expected) in (0..).zip([1, 2, 3, 3, 3]) {
            waking.wake(&[flow(1)], turn * AGAIN_AFTER_MS);
            assert_eq!(waking.tried[&flow(1)].count, expected);
        }
    }

    #[test]
    fn a_client_has_time_to_answer_before_it_is_tried_again() {
        let mut waking = Waking::default();
        for (now_ms, expected) in [(0, 1), (1, 1), (AGAIN_AFTER_MS - 1, 1), (AGAIN_AFTER_MS, 2)] {
            waking.wake(&[flow(1)], now_ms);
            assert_eq!(waking.tried[&flow(1)].count, expected, "at {now_ms} ms");
        }
    }

    #[test]
    fn a_client_that_was_heard_is_forgotten() {
        let mut waking = Waking::default();
        waking.wake(&[flow(1), flow(2)], 0);
        waking.wake(&[flow(2)], 0);
        assert_eq!(waking.tried.len(), 1);
    }

    #[test]
    fn who_was_never_tried_goes_first() {
        let mut waking = Waking::default();
        waking.wake(&[flow(1)], 0);
        let turn = in_turn(&waking.tried, &[flow(1), flow(2)]);
        let turn: Vec<Refused> = turn.into_iter().map(|(flow, _)| flow).collect();
        assert_eq!(turn, [flow(2), flow(1)]);
    }
}
