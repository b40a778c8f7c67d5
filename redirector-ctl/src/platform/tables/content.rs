//! What the tables hold now, read back as plain values: where a starting daemon begins from.

use std::collections::BTreeMap;
use std::net::IpAddr;

use redirector_common::wire::{
    Association, Hop, SERVER_ADDRESS_WORD, SERVER_FAMILY_WORD, SERVER_NEXT_HOP_WORD,
    SERVER_STATE_WORD, SERVER_WORDS,
};

use super::convert::{address_from, device_settings};
use super::{ServerWord, Tables, TablesError, map_error};
use crate::core::op::{AssociationWord, DeviceSettings, Endpoint, NextHop, ServerState};

/// A server's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerContent {
    /// Address.
    pub address: IpAddr,
    /// State.
    pub state: ServerState,
    /// Incarnation.
    pub incarnation: u32,
    /// Next hop, if it goes by an interface of the configuration.
    pub next_hop: Option<NextHop>,
}

/// What the tables hold, apart from flows and counters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// Servers that are not absent, by id.
    pub servers: BTreeMap<u16, ServerContent>,
    /// Device lines that a service address names, by id.
    pub devices: BTreeMap<u32, DeviceSettings>,
    /// Associations other than none, by device id, from the bank in force.
    pub associations: BTreeMap<u32, AssociationWord>,
    /// Service addresses.
    pub services: BTreeMap<Endpoint, u32>,
    /// Servers' endpoints: device and server.
    pub returns: BTreeMap<Endpoint, (u32, u16)>,
}

impl Tables {
    /// Reads back what the tables hold.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to read.
    pub fn content(&self) -> Result<Content, TablesError> {
        let mut content = Content::default();
        for (service, device) in self.services()? {
            content.services.insert(service, device);
            let is_v6 = service.address.is_ipv6();
            content.devices.insert(device, self.device_settings(device, is_v6)?);
        }
        let failed = |source| map_error("list the returns".to_owned(), source);
        content.returns.extend(self.v4.list_origins().map_err(failed)?);
        content.returns.extend(self.v6.list_origins().map_err(failed)?);
        for id in self.present_servers() {
            content.servers.insert(id, self.server_content(id));
        }
        for device in 0..self.associations.words_len() / 2 {
            let word = Association(self.associations.load(device * 2 + self.bank()));
            if word != Association::NONE {
                content.associations.insert(device as u32, association(word));
            }
        }
        Ok(content)
    }

    /// The services and the devices that they name.
    pub(super) fn services(&self) -> Result<Vec<(Endpoint, u32)>, TablesError> {
        let failed = |source| map_error("list the services".to_owned(), source);
        let mut services = self.v4.list_services().map_err(failed)?;
        services.extend(self.v6.list_services().map_err(failed)?);
        Ok(services)
    }

    fn device_settings(&self, device: u32, is_v6: bool) -> Result<DeviceSettings, TablesError> {
        let line = self
            .devices
            .get(&device, 0)
            .map_err(|source| map_error(format!("read device {device}"), source))?
            .0;
        Ok(device_settings(&line, is_v6))
    }

    fn server_content(&self, id: u16) -> ServerContent {
        let base = usize::from(id) * SERVER_WORDS;
        let state = ServerWord(self.servers.load(base + SERVER_STATE_WORD));
        let hop = Hop(self.servers.load(base + SERVER_NEXT_HOP_WORD));
        let at = base + SERVER_ADDRESS_WORD;
        let words = [self.servers.load(at), self.servers.load(at + 1)];
        let is_v6 = self.servers.load(base + SERVER_FAMILY_WORD) == 6;
        let port = self.ports.iter().position(|ifindex| *ifindex == hop.ifindex());
        ServerContent {
            address: address_from(&zerocopy::transmute!(words), is_v6),
            state: if state.is_alive() { ServerState::Alive } else { ServerState::Dead },
            incarnation: state.incarnation(),
            next_hop: port
                .filter(|_| hop.is_known())
                .map(|port| NextHop { mac: hop.mac(), port: port as u16 }),
        }
    }
}

fn association(word: Association) -> AssociationWord {
    AssociationWord {
        server: word.server(),
        previous: word.previous(),
        backup: word.backup(),
        epoch: word.epoch(),
        epochs_open: word.epochs_open(),
    }
}
