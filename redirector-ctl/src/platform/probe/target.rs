//! What is asked of whom, and what comes of it.

use std::net::SocketAddr;

use crate::core::check::{Check, CheckPace};
use crate::core::health::CheckResult;
use crate::core::service::Forwarding;
use crate::core::spec::{Name, Protocol};

/// A path: a server for a device.
pub type Path = (Name, Name);

/// Where and how to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server's address, the device's port there.
    pub address: SocketAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// What counts as an answer.
    pub check: Check,
    /// How often, where it differs from what the prober was told.
    pub pace: CheckPace,
    /// The service address that the server must answer for besides, if it has that itself.
    pub service: Option<DirectService>,
}

/// The service address of a device whose servers have it themselves (`dsr`, `ipip`, `gue`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectService {
    /// It, and a port of the device.
    pub address: SocketAddr,
    /// How clients' packets get to the server.
    pub forwarding: Forwarding,
}

/// In what manner a check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// In its turn.
    Routine,
    /// At once and with little patience, because packets speak against the server.
    Confirming,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which path.
    pub path: Path,
    /// Which target of that path; see [`super::Prober::is_current`].
    pub serial: u64,
    /// In what manner it was asked.
    pub manner: Manner,
    /// When it was asked: ms since the Unix epoch.
    pub asked_at_ms: u64,
    /// What came of it.
    pub result: CheckResult,
}
