//! The tables of one address family.

use aya::maps::{HashMap, Map, MapData};
use redirector_common::flow::Flow;
use redirector_common::wire::Origin;

use super::convert::WireFamily;
use super::raw::Wire;
use super::{TablesError, gone, map_error, open, shape};
use crate::core::op::Endpoint;

/// The maps by name, as the loader found them.
pub(in crate::platform) struct FamilyMaps {
    pub services: MapData,
    pub origins: MapData,
    pub flows: MapData,
    pub candidates: MapData,
    pub clients: MapData,
    pub ports: MapData,
    pub new_ports: MapData,
}

/// A server's endpoint with the device and server that it belongs to.
type Way = (Endpoint, (u32, u16));

/// The tables.
pub(super) struct FamilyTables<F: WireFamily> {
    pub(super) services: HashMap<MapData, Wire<F::Endpoint>, u32>,
    pub(super) origins: HashMap<MapData, Wire<F::Endpoint>, Wire<Origin>>,
    pub(super) flows: Map,
    pub(super) candidates: Map,
    pub(super) clients: Map,
    pub(super) ports: Map,
    pub(super) new_ports: Map,
    pub(super) flows_max: u32,
    pub(super) candidates_max: u32,
    pub(super) clients_max: u32,
}

impl<F: WireFamily> FamilyTables<F> {
    pub(super) fn new(maps: FamilyMaps) -> Result<Self, TablesError> {
        // Those that are read in batches, past the typed maps' own check.
        let flow_len = size_of::<Flow>();
        let tuple_len = size_of::<F::Tuple>();
        let flows_max = shape("FLOWS", &maps.flows, (tuple_len, flow_len))?;
        let candidates_max = shape("CANDIDATES", &maps.candidates, (tuple_len, flow_len))?;
        let clients_max = shape("CLIENTS", &maps.clients, (size_of::<F::ClientKey>(), flow_len))?;
        shape("PORTS", &maps.ports, (tuple_len, tuple_len))?;
        shape("NEW_PORTS", &maps.new_ports, (tuple_len, tuple_len))?;
        Ok(Self {
            services: open("SERVICES", Map::HashMap(maps.services))?,
            origins: open("ORIGINS", Map::HashMap(maps.origins))?,
            flows: Map::HashMap(maps.flows),
            candidates: Map::LruHashMap(maps.candidates),
            clients: Map::HashMap(maps.clients),
            ports: Map::HashMap(maps.ports),
            new_ports: Map::LruHashMap(maps.new_ports),
            flows_max,
            candidates_max,
            clients_max,
        })
    }

    /// Names a device by a service address. Here and below, what is of the other family is none of
    /// this one's business: each is told of all.
    pub(super) fn add_service(&mut self, at: &Endpoint, device: u32) -> Result<(), TablesError> {
        let Some(key) = F::wire_endpoint(at) else { return Ok(()) };
        let added = self.services.insert(Wire(key), device, 0);
        added.map_err(|source| map_error(format!("add service {at}"), source))
    }

    pub(super) fn remove_service(&mut self, at: &Endpoint) -> Result<(), TablesError> {
        let Some(key) = F::wire_endpoint(at) else { return Ok(()) };
        let removed = gone(self.services.remove(&Wire(key)));
        removed.map_err(|source| map_error(format!("remove service {at}"), source))
    }

    pub(super) fn add_return(&mut self, at: &Endpoint, origin: Origin) -> Result<(), TablesError> {
        let Some(key) = F::wire_endpoint(at) else { return Ok(()) };
        let added = self.origins.insert(Wire(key), Wire(origin), 0);
        added.map_err(|source| map_error(format!("add return {at}"), source))
    }

    pub(super) fn remove_return(&mut self, at: &Endpoint) -> Result<(), TablesError> {
        let Some(key) = F::wire_endpoint(at) else { return Ok(()) };
        let removed = gone(self.origins.remove(&Wire(key)));
        removed.map_err(|source| map_error(format!("remove return {at}"), source))
    }

    /// The services and the devices that they name.
    pub(super) fn list_services(&self) -> Result<Vec<(Endpoint, u32)>, aya::maps::MapError> {
        self.services
            .iter()
            .map(|entry| entry.map(|(key, device)| (F::plain_endpoint(&key.0), device)))
            .collect()
    }

    /// The servers' endpoints, with device and server.
    pub(super) fn list_origins(&self) -> Result<Vec<Way>, aya::maps::MapError> {
        self.origins
            .iter()
            .map(|entry| {
                entry.map(|(key, origin)| {
                    (F::plain_endpoint(&key.0), (origin.0.device, origin.0.server))
                })
            })
            .collect()
    }
}
