//! How long servers took to answer, as devices tell it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::tables;

/// Times from a client's data to its server's answer, since the device was made: one question at a
/// time is timed, at most 250 a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Responses {
    /// Answers that were timed.
    pub len: u64,
    /// Within this time half of them came, in microseconds; up to a quarter too much.
    pub p50_us: u64,
    /// Within this time 99 of 100 came, in microseconds; up to a quarter too much.
    pub p99_us: u64,
}

impl Responses {
    pub(super) fn of(seen: &tables::Responses) -> Option<Self> {
        let within_us = |percent| Some(seen.percentile_ns(percent)? / 1000);
        Some(Self { len: seen.len(), p50_us: within_us(50)?, p99_us: within_us(99)? })
    }
}
