//! The same tables as ordinary collections, the same frame handling on a vector of bytes, and the
//! very same decision.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use redirector_common::decide::{Tables, decide};
use redirector_common::family::{Endpoint4, Family, FlowKey4, V4};
use redirector_common::flow::{Entry, Flow};
use redirector_common::headers::{
    ETHER_TYPE_IPV4, ETHERNET_LEN, Ethernet, Ipv4, PROTOCOL_TCP, PROTOCOL_UDP, Tcp, Udp,
};
use redirector_common::order::{Be16, Be32};
use redirector_common::packet::Packet;
use redirector_common::reset::{RESET_FRAME_LEN, reset};
use redirector_common::verdict::{Action, Reason, Verdict};
use redirector_common::wire::{Association, DeviceLine, Hop, Origin, ServerLine, ServerWord};
use redirector_common::{nat, parse};
use redirector_ctl::core::op::{Endpoint, Op, ServerState};
use redirector_ctl::core::spec::Protocol;
use zerocopy::{FromBytes, IntoBytes};

use super::{DROP, GATEWAY_MAC, INGRESS, Outcome, PASS, TX};

/// An entry of a flow table.
#[derive(Debug, Clone)]
pub struct Shared(Rc<Cell<Flow>>);

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

/// The tables on the host.
#[derive(Debug, Default)]
pub struct Host {
    flows: RefCell<HashMap<FlowKey4, Shared>>,
    candidates: RefCell<HashMap<FlowKey4, Shared>>,
    services: HashMap<Endpoint4, u32>,
    origins: HashMap<Endpoint4, Origin>,
    associations: HashMap<u32, Association>,
    servers: HashMap<u16, ServerLine>,
    devices: HashMap<u32, DeviceLine>,
    /// Most proven flows; 0 for no limit.
    pub flows_max: usize,
}

impl Tables<V4> for Host {
    type Entry<'a> = Shared;

    fn now(&self) -> u64 {
        0
    }

    fn flow(&self, key: &FlowKey4) -> Option<Shared> {
        self.flows.borrow().get(key).cloned()
    }

    fn candidate(&self, key: &FlowKey4) -> Option<Shared> {
        self.candidates.borrow().get(key).cloned()
    }

    fn service(&self, destination: &Endpoint4) -> Option<u32> {
        self.services.get(destination).copied()
    }

    fn origin(&self, source: &Endpoint4) -> Option<Origin> {
        self.origins.get(source).copied()
    }

    fn association(&self, device: u32) -> Option<Association> {
        Some(self.associations.get(&device).copied().unwrap_or_default())
    }

    fn server(&self, id: u16) -> Option<ServerLine> {
        Some(self.servers.get(&id).copied().unwrap_or_default())
    }

    fn device(&self, device: u32) -> Option<&DeviceLine> {
        self.devices.get(&device)
    }

    fn open(&self, key: &FlowKey4, flow: &Flow) {
        self.candidates.borrow_mut().insert(*key, Shared(Rc::new(Cell::new(*flow))));
    }

    fn prove(&self, key: &FlowKey4, flow: &Flow) -> bool {
        let mut flows = self.flows.borrow_mut();
        if self.flows_max != 0 && flows.len() >= self.flows_max && !flows.contains_key(key) {
            return false;
        }
        flows.insert(*key, Shared(Rc::new(Cell::new(*flow))));
        self.candidates.borrow_mut().remove(key);
        true
    }
}

impl Host {
    /// Carries out ops, as `Tables::apply` does in the kernel.
    pub fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            self.apply_one(op);
        }
    }

    fn apply_one(&mut self, op: &Op) {
        match op {
            Op::SetServerAddress { id, address } => {
                self.servers.entry(*id).or_default().address = address_bytes(*address);
            }
            Op::SetServerState { id, state, incarnation } => {
                self.servers.entry(*id).or_default().state = match state {
                    ServerState::Absent => ServerWord::ABSENT,
                    ServerState::Alive => ServerWord::alive(*incarnation),
                    ServerState::Dead => ServerWord::dead(*incarnation),
                };
            }
            Op::SetNextHop { id, next_hop } => {
                self.servers.entry(*id).or_default().next_hop =
                    next_hop.map_or(Hop::UNKNOWN, |hop| Hop::new(hop.mac, INGRESS));
            }
            Op::SetDevice { id, settings } => {
                let line = DeviceLine {
                    address: address_bytes(settings.address),
                    port: Be16::new(settings.port),
                    server_port: Be16::new(settings.server_port),
                    protocol: number(settings.protocol),
                    pad: [0; 11],
                };
                self.devices.insert(*id, line);
            }
            Op::CommitAssociations { words } => {
                for (device, w) in words {
                    let word =
                        Association::new(w.server, w.previous, w.backup, w.epoch, w.epochs_open);
                    self.associations.insert(*device, word);
                }
            }
            Op::AddService { service, device } => {
                self.services.insert(endpoint(service), *device);
            }
            Op::RemoveService { service } => {
                self.services.remove(&endpoint(service));
            }
            Op::AddReturn { endpoint: at, device, server } => {
                let origin = Origin { device: *device, server: *server, pad: 0 };
                self.origins.insert(endpoint(at), origin);
            }
            Op::RemoveReturn { endpoint: at } => {
                self.origins.remove(&endpoint(at));
            }
        }
    }

    /// Number of proven flows and of candidates.
    pub fn flows_len(&self) -> (usize, usize) {
        (self.flows.borrow().len(), self.candidates.borrow().len())
    }

    /// What becomes of a frame, and why.
    pub fn run(&self, frame: &[u8]) -> (Outcome, Reason) {
        let mut bytes = frame.to_vec();
        let verdict = match parse_frame(&bytes) {
            Ok(packet) => decide(&packet, self),
            Err(reason) => Verdict::plain(Action::Pass, reason),
        };
        let action = apply(&mut bytes, &verdict);
        (Outcome { action, frame: bytes }, verdict.reason)
    }
}

