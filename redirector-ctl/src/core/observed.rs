//! Measurement: what the platform saw, as values. Pure data.

use std::collections::BTreeMap;

use super::health::Health;
use super::op::NextHop;
use super::spec::Name;

/// Everything measured that decisions rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Server -> device -> health of that path.
    pub paths: BTreeMap<Name, BTreeMap<Name, Health>>,
    /// Server -> way to it.
    pub next_hops: BTreeMap<Name, NextHop>,
}
