//! Failed attempts to be let in, by where they come from: so many are answered and logged in full,
//! what comes beyond is only refused, so that nobody fills the log or keeps the daemon busy.
//!
//! A good token is good also there: what is behind the same address does not shut others out, and
//! 256 random bits are not guessed however often one may try.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::limits::{FAILURES_AT_ONCE_MAX, FAILURES_PER_SECOND_MAX, FAILURES_REMEMBERED_MAX};

#[derive(Debug)]
pub(super) struct Failures {
    rate: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
}

impl Default for Failures {
    fn default() -> Self {
        Self::with(FAILURES_PER_SECOND_MAX, FAILURES_AT_ONCE_MAX)
    }
}

impl Failures {
    fn with(per_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(at_once);
        Self { rate: RateLimiter::hashmap(quota) }
    }

    /// Whether one more failure from there is within the rate; takes one from it.
    pub fn may_fail(&self, from: Option<IpAddr>) -> bool {
        if self.rate.len() > FAILURES_REMEMBERED_MAX {
            self.rate.retain_recent();
        }
        let from = from.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), site);
        self.rate.check_key(&from).is_ok()
    }
}

/// Whoever has an IPv6 address has the network of 2^64 around it (RFC 6177).
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_site_has_failures_of_its_own() {
        let failures = Failures::with(NonZeroU32::MIN, NonZeroU32::new(2).expect("two"));
        let from = |text: &str| text.parse().ok();
        let [first, near, far] = [from("fd00::1"), from("fd00::2"), from("fd00:0:0:1::1")];
        assert!(failures.may_fail(first) && failures.may_fail(near));
        assert!(!failures.may_fail(first) && failures.may_fail(far));
        assert!(failures.may_fail(from("10.0.0.1")) && failures.may_fail(from("10.0.0.2")));
    }
}
