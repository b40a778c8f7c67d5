//! The whole content that the kernel's tables should have, and the writes from one content to
//! another.
//!
//! [`Image::of`] is pure, [`diff`] orders the writes so that no packet meets a half-made state, and
//! [`Image::take`] says what a write does, so that an image can follow the tables write by write.
//! [`Imager`] makes one image after the other, and of the next one only what has changed.

mod diff;
mod imager;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use diff::diff;
pub use imager::Imager;
use redirector_common::headers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::wire::{MARK_ORIGIN, MARK_SERVICE, MARK_TRACKED};

use super::observed::{Deaths, Observed};
use super::op::{AssociationWord, DeviceSettings, Endpoint, NextHop, Op, ServerState};
use super::ports::PortRange;
use super::service::{Affinity, Protocol, Tracking};
use super::shared::Shared;
use super::spec::{Device, Name, Server, Spec};

/// The content of the tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Server id -> its line.
    pub servers: BTreeMap<u16, ServerLine>,
    /// Device id -> its settings.
    pub devices: Shared<BTreeMap<u32, DeviceSettings>>,
    /// Device id -> its association. Ids without a holder have a word without a server.
    pub words: Shared<BTreeMap<u32, AssociationWord>>,
    /// Service address -> device id.
    pub services: Shared<BTreeMap<Endpoint, u32>>,
    /// A server's address and port -> device id and server id.
    pub returns: Shared<BTreeMap<Endpoint, (u32, u16)>>,
    /// Address -> what may be known of it: `MARK_` bits.
    pub marks: Shared<BTreeMap<IpAddr, u32>>,
}

/// What the tables hold of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLine {
    /// Its address.
    pub address: IpAddr,
    /// What the packet path may do with it.
    pub state: ServerState,
    /// Its present life.
    pub incarnation: u32,
    /// The way to it; None: not known.
    pub next_hop: Option<NextHop>,
}

impl Image {
    /// What the tables should hold.
    #[must_use]
    pub fn of(spec: &Spec, observed: &Observed) -> Self {
        let mut image = Self { servers: Self::lines(spec, observed), ..Self::default() };
        for (id, epoch) in &spec.slots.epochs {
            image.words.insert(*id, vacant(*epoch));
        }
        for device in spec.devices.values() {
            image.put_device(spec, device);
        }
        image
    }

    fn lines(spec: &Spec, observed: &Observed) -> BTreeMap<u16, ServerLine> {
        let deaths = observed.deaths();
        let line = |(name, server): (&Name, &Server)| {
            let line = ServerLine {
                address: server.address,
                state: state(name, server, &deaths),
                incarnation: server.incarnation,
                next_hop: observed.next_hops.get(name).copied(),
            };
            (server.id, line)
        };
        spec.servers.iter().map(line).collect()
    }

    fn put_device(&mut self, spec: &Spec, device: &Device) {
        let settings = settings(device);
        let DeviceSettings { address, protocol, .. } = settings;
        let id = device.id;
        self.devices.insert(id, settings);
        self.words.insert(id, word(spec, device));
        for port in entries(device, &device.all_ports()) {
            self.services.insert(Endpoint { address, port, protocol }, id);
        }
        self.answer_echo(address, id);
        // While a stateless device drains it has entries, which have to be found.
        let tracked = !settings.stateless || !device.association.drains.is_empty();
        let tracked = if tracked { MARK_TRACKED } else { 0 };
        self.mark(address, MARK_SERVICE | tracked);
        if device.forwarding.is_direct() {
            return;
        }
        for server in device.serving().filter_map(|name| spec.servers.get(name)) {
            let address = server.address;
            for port in entries(device, &device.all_server_ports()) {
                self.returns.insert(Endpoint { address, port, protocol }, (id, server.id));
            }
            self.mark(address, MARK_ORIGIN | tracked);
        }
    }

