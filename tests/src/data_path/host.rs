//! The same tables as ordinary collections, the same frame handling on a vector of bytes, and the
//! very same decision.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use redirector_common::apply::{Work, apply};
use redirector_common::decide::decide;
use redirector_common::family::{Family, V4, V6};
use redirector_common::flow::Flow;
use redirector_common::frame::Frame as _;
use redirector_common::front::FrontUse;
use redirector_common::headers::Ethernet;
use redirector_common::order::{Be16, Be32, Be128, Words as _};
use redirector_common::packet::Packet;
use redirector_common::parse;
use redirector_common::path::Path;
use redirector_common::short_way::{self, Taken};
use redirector_common::tables::{Interface, Route, Server, Tables};
use redirector_common::verdict::{Reason, Verdict};
use redirector_common::wire::{
    Association, DeviceLine, Hop, LocalPorts, MARK_LOCAL, MARKS_LEN, Origin, ServerLine, Tags,
    mark_place,
};
use redirector_ctl::platform::tables::{Gateway, GatewayInterface};

mod explained;
mod family;
mod front;
mod ops;

pub use explained::Explained;
pub use family::{HostFamily, PerFamily, Shared};

use super::frame::{Bytes, HEADROOM};
use super::{INGRESS, Outcome};

/// The tables on the host.
#[derive(Debug, Default)]
pub struct Host {
    v4: PerFamily<V4>,
    v6: PerFamily<V6>,
    associations: HashMap<u32, Association>,
    servers: HashMap<u16, ServerLine>,
    devices: HashMap<u32, DeviceLine>,
    marks: BTreeMap<IpAddr, u32>,
    /// What is marked in each place of the kernel's table.
    places: HashMap<(u32, u32), u32>,
    gateway: Gateway,
    /// Most proven flows of a family; 0 for no limit.
    pub flows_max: usize,
    /// Paths remembered; 0 for none.
    pub paths_max: u32,
    /// The tables' clock.
    pub now: Cell<u64>,
    /// Where the kernel's routing table would send packets, by destination. What is not in it goes
    /// to the gateway itself.
    pub routes: HashMap<IpAddr, Route>,
    /// Bytes that a driver leaves in front of frames.
    pub headroom: usize,
    /// Whether new flows get entries.
    pub may_open: Cell<bool>,
    /// Whether packets are answered.
    pub may_answer: Cell<bool>,
    /// Packets that could also have taken the short way, and were compared.
    pub short_len: Cell<u64>,
    /// Requests of clients, by device.
    pub requests: RefCell<BTreeMap<u32, u64>>,
    /// The short way is being tried: what it would remember, the long way is to find by itself.
    trying: Cell<bool>,
    /// Whether the front is of use, as the program judges it.
    front_use: Cell<FrontUse>,
}

impl<F: HostFamily> Tables<F> for Host {
    type Entry<'a> = Shared;
    type PathRef<'a> = Rc<Path<F>>;

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn marks(&self, address: F::Address) -> u32 {
        // By place, as the kernel's table has them.
        let place = mark_place(address.fold());
        assert!(place.0 < MARKS_LEN, "the place is in the table");
        self.places.get(&place).copied().unwrap_or_default()
    }

    fn flow(&self, key: &F::Tuple) -> Option<Shared> {
        F::of(self).flows.borrow().get(key).cloned()
    }

    fn candidate(&self, key: &F::Tuple) -> Option<Shared> {
        F::of(self).candidates.borrow().get(key).cloned()
    }

    fn service(&self, destination: &F::Endpoint) -> Option<u32> {
        F::of(self).services.get(destination).copied()
    }

    fn origin(&self, source: &F::Endpoint) -> Option<Origin> {
        F::of(self).origins.get(source).copied()
    }

    fn association(&self, device: u32) -> Option<Association> {
        Some(self.associations.get(&device).copied().unwrap_or_default())
    }

