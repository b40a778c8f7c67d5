//! Chance good enough to keep many checks from marching in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A generator of chance.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new() -> Self {
        Self(RandomState::new().hash_one(0_u8) | 1)
    }

    /// Xorshift: https://www.jstatsoft.org/article/view/v008i14
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn next_u32(&mut self) -> u32 {
        let [_, _, _, _, low @ ..] = self.next().to_be_bytes();
        u32::from_be_bytes(low)
    }

    /// `duration`, longer or shorter by up to `pct` percent.
    pub(super) fn jittered(&mut self, duration: Duration, pct: u8) -> Duration {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let reach = us / 100 * u64::from(pct.min(100));
        let shift = self.next() % (2 * reach + 1);
        Duration::from_micros((us - reach).saturating_add(shift))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds_and_varies() {
        let mut chance = Chance::new();
        let interval = Duration::from_millis(200);
        let pauses: Vec<_> = (0..1000).map(|_| chance.jittered(interval, 10)).collect();
        assert!(pauses.iter().all(|p| (180..=220).contains(&p.as_millis())), "{pauses:?}");
        assert!(pauses.iter().any(|p| *p < interval) && pauses.iter().any(|p| *p > interval));
        assert_eq!(chance.jittered(interval, 0), interval);
    }
}
