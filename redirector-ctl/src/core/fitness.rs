//! Whether a server may take a device now, and if not, why not. Used to refuse wishes and to choose
//! servers.

use std::fmt;

use super::health::Health;
use super::observed::Observed;
use super::spec::{AdminState, Server, Spec};

/// What stands between a server and a device that is to be put on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// No server of that name.
    Missing,
    /// The operator drains it.
    Draining,
    /// The operator has taken it out of service.
    Inactive,
    /// The operator has declared it dead.
    Failed,
    /// It answers no check at all, or has not been let back in since.
    Dead,
    /// It lives, but not for this device.
    DeadForDevice,
    /// It is healthy, but frames cannot be sent to it.
    NoNextHop,
    /// It failed its last check and is being asked again.
    Suspect,
    /// It has not been asked yet.
    Unknown,
}

impl Obstacle {
    /// Whether an operator's wish is refused because of it. The others pass by themselves in a
    /// moment, so that an operator may go ahead; the planner waits for them.
    #[must_use]
    pub fn is_firm(self) -> bool {
        !matches!(self, Self::Suspect | Self::Unknown)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "does not exist",
            Self::Draining => "is draining",
            Self::Inactive => "is inactive",
            Self::Failed => "was declared failed",
            Self::Dead => "is dead",
            Self::DeadForDevice => "does not answer for this device",
            Self::NoNextHop => "is not reached over a configured interface",
            Self::Suspect => "is suspect",
            Self::Unknown => "has not been asked yet",
        })
    }
}

/// What keeps `server` from taking `device`; None when it is fit.
#[must_use]
pub fn obstacle(spec: &Spec, observed: &Observed, server: &str, device: &str) -> Option<Obstacle> {
    let Some(known) = spec.servers.get(server) else { return Some(Obstacle::Missing) };
    out_of_service(known).or_else(|| match observed.path(server, device) {
        Health::Healthy if observed.next_hops.contains_key(server) => None,
        Health::Healthy => Some(Obstacle::NoNextHop),
        Health::Dead if observed.server(server) == Health::Dead => Some(Obstacle::Dead),
        Health::Dead => Some(Obstacle::DeadForDevice),
        Health::Suspect => Some(Obstacle::Suspect),
        Health::Unknown => Some(Obstacle::Unknown),
    })
}

/// What the spec alone says against a server.
fn out_of_service(server: &Server) -> Option<Obstacle> {
    match server.state {
        AdminState::Draining => Some(Obstacle::Draining),
        AdminState::Inactive => Some(Obstacle::Inactive),
        AdminState::Failed => Some(Obstacle::Failed),
        AdminState::Active if server.life_over => Some(Obstacle::Dead),
        AdminState::Active => None,
    }
}