    fn server(&self, id: u16) -> Option<Server<'_>> {
        let line = self.servers.get(&id)?;
        Some(Server { state: line.state, next_hop: line.next_hop, line })
    }

    fn device(&self, device: u32) -> Option<&DeviceLine> {
        self.devices.get(&device)
    }

    fn open(&self, key: &F::Tuple, flow: &Flow) {
        F::of(self).candidates.borrow_mut().insert(*key, Shared::new(flow));
    }

    fn prove(&self, key: &F::Tuple, flow: &Flow) -> bool {
        let mut flows = F::of(self).flows.borrow_mut();
        if self.flows_max != 0 && flows.len() >= self.flows_max && !flows.contains_key(key) {
            return false;
        }
        flows.insert(*key, Shared::new(flow));
        F::of(self).candidates.borrow_mut().remove(key);
        true
    }

    fn may_open(&self) -> bool {
        self.may_open.get()
    }

    fn opens_left(&self) -> bool {
        self.may_open.get()
    }

    fn may_answer(&self) -> bool {
        self.may_answer.get()
    }

    fn client(&self, key: &F::ClientKey) -> Option<Shared> {
        F::of(self).clients.borrow().get(key).cloned()
    }

    fn hold_client(&self, key: &F::ClientKey, flow: &Flow) {
        F::of(self).clients.borrow_mut().insert(*key, Shared::new(flow));
    }

    fn port_holder(&self, key: &F::Tuple) -> Option<F::Tuple> {
        let of = F::of(self);
        let kept = of.ports.borrow().get(key).copied();
        kept.or_else(|| of.new_ports.borrow().get(key).copied())
    }

    fn take_port(&self, key: &F::Tuple, holder: &F::Tuple) -> bool {
        if self.port_holder_of::<F>(key).is_some() {
            return false;
        }
        F::of(self).new_ports.borrow_mut().insert(*key, *holder);
        true
    }

    fn keep_port(&self, key: &F::Tuple, holder: &F::Tuple) -> bool {
        F::of(self).ports.borrow_mut().insert(*key, *holder);
        F::of(self).new_ports.borrow_mut().remove(key);
        true
    }

    fn local_ports(&self) -> LocalPorts {
        let count = |v6: bool| self.locals(v6).count() as u16;
        let (first, last) = self.gateway.local_ports;
        LocalPorts::new(first, last, count(false), count(true))
    }

    fn local(&self, index: u16) -> Option<F::Address> {
        let n = usize::from(index).checked_sub(F::LOCALS_BEGIN as usize)?;
        self.gateway.locals.iter().filter_map(|ip| F::address_of(*ip)).nth(n)
    }

    fn fragment(&self, key: &F::FragmentKey) -> Option<Rc<Path<F>>> {
        F::of(self).fragments.borrow().get(key).cloned()
    }

    fn note_fragment(&self, key: &F::FragmentKey, verdict: &Verdict<F>) {
        let path = Path::of(verdict, verdict.egress, self.now.get());
        F::of(self).fragments.borrow_mut().insert(*key, Rc::new(path));
    }

    fn remembered(&self, packet: &F::Tuple) -> Option<Rc<Path<F>>> {
        self.look::<F>(packet)
    }

    fn remember(&self, packet: &F::Tuple, verdict: &Verdict<F>, hop: Hop) {
        self.put(packet, &Path::of(verdict, hop, self.now.get()));
    }

    fn remember_path(&self, packet: &F::Tuple, path: &Path<F>) {
        self.put(packet, path);
    }

    fn forget(&self, packet: &F::Tuple) {
        self.close::<F>(packet);
    }

    fn route(&self, _source: F::Address, destination: F::Address) -> Route {
        self.routes.get(&F::ip(destination)).copied().unwrap_or(Route::Local)
    }

    fn interface(&self, index: u16) -> Option<Interface> {
        let found = self.interface_of(index)?;
        let own = Hop::new(found.mac, found.carrier);
        Some(Interface { own, tags: found.tags, mtu: found.mtu })
    }

    fn own_address(&self, index: u16) -> Option<F::Address> {
        F::own(self.interface_of(index)?)
    }

    fn tunnel_source_v4(&self) -> Be32 {
        self.gateway.tunnel_source_v4.map(|ip| Be32::new(ip.into())).unwrap_or_default()
    }

    fn tunnel_source_v6(&self) -> Be128 {
        let source = self.gateway.tunnel_source_v6;
        source.map(|ip| Be128::from_bytes(ip.octets())).unwrap_or_default()
    }

    fn gue_port(&self) -> Be16 {
        Be16::new(self.gateway.gue_port)
    }
}

impl Host {
    /// Tables for the gateway that test programs are told of.
    pub fn new() -> Self {
        let mut host = Self {
            gateway: super::gateway(),
            paths_max: 1024,
            headroom: HEADROOM,
            ..Self::default()
        };
        host.set_gateway(super::gateway());
        host.may_open.set(true);
        host.may_answer.set(true);
        host
    }

    /// Makes another gateway known.
    pub fn set_gateway(&mut self, gateway: Gateway) {
        self.gateway = gateway;
        self.place_marks();
    }

