//! Small things that several resources have on the wire: times, addresses, policies, counts.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::config::{DEADLINE_MAX_MS, DEADLINE_MS};
use crate::core::spec::FlowPolicy;

pub use crate::core::check::{CheckBody, CheckForm, CheckKind};
pub use crate::core::health::Health;
pub use crate::core::load::source::MetricsUrl;
pub use crate::core::ports::PortMap;
pub use crate::core::spec::{
    AdminState, Affinity, Cause, Check, Forwarding, PortRange, Protocol, Standing, Tracking,
};
pub use crate::daemon::EventKind;

/// The last moment that RFC 3339 can write, 9999-12-31T23:59:59.999Z, in ms since the Unix epoch.
const TIME_MAX_MS: u64 = 253_402_300_799_999;

/// A moment as RFC 3339 writes it, in UTC, with ms: `2026-01-31T12:00:00.000Z`.
pub(super) fn time(ms: u64) -> String {
    let moment = UNIX_EPOCH + Duration::from_millis(ms.min(TIME_MAX_MS));
    humantime::format_rfc3339_millis(moment).to_string()
}

/// Packets and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets, from the Ethernet header on.
    pub bytes: u64,
}

/// How full a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Entries in it.
    pub used: u64,
    /// Entries that fit into it.
    pub max: u64,
}

/// What happens to open flows when a device moves: a policy of `core` in the form of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PolicyBody", into = "PolicyBody")]
pub struct Policy(pub FlowPolicy);

/// What happens to open flows when a device moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Policy)]
pub struct PolicyBody {
    /// What happens.
    pub kind: PolicyKind,
    /// With `drain`: time from the move to the reset of what is still open, in ms, at most 30 days.
    /// One hour when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub deadline_ms: Option<u64>,
}

/// Kinds of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicyKind {
    /// Open flows stay on their server as long as they like.
    Keep,
    /// Open flows stay until a deadline.
    Drain,
    /// Open flows are reset with their next packet.
    Reset,
}

impl From<Policy> for PolicyBody {
    fn from(Policy(policy): Policy) -> Self {
        match policy {
            FlowPolicy::Keep => Self { kind: PolicyKind::Keep, deadline_ms: None },
            FlowPolicy::Drain { deadline_ms } => {
                Self { kind: PolicyKind::Drain, deadline_ms: Some(deadline_ms) }
            }
            FlowPolicy::Reset => Self { kind: PolicyKind::Reset, deadline_ms: None },
        }
    }
}

impl TryFrom<PolicyBody> for Policy {
    type Error = String;

    fn try_from(body: PolicyBody) -> Result<Self, String> {
        match (body.kind, body.deadline_ms) {
            (PolicyKind::Keep, None) => Ok(Self(FlowPolicy::Keep)),
            (PolicyKind::Reset, None) => Ok(Self(FlowPolicy::Reset)),
            (PolicyKind::Drain, deadline_ms) => match deadline_ms.unwrap_or(DEADLINE_MS) {
                deadline_ms @ 1..=DEADLINE_MAX_MS => Ok(Self(FlowPolicy::Drain { deadline_ms })),
                other => Err(format!("deadline_ms {other}: write 1 to {DEADLINE_MAX_MS}")),
            },
            (_, Some(_)) => Err("only `drain` has a deadline_ms: leave it out".to_owned()),
        }
    }
}

/// Reads an address, with a word on what one looks like.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let remedy = |_| format!("`{text}` is not an address; write one such as 10.0.1.100");
    text.parse().map_err(remedy).map_err(serde::de::Error::custom)
}

/// Reads a port, or 0 for none.
pub(super) fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    checked_port(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Reads a port that may be left out.
pub(super) fn port_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u16>, D::Error> {
    let number = Option::<i64>::deserialize(deserializer)?;
    number.map(checked_port).transpose().map_err(serde::de::Error::custom)
}

fn checked_port(number: i64) -> Result<u16, impl Display> {
    u16::try_from(number).map_err(|_| format!("{number} is not a port; write 1 to 65535"))
}

/// An Ethernet address as people write it.
pub(super) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
