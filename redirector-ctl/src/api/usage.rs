//! What the API counts of its own use, for the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::http::StatusCode;
use governor::{DefaultDirectRateLimiter, Quota};

use super::limits::{REQUESTS_AT_ONCE_MAX, REQUESTS_PER_SECOND_MAX};

/// Classes of statuses, as the metrics name them; the last one also has what is in none.
const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "other"];

/// Counters and the rates that requests share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Usage {
    /// Of the ports.
    rate: Arc<DefaultDirectRateLimiter>,
    /// Of the socket, so that no crowd at a port keeps the machine's own operator out.
    socket_rate: Arc<DefaultDirectRateLimiter>,
    requests: Arc<[AtomicU64; CLASSES.len()]>,
    streams: Arc<AtomicUsize>,
}

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UsageCounts {
    /// Class of status -> answers.
    pub by_class: [(&'static str, u64); CLASSES.len()],
    /// Event streams that are open.
    pub streams: usize,
}

/// An event stream's place; given back when dropped.
#[derive(Debug)]
pub(super) struct StreamPlace(Arc<AtomicUsize>);

impl Default for Usage {
    fn default() -> Self {
        let quota = Quota::per_second(REQUESTS_PER_SECOND_MAX).allow_burst(REQUESTS_AT_ONCE_MAX);
        Self {
            rate: Arc::new(DefaultDirectRateLimiter::direct(quota)),
            socket_rate: Arc::new(DefaultDirectRateLimiter::direct(quota)),
            requests: Arc::default(),
            streams: Arc::default(),
        }
    }
}

impl Usage {
    /// Whether one more request is within the rate of the way it came by; takes one from it.
    pub fn may_ask(&self, by_socket: bool) -> bool {
        let rate = if by_socket { &self.socket_rate } else { &self.rate };
        rate.check().is_ok()
    }

    /// Counts an answer.
    pub fn answered(&self, status: StatusCode) {
        let class = match status.as_u16() {
            200..300 => 0,
            300..400 => 1,
            400..500 => 2,
            500..600 => 3,
            _ => 4,
        };
        self.requests[class].fetch_add(1, Ordering::Relaxed);
    }

    /// A place for one more stream; None when `max` are open.
    pub fn stream(&self, max: usize) -> Option<StreamPlace> {
        let take = |open: usize| (open < max).then_some(open + 1);
        let taken = self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.ok().map(|_| StreamPlace(Arc::clone(&self.streams)))
    }

    /// The counters now.
    pub fn counts(&self) -> UsageCounts {
        let mut by_class = CLASSES.map(|class| (class, 0));
        for (class, count) in by_class.iter_mut().zip(self.requests.iter()) {
            class.1 = count.load(Ordering::Relaxed);
        }
        UsageCounts { by_class, streams: self.streams.load(Ordering::Relaxed) }
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_given_back_can_be_taken_again() {
        let usage = Usage::default();
        let first = usage.stream(1);
        assert!(first.is_some() && usage.stream(1).is_none());
        drop(first);
        assert!(usage.stream(1).is_some());
    }
}