    fn place_marks(&mut self) {
        let place = |ip: &IpAddr| {
            mark_place(match ip {
                IpAddr::V4(ip) => Be32::new((*ip).into()).fold(),
                IpAddr::V6(ip) => Be128::from_bytes(ip.octets()).fold(),
            })
        };
        self.places.clear();
        let locals = self.gateway.locals.iter().map(|ip| (ip, &MARK_LOCAL));
        for (ip, marks) in self.marks.iter().chain(locals) {
            *self.places.entry(place(ip)).or_default() |= marks;
        }
    }

    fn locals(&self, v6: bool) -> impl Iterator<Item = &IpAddr> {
        self.gateway.locals.iter().filter(move |ip| ip.is_ipv6() == v6)
    }

    fn interface_of(&self, index: u16) -> Option<&GatewayInterface> {
        self.gateway.interfaces.iter().find(|interface| interface.index == index)
    }

    fn port_holder_of<F: HostFamily>(&self, key: &F::Tuple) -> Option<F::Tuple> {
        <Self as Tables<F>>::port_holder(self, key)
    }

    /// Number of proven flows and of candidates.
    pub fn flows_len(&self) -> (usize, usize) {
        let (v4, v6) = (self.v4.lens(), self.v6.lens());
        (v4.0 + v6.0, v4.1 + v6.1)
    }

    /// What becomes of a frame, and why.
    pub fn run(&self, frame: &[u8]) -> (Outcome, Reason) {
        let Explained { outcome, reason, .. } = self.explain(frame);
        (outcome, reason)
    }

    /// The same, and for whom.
    pub fn explain(&self, frame: &[u8]) -> Explained {
        let passed = |reason| Explained::passed(frame, reason);
        let link = match parse::link(&Bytes::new(frame)) {
            Ok(link) => link,
            Err(reason) => return passed(reason),
        };
        let explained = if link.ether_type == V4::ETHER_TYPE {
            self.explain_packet::<V4>(frame, &link)
        } else if link.ether_type == V6::ETHER_TYPE {
            self.explain_packet::<V6>(frame, &link)
        } else {
            Err(Reason::NotIp)
        };
        explained.unwrap_or_else(passed)
    }

    fn explain_packet<F: HostFamily>(
        &self,
        frame: &[u8],
        link: &parse::Link,
    ) -> Result<Explained, Reason> {
        let short = self.short_way::<F>(frame, link);
        let frame = Bytes::behind(frame, self.headroom);
        let index = self.arrival(link.tags).ok_or(Reason::VlanUnknown)?;
        let ethernet: &Ethernet = frame.header(0)?;
        let mut packet = Packet::<F>::nothing();
        let arrival = Hop::to_station(ethernet.source, index);
        parse::packet(&frame, link.network, arrival, &mut packet)?;
        let mut verdict = Verdict::undecided();
        decide(&packet, self, &mut verdict);
        let mut work = Work::none();
        let frame = apply(frame, &packet, (&mut verdict, &mut work), (self, link.tags));
        let of = (&verdict.account(), &packet.segment);
        let explained = Explained::new(frame, (work.exit, work.ifindex), of);
        if let Some(short) = short {
            assert_eq!(short, explained, "the short way leads to the same");
            self.short_len.set(self.short_len.get() + 1);
        }
        if explained.is_request {
            *self.requests.borrow_mut().entry(verdict.device).or_default() += 1;
        }
        Ok(explained)
    }

    /// What becomes of a frame by the short way, if it can take that.
    fn short_way<F: HostFamily>(&self, frame: &[u8], link: &parse::Link) -> Option<Explained> {
        if link.tags != Tags::NONE {
            return None;
        }
        let frame = Bytes::behind(frame, self.headroom);
        let mut taken = Taken::nothing();
        let before = self.front_use.get();
        self.trying.set(true);
        let went = short_way::take::<F, _, _>(frame, self, INGRESS, &mut taken);
        self.trying.set(false);
        if went.is_ok() {
            // The program looks once; here the long way looks again.
            self.front_use.set(before);
        }
        let exit = (taken.exit, taken.ifindex);
        went.ok().map(|frame| Explained::new(frame, exit, (&taken.account, &taken.segment)))
    }

    /// The interface that a frame with these tags came in by.
    fn arrival(&self, tags: Tags) -> Option<u16> {
        if tags == Tags::NONE {
            return Some(INGRESS);
        }
        let known =
            |interface: &&GatewayInterface| interface.carrier == INGRESS && interface.tags == tags;
        self.gateway.interfaces.iter().find(known).map(|interface| interface.index)
    }
}
