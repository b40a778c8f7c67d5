//! Health: what a run of answered and unanswered checks says. A pure state machine; it neither probes nor waits.
//!
//! Health is kept per path, that is per server and device, because a server's process for one device can die
//! while the others live. A server's own health is derived from its paths in [`super::observed`].

use serde::{Deserialize, Serialize};

/// Measured health of a server, or of a server for one device.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
    Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Answers its checks.
    Healthy,
    /// Failed its last check; being asked again at once.
    Suspect,
    /// Failed `fall` checks in a row.
    Dead,
    /// Not asked yet, or there is nothing to ask.
    #[default]
    Unknown,
}
