//! What devices have taken: addresses, ports, ids and room in the tables. A device is compared with
//! those alone with which it could collide; with each other one, a file of tens of thousands of
//! devices would take hours to check.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::super::ports::PortRange;
use super::super::spec::{Device, Name, Protocol, Spec};

/// What is taken.
#[derive(Debug, Default)]
pub(in crate::core) struct Taken {
    services: BTreeMap<(IpAddr, Protocol), Ports>,
    /// Ports at servers, of devices whose way back leads here.
    returns: BTreeMap<(Name, Protocol), Ports>,
    ids: BTreeSet<u32>,
    /// All ids below it are taken.
    ids_from: u32,
    /// Entries of the table of service addresses, with one of each device for echo requests.
    pub(super) services_len: usize,
    /// Entries of the table of ways back.
    pub(super) returns_len: usize,
}

/// Who has which ports of one protocol at one address.
#[derive(Debug, Default)]
struct Ports {
    narrow: BTreeMap<u16, BTreeSet<Name>>,
    wide: BTreeSet<Name>,
}

impl Taken {
    /// By the devices of a spec.
    pub(in crate::core) fn by(spec: &Spec) -> Self {
        let mut taken = Self::default();
        spec.devices.iter().for_each(|(name, device)| taken.add(name, device));
        taken
    }

    /// By one more device.
    pub(in crate::core) fn add(&mut self, name: &Name, device: &Device) {
        let map = device.port_map();
        let at = (device.address, device.protocol);
        self.services.entry(at).or_default().add(name, map.ranges(), map.is_wide());
        self.services_len += map.entries_len() + 1;
        self.returns_len += device.serving().count() * map.entries_len();
        if !device.forwarding.is_direct() {
            let ranges = device.all_server_ports();
            for server in device.serving() {
                let at = (server.clone(), device.protocol);
                self.returns.entry(at).or_default().add(name, &ranges, device.is_wide());
            }
        }
        self.ids.insert(device.id);
        while self.ids.contains(&self.ids_from) {
            self.ids_from += 1;
        }
    }

    /// Devices at this address that may have some of these ports, by name.
    pub(super) fn at_service(
        &self,
        at: (IpAddr, Protocol),
        ranges: &[PortRange],
    ) -> BTreeSet<&Name> {
        self.services.get(&at).map(|ports| ports.near(ranges)).unwrap_or_default()
    }

    /// Devices that may have some of these ports at one of these servers, by name.
    pub(super) fn at_servers(
        &self,
        servers: &[Name],
        protocol: Protocol,
        ranges: &[PortRange],
    ) -> BTreeSet<&Name> {
        let of = |server: &Name| self.returns.get(&(server.clone(), protocol));
        servers.iter().filter_map(of).flat_map(|ports| ports.near(ranges)).collect()
    }

    /// The first id that nobody has.
    pub(super) fn free_id(&self, devices_max: u32) -> Option<u32> {
        (self.ids_from < devices_max).then_some(self.ids_from)
    }
}

impl Ports {
    fn add(&mut self, name: &Name, ranges: &[PortRange], is_wide: bool) {
        if is_wide {
            self.wide.insert(name.clone());
            return;
        }
        for port in ranges.iter().flat_map(|range| range.ports()) {
            self.narrow.entry(port).or_default().insert(name.clone());
        }
    }

    fn near(&self, ranges: &[PortRange]) -> BTreeSet<&Name> {
        let narrow = ranges.iter().flat_map(|range| self.narrow.range(range.ports()));
        narrow.flat_map(|(_, names)| names).chain(&self.wide).collect()
    }
}