    fn mark(&mut self, address: IpAddr, marks: u32) {
        *self.marks.entry(address).or_default() |= marks;
    }

    /// Echo requests to a service address are answered, on the account of one of its devices.
    fn answer_echo(&mut self, address: IpAddr, id: u32) {
        let protocol = if address.is_ipv4() { PROTOCOL_ICMP } else { PROTOCOL_ICMPV6 };
        let holder = self.services.entry(Endpoint { address, port: 0, protocol }).or_insert(id);
        *holder = id.min(*holder);
    }

    /// Follows one write.
    pub fn take(&mut self, op: &Op) {
        match op {
            Op::SetServerAddress { id, address } => {
                let (state, incarnation, next_hop) = (ServerState::Absent, 0, None);
                let fresh = ServerLine { address: *address, state, incarnation, next_hop };
                self.servers.entry(*id).or_insert(fresh).address = *address;
            }
            Op::SetServerState { id, state: ServerState::Absent, .. } => {
                self.servers.remove(id);
            }
            Op::SetServerState { id, state, incarnation } => {
                if let Some(line) = self.servers.get_mut(id) {
                    line.state = *state;
                    line.incarnation = *incarnation;
                }
            }
            Op::SetNextHop { id, next_hop } => {
                if let Some(line) = self.servers.get_mut(id) {
                    line.next_hop = *next_hop;
                }
            }
            Op::SetDevice { id, settings } => {
                self.devices.insert(*id, *settings);
            }
            Op::CommitAssociations { words } => self.words.extend(words.iter().copied()),
            Op::SetMarks { address, marks: 0 } => {
                self.marks.remove(address);
            }
            Op::SetMarks { address, marks } => {
                self.marks.insert(*address, *marks);
            }
            Op::AddService { service, device } => {
                self.services.insert(*service, *device);
            }
            Op::RemoveService { service } => {
                self.services.remove(service);
            }
            Op::AddReturn { endpoint, device, server } => {
                self.returns.insert(*endpoint, (*device, *server));
            }
            Op::RemoveReturn { endpoint } => {
                self.returns.remove(endpoint);
            }
        }
    }
}

fn state(name: &Name, server: &Server, deaths: &Deaths<'_>) -> ServerState {
    let dead = server.is_out() || deaths.server(name);
    if dead { ServerState::Dead } else { ServerState::Alive }
}

fn word(spec: &Spec, device: &Device) -> AssociationWord {
    let id = |name: &Name| spec.servers.get(name).map_or(0, |server| server.id);
    let now = &device.association;
    AssociationWord {
        server: id(&now.server),
        previous: device.previous().map_or(0, id),
        backup: now.backup.as_ref().map_or(0, id),
        epoch: now.epoch,
        epochs_open: now.epochs_open(),
    }
}

fn settings(device: &Device) -> DeviceSettings {
    DeviceSettings {
        address: device.address,
        port: device.port_first(),
        port_last: device.port_last(),
        protocol: number(device.protocol),
        server_port: device.server_port_first(),
        forwarding: device.forwarding.into(),
        stateless: device.tracking == Tracking::Stateless,
        affinity: device.affinity == Affinity::Client,
        mss_max: device.mss_max.unwrap_or_default(),
    }
}

/// The ports under which a device is entered: each of them, or zero for all of its address.
fn entries(device: &Device, ports: &[PortRange]) -> Vec<u16> {
    match device.is_wide() {
        true => vec![0],
        false => ports.iter().flat_map(|range| range.ports()).collect(),
    }
}

/// Protocol number in the tables.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => PROTOCOL_TCP,
        Protocol::Udp => PROTOCOL_UDP,
        Protocol::Any => 0,
    }
}

/// The word of an id without a holder: flows of its last one are over.
fn vacant(epoch: u16) -> AssociationWord {
    AssociationWord { server: 0, previous: 0, backup: 0, epoch, epochs_open: 0 }
}
