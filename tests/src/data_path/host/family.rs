//! The host's tables of one address family.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::rc::Rc;

use redirector_common::family::{Family, V4, V6};
use redirector_common::flow::{Entry, Flow};
use redirector_common::order::{Be16, Be32, Be128};
use redirector_common::path::Path;
use redirector_common::wire::Origin;
use redirector_ctl::core::op::Endpoint;
use redirector_ctl::platform::tables::GatewayInterface;

use super::Host;

/// An entry of a flow table.
#[derive(Debug, Clone)]
pub struct Shared(Rc<Cell<Flow>>);

impl Shared {
    pub(super) fn new(flow: &Flow) -> Self {
        Self(Rc::new(Cell::new(*flow)))
    }
}

impl Entry for Shared {
    fn word(&self, index: usize) -> u64 {
        self.0.get().word_at(index)
    }

    fn set_word(&self, index: usize, value: u64) {
        let mut flow = self.0.get();
        flow.set_word_at(index, value);
        self.0.set(flow);
    }
}

/// A family whose keys a hash map takes.
pub trait HostFamily:
    Family<Endpoint: Hash + Eq, Tuple: Hash + Eq, FragmentKey: Hash + Eq, ClientKey: Hash + Eq>
{
    /// The tables of this family.
    fn of(host: &Host) -> &PerFamily<Self>;
    /// An address; None if it is of the other family.
    fn address_of(address: IpAddr) -> Option<Self::Address>;
    /// The address again.
    fn ip(address: Self::Address) -> IpAddr;
    /// An interface's own address.
    fn own(interface: &GatewayInterface) -> Option<Self::Address>;
}

impl HostFamily for V4 {
    fn of(host: &Host) -> &PerFamily<Self> {
        &host.v4
    }

    fn address_of(address: IpAddr) -> Option<Be32> {
        match address {
            IpAddr::V4(address) => Some(Be32::new(address.into())),
            IpAddr::V6(_) => None,
        }
    }

    fn ip(address: Be32) -> IpAddr {
        std::net::Ipv4Addr::from(address.get()).into()
    }

    fn own(interface: &GatewayInterface) -> Option<Be32> {
        interface.address_v4.map(|address| Be32::new(address.into()))
    }
}

impl HostFamily for V6 {
    fn of(host: &Host) -> &PerFamily<Self> {
        &host.v6
    }

    fn address_of(address: IpAddr) -> Option<Be128> {
        match address {
            IpAddr::V6(address) => Some(Be128::from_bytes(address.octets())),
            IpAddr::V4(_) => None,
        }
    }

    fn ip(address: Be128) -> IpAddr {
        std::net::Ipv6Addr::from(address.to_bytes()).into()
    }

    fn own(interface: &GatewayInterface) -> Option<Be128> {
        interface.address_v6.map(|address| Be128::from_bytes(address.octets()))
    }
}

/// A line of remembered paths: whose packets, and the path.
pub(super) type Line<F> = (<F as Family>::Tuple, Rc<Path<F>>);

/// The tables of one family.
#[derive(Debug)]
pub struct PerFamily<F: HostFamily> {
    pub(super) flows: RefCell<HashMap<F::Tuple, Shared>>,
    pub(super) candidates: RefCell<HashMap<F::Tuple, Shared>>,
    pub(super) clients: RefCell<HashMap<F::ClientKey, Shared>>,
    pub(super) ports: RefCell<HashMap<F::Tuple, F::Tuple>>,
    pub(super) new_ports: RefCell<HashMap<F::Tuple, F::Tuple>>,
    pub(super) fragments: RefCell<HashMap<F::FragmentKey, Rc<Path<F>>>>,
    pub(super) front: RefCell<HashMap<u32, Line<F>>>,
    pub(super) services: HashMap<F::Endpoint, u32>,
    pub(super) origins: HashMap<F::Endpoint, Origin>,
}

impl<F: HostFamily> Default for PerFamily<F> {
    fn default() -> Self {
        Self {
            flows: RefCell::default(),
            candidates: RefCell::default(),
            clients: RefCell::default(),
            ports: RefCell::default(),
            new_ports: RefCell::default(),
            fragments: RefCell::default(),
            front: RefCell::default(),
            services: HashMap::new(),
            origins: HashMap::new(),
        }
    }
}

impl<F: HostFamily> PerFamily<F> {
    pub(super) fn lens(&self) -> (usize, usize) {
        (self.flows.borrow().len(), self.candidates.borrow().len())
    }

    pub(super) fn key(at: &Endpoint) -> Option<F::Endpoint> {
        Some(F::endpoint(F::address_of(at.address)?, Be16::new(at.port), at.protocol))
    }

    pub(super) fn add_service(&mut self, at: &Endpoint, device: u32) {
        if let Some(key) = Self::key(at) {
            self.services.insert(key, device);
        }
    }

    pub(super) fn remove_service(&mut self, at: &Endpoint) {
        if let Some(key) = Self::key(at) {
            self.services.remove(&key);
        }
    }

    pub(super) fn add_return(&mut self, at: &Endpoint, origin: Origin) {
        if let Some(key) = Self::key(at) {
            self.origins.insert(key, origin);
        }
    }

    pub(super) fn remove_return(&mut self, at: &Endpoint) {
        if let Some(key) = Self::key(at) {
            self.origins.remove(&key);
        }
    }
}
