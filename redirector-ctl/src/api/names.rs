//! Names of what the tables know by number.

use std::collections::BTreeMap;

use crate::daemon::Snapshot;

/// The names at one moment.
pub(super) struct Names {
    devices: BTreeMap<u32, String>,
    servers: BTreeMap<u16, String>,
}

impl Names {
    /// Those of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let devices = snapshot.spec.devices.iter();
        let servers = snapshot.spec.servers.iter();
        Self {
            devices: devices.map(|(name, device)| (device.id, name.clone())).collect(),
            servers: servers.map(|(name, server)| (server.id, name.clone())).collect(),
        }
    }

    /// A device's name; None when it has been removed.
    pub fn device(&self, id: u32) -> Option<String> {
        self.devices.get(&id).cloned()
    }

    /// A server's name; None when it has been removed, or for no server.
    pub fn server(&self, id: u16) -> Option<String> {
        self.servers.get(&id).cloned()
    }
}
