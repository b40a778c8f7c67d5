//! What the tables hold now, read back as plain values: where a starting daemon begins from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use redirector_common::headers::PROTOCOL_UDP;
use redirector_common::wire::{
    Association, Hop, SERVER_ADDRESS_WORD, SERVER_NEXT_HOP_WORD, SERVER_STATE_WORD, SERVER_WORDS,
};

use super::{Endpoint4, ServerWord, Tables, TablesError, map_error};
use crate::core::op::{AssociationWord, DeviceSettings, Endpoint, NextHop, ServerState};
use crate::core::spec::Protocol;

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
        for entry in self.services.iter() {
            let (key, device) =
                entry.map_err(|source| map_error("list the services".to_owned(), source))?;
            content.services.insert(endpoint(&key.0), device);
            content.devices.insert(device, self.device_settings(device)?);
        }
        for entry in self.origins.iter() {
            let (key, origin) =
                entry.map_err(|source| map_error("list the returns".to_owned(), source))?;
            content.returns.insert(endpoint(&key.0), (origin.0.device, origin.0.server));
        }
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

    fn device_settings(&self, device: u32) -> Result<DeviceSettings, TablesError> {
        let line = self
            .devices
            .get(&device, 0)
            .map_err(|source| map_error(format!("read device {device}"), source))?
            .0;
        Ok(DeviceSettings {
            address: ipv4([line.address[0], line.address[1], line.address[2], line.address[3]]),
            port: line.port.get(),
            protocol: protocol(line.protocol),
            server_port: line.server_port.get(),
        })
    }

    fn server_content(&self, id: u16) -> ServerContent {
        let base = usize::from(id) * SERVER_WORDS;
        let state = ServerWord(self.servers.load(base + SERVER_STATE_WORD));
        let hop = Hop(self.servers.load(base + SERVER_NEXT_HOP_WORD));
        let [a, b, c, d, ..] = self.servers.load(base + SERVER_ADDRESS_WORD).to_ne_bytes();
        let port = self.ports.iter().position(|ifindex| *ifindex == hop.ifindex());
        ServerContent {
            address: ipv4([a, b, c, d]),
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

fn endpoint(key: &Endpoint4) -> Endpoint {
    Endpoint {
        address: IpAddr::V4(Ipv4Addr::from(key.address.get())),
        port: key.port.get(),
        protocol: protocol(key.protocol),
    }
}

fn protocol(number: u8) -> Protocol {
    if number == PROTOCOL_UDP { Protocol::Udp } else { Protocol::Tcp }
}

fn ipv4(bytes: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(bytes))
}
