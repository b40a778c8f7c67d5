//! Which clients are woken: those whose flow is refused and who have not been heard since.

use std::collections::BTreeMap;

use crate::platform::tables::Refused;
use crate::platform::tickle::Tickler;

/// A client that does not answer so many times is gone, or will be told by its next own segment.
const TRIES_MAX: u8 = 3;
/// Clients woken after one sweep; the others have their turn after the next.
const WAKES_MAX: usize = 4096;

/// Wakes clients. Without a socket nobody is woken, and clients learn of a death when they next
/// send.
#[derive(Debug, Default)]
pub(super) struct Waking {
    tickler: Option<Tickler>,
    /// How often each was tried.
    tried: BTreeMap<Refused, u8>,
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
    /// more, but closing, and so forgotten here.
    pub(super) fn wake(&mut self, refused: &[Refused]) {
        let mut tried = BTreeMap::new();
        for (flow, count) in due(&self.tried, refused) {
            let wakes = count < TRIES_MAX && tried.len() < WAKES_MAX;
            if wakes
                && let Some(tickler) = &self.tickler
                && let Err(error) = tickler.wake(flow.service, flow.client, count)
            {
                tracing::debug!(%error, client = %flow.client, "a client could not be woken");
            }
            tried.insert(flow, count.saturating_add(u8::from(wakes)));
        }
        self.tried = tried;
    }
}

/// The refused flows with how often each was tried, the least tried first.
fn due(tried: &BTreeMap<Refused, u8>, refused: &[Refused]) -> Vec<(Refused, u8)> {
    let count = |flow: &Refused| tried.get(flow).copied().unwrap_or_default();
    let mut due: Vec<(Refused, u8)> = refused.iter().map(|flow| (*flow, count(flow))).collect();
    due.sort_by_key(|(flow, count)| (*count, *flow));
    due
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
        for expected in [1, 2, 3, 3, 3] {
            waking.wake(&[flow(1)]);
            assert_eq!(waking.tried[&flow(1)], expected);
        }
    }

    #[test]
    fn a_client_that_was_heard_is_forgotten() {
        let mut waking = Waking::default();
        waking.wake(&[flow(1), flow(2)]);
        waking.wake(&[flow(2)]);
        assert_eq!(waking.tried.len(), 1);
    }

    #[test]
    fn who_was_never_tried_goes_first() {
        let mut waking = Waking::default();
        waking.wake(&[flow(1)]);
        let due = due(&waking.tried, &[flow(1), flow(2)]);
        assert_eq!(due, [(flow(2), 0), (flow(1), 1)]);
    }
}
