//! Slow start: a server that is new, or has returned from death or from being out of service, takes
//! load gradually. Its caches are cold and nobody knows yet how well it does. Pure.
//!
//! What its part limits: moves for load ([`balance`](super::balance)) and fail-back. It inherits a
//! device only where no other server may. What an operator wishes is never limited.

use serde::{Deserialize, Serialize};

use super::spec::{AdminState, Server};

/// When a server began to fill, and when it has filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filling {
    /// When it began: ms since the Unix epoch.
    pub since_ms: u64,
    /// From when on it takes as much as any other: ms since the Unix epoch.
    pub until_ms: u64,
}

impl Filling {
    /// One that begins now; None where `fill_ms` is 0: then servers do not fill.
    #[must_use]
    pub fn begin(now_ms: u64, fill_ms: u64) -> Option<Self> {
        let until_ms = now_ms.saturating_add(fill_ms);
        (fill_ms > 0).then_some(Self { since_ms: now_ms, until_ms })
    }

    /// Up to which part of what any other server would be filled to it may be filled: 0 when it
    /// begins, growing evenly to 1. A clock that was set back counts as the beginning.
    #[must_use]
    pub fn part(self, now_ms: u64) -> f64 {
        let (gone_ms, whole_ms) = (now_ms.saturating_sub(self.since_ms), self.whole_ms());
        if whole_ms == 0 { 1.0 } else { (gone_ms as f64 / whole_ms as f64).min(1.0) }
    }

    /// When it has room for device number `number` of `len`, counted from 1: ms since the Unix
    /// epoch.
    #[must_use]
    pub fn room_at_ms(self, number: usize, len: usize) -> u64 {
        let (len, number) = (len.max(1) as u128, number.min(len) as u128);
        let gone_ms = (u128::from(self.whole_ms()) * number).div_ceil(len);
        self.since_ms.saturating_add(u64::try_from(gone_ms).unwrap_or(u64::MAX))
    }

    fn whole_ms(self) -> u64 {
        self.until_ms.saturating_sub(self.since_ms)
    }
}

/// The state of a server as it is shown: the operator's wish, but `filling` instead of active while
/// it takes load gradually.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is wished active, and takes load gradually: it is new or has returned.
    Filling,
    /// It takes devices.
    Active,
    /// It keeps its open flows and gets no new devices.
    Draining,
    /// It serves nothing.
    Inactive,
    /// It was declared dead.
    Failed,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Filling, Self::Active, Self::Draining, Self::Inactive, Self::Failed];

    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            other => other.wish().name(),
        }
    }

    /// What the operator wishes of a server that stands so.
    #[must_use]
    pub fn wish(self) -> AdminState {
        match self {
            Self::Filling | Self::Active => AdminState::Active,
            Self::Draining => AdminState::Draining,
            Self::Inactive => AdminState::Inactive,
            Self::Failed => AdminState::Failed,
        }
    }
}

impl Server {
    /// Its state as it is shown.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.state {
            AdminState::Active if self.is_filling() => Standing::Filling,
            AdminState::Active => Standing::Active,
            AdminState::Draining => Standing::Draining,
            AdminState::Inactive => Standing::Inactive,
            AdminState::Failed => Standing::Failed,
        }
    }

    /// Whether it takes load gradually.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        self.filling.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_part_grows_evenly_from_nothing_to_all() {
        let filling = Filling::begin(1000, 400).unwrap();
        let parts = [0, 1000, 1100, 1300, 1400, 9000].map(|now_ms| filling.part(now_ms));
        assert_eq!(parts, [0.0, 0.0, 0.25, 0.75, 1.0, 1.0]);
        assert_eq!(Filling::begin(1000, 0), None, "0 is off");
    }

    proptest! {
        #[test]
        fn there_is_room_for_a_device_when_the_part_has_come_to_it(
            (fill_ms, len, number) in (1_u64..1_000_000, 1_usize..50, 1_usize..50)
        ) {
            let filling = Filling::begin(1000, fill_ms).unwrap();
            let at_ms = filling.room_at_ms(number.min(len), len);
            let part = number.min(len) as f64 / len as f64;
            prop_assert!(filling.part(at_ms) >= part - 1e-9);
            prop_assert!(at_ms == 1000 || filling.part(at_ms - 1) < part);
            prop_assert!(at_ms <= filling.until_ms);
        }
    }
}