fn parse_frame(frame: &[u8]) -> Result<Packet<V4>, Reason> {
    let (ethernet, rest) = Ethernet::read_from_prefix(frame).map_err(|_| Reason::Truncated)?;
    if ethernet.ether_type != ETHER_TYPE_IPV4 {
        return Err(Reason::NotIp);
    }
    let (ip, rest) = Ipv4::read_from_prefix(rest).map_err(|_| Reason::Truncated)?;
    let ip_len = parse::ipv4(&ip)?;
    if ETHERNET_LEN + ip_len > frame.len() {
        return Err(Reason::Truncated);
    }
    let (source, destination, segment) = match ip.protocol {
        PROTOCOL_TCP => {
            let (tcp, _) = Tcp::read_from_prefix(rest).map_err(|_| Reason::Truncated)?;
            (tcp.source, tcp.destination, Some(parse::tcp(&tcp, ip_len)?))
        }
        PROTOCOL_UDP => {
            let (udp, _) = Udp::read_from_prefix(rest).map_err(|_| Reason::Truncated)?;
            parse::udp(&udp, ip_len)?;
            (udp.source, udp.destination, None)
        }
        _ => return Err(Reason::OtherProtocol),
    };
    Ok(Packet {
        source: V4::endpoint(ip.source, source, ip.protocol),
        destination: V4::endpoint(ip.destination, destination, ip.protocol),
        segment,
        ttl: ip.ttl,
        arrival: Hop::new(ethernet.source, INGRESS),
    })
}

fn apply(frame: &mut Vec<u8>, verdict: &Verdict<V4>) -> u32 {
    match verdict.action {
        Action::Pass => PASS,
        Action::Drop => DROP,
        Action::Reset => {
            frame.truncate(RESET_FRAME_LEN);
            let (ethernet, rest) = split::<Ethernet>(frame);
            let (ip, rest) = split::<Ipv4>(rest);
            let (tcp, _) = split::<Tcp>(rest);
            reset(ethernet, ip, tcp);
            TX
        }
        Action::ToServer | Action::ToClient => {
            let (ethernet, rest) = split::<Ethernet>(frame);
            let (ip, rest) = split::<Ipv4>(rest);
            match ip.protocol {
                PROTOCOL_TCP => rewrite(verdict, ip, split::<Tcp>(rest).0),
                _ => rewrite(verdict, ip, split::<Udp>(rest).0),
            }
            if verdict.egress.ifindex() != INGRESS {
                return PASS;
            }
            ethernet.destination = verdict.egress.mac();
            ethernet.source = GATEWAY_MAC;
            TX
        }
    }
}

fn rewrite(verdict: &Verdict<V4>, ip: &mut Ipv4, transport: &mut impl nat::Transport) {
    match verdict.action {
        Action::ToServer => nat::to_server(ip, transport, verdict.address, verdict.port),
        _ => nat::to_client(ip, transport, verdict.address, verdict.port),
    }
}

fn split<T: FromBytes + IntoBytes + zerocopy::KnownLayout>(
    bytes: &mut [u8],
) -> (&mut T, &mut [u8]) {
    T::mut_from_prefix(bytes).expect("the frame was parsed, so its headers are there")
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    if let IpAddr::V4(address) = address {
        bytes[..4].copy_from_slice(&address.octets());
    }
    bytes
}

fn endpoint(endpoint: &Endpoint) -> Endpoint4 {
    let [a, b, c, d, ..] = address_bytes(endpoint.address);
    Endpoint4 {
        address: Be32::new(u32::from_be_bytes([a, b, c, d])),
        port: Be16::new(endpoint.port),
        protocol: number(endpoint.protocol),
        pad: 0,
    }
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => PROTOCOL_TCP,
        Protocol::Udp => PROTOCOL_UDP,
    }
}
