//! Random packets and random changes of a small world, in which flows are met again and again: both
//! families, every way of forwarding, tags, options, fragments, ICMP errors, damage.

use redirector_common::wire::{Forwarding, MARK_ORIGIN, MARK_SERVICE, MARK_TRACKED, Tags};
use redirector_ctl::core::op::{AssociationWord, Endpoint, NextHop, Op, ServerState};
use redirector_ctl::platform::tables::{Gateway, GatewayInterface};

use super::{GATEWAY_MAC, INGRESS, TCP, TestDevice, UDP, Version, server_ip, server_mac, text};
use crate::random::Random;

/// Servers 1 to 4 have IPv4 addresses, 5 to 8 IPv6 ones.
const SERVERS_OF_FAMILY: u16 = 4;
const SERVERS: u16 = 2 * SERVERS_OF_FAMILY;
/// IPv6 devices have ids from here on.
const FIRST_V6: u32 = 100;

/// A frame as it is sent.
pub struct Sent {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it is right in itself.
    pub is_sound: bool,
    /// It in words, before damage.
    pub text: String,
}

/// The world.
pub struct World {
    devices: Vec<(Version, TestDevice)>,
    random: Random,
}

impl World {
    /// The world that belongs to a seed.
    pub fn new(seed: u64) -> Self {
        let mut devices = Vec::new();
        for (version, first) in [(Version::V4, 0), (Version::V6, FIRST_V6)] {
            let kinds = [
                (TCP, Forwarding::Nat),
                (UDP, Forwarding::Nat),
                (TCP, Forwarding::FullNat),
                (UDP, Forwarding::FullNat),
                (TCP, Forwarding::Dsr),
                (UDP, Forwarding::Dsr),
                (TCP, Forwarding::Ipip),
                (UDP, Forwarding::Gue),
                (0, Forwarding::Nat),
                (TCP, Forwarding::Nat),
                (TCP, Forwarding::Nat),
            ];
            for (n, (protocol, forwarding)) in kinds.into_iter().enumerate() {
                let mut device = TestDevice::new(version, first + n as u32, protocol, forwarding);
                let settings = &mut device.settings;
                match n {
                    8 => (settings.port, settings.port_last, settings.server_port) = (0, 0, 0),
                    9 => {
                        device = device.stateless();
                    }
                    10 => (settings.affinity, settings.mss_max) = (true, 1400),
                    _ => {}
                }
                devices.push((version, device));
            }
        }
        Self { devices, random: Random::new(seed) }
    }

    /// What the gateway is there: little room for full NAT, and VLANs.
    pub fn gateway() -> Gateway {
        let mut gateway = super::gateway();
        gateway.local_ports = (2000, 2007);
        let own = gateway.interfaces[0].clone();
        for (index, tags) in [(20, Tags::one(5)), (21, Tags::two(7, 8))] {
            let carrier = INGRESS;
            let mac = GATEWAY_MAC;
            gateway.interfaces.push(GatewayInterface { index, carrier, mac, tags, ..own.clone() });
        }
        gateway
    }

    /// The ops that make the world.
    pub fn ops(&self) -> Vec<Op> {
        let mut ops = Vec::new();
        for id in 1..=SERVERS {
            ops.push(Op::SetServerAddress { id, address: address_of(id) });
            ops.push(Op::SetNextHop {
                id,
                next_hop: Some(NextHop { mac: server_mac(id), port: 0 }),
            });
            ops.push(super::server_state(id, ServerState::Alive));
        }
        for (version, device) in &self.devices {
            ops.extend(device.ops(0, *version));
            for server in servers_of(*version) {
                let settings = &device.settings;
                let (address, port) = (address_of(server), settings.server_port);
                let endpoint = Endpoint { address, port, protocol: settings.protocol };
                ops.push(Op::SetMarks { address, marks: MARK_ORIGIN | MARK_TRACKED });
                if device.comes_back {
                    ops.push(Op::AddReturn { endpoint, device: device.id, server });
                }
            }
        }
        ops
    }

    /// `len` frames to choose from.
    ///
    /// # Errors
    ///
    /// Never, as long as this file and the grammar of frames agree.
    pub fn frames(&mut self, len: usize) -> Result<Vec<Sent>, String> {
        let one = |world: &mut Self| {
            let (version, text) = world.frame();
            let mut bytes =
                text::frame(&text, version).map_err(|wrong| format!("{text}: {wrong}"))?;
            world.damage(&mut bytes);
            let is_sound = super::check::check(&bytes).is_ok();
            Ok(Sent { bytes, is_sound, text })
        };
        (0..len).map(|_| one(self)).collect()
    }

    /// A number below `len`.
    pub fn below(&mut self, len: usize) -> usize {
        self.random.below(len)
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        self.random.choose::<&str>(of)
    }

    /// A byte changed, a tail cut off, a tail added.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        match self.below(40) {
            0 => {
                let at = self.below(bytes.len());
                bytes[at] = self.random.bits() as u8;
            }
            1 => {
                let len = 14 + self.below(bytes.len() - 13);
                bytes.truncate(len);
            }
            2 => {
                let more = self.below(20);
                bytes.resize(bytes.len() + more, 0);
            }
            _ => {}
        }
    }

    fn frame(&mut self) -> (Version, String) {
        let (version, device) = *self.random.choose(&self.devices);
        let tags =
            self.pick(&["", "", "", "", "", "vlan 5 prio 3 | ", "qinq 7 | vlan 8 | ", "vlan 6 | "]);
        let from_client = self.below(2) == 0;
        let server = servers_of(version).start() + self.below(4) as u16;
        let macs = if from_client {
            self.pick(&["client>gateway", "client>gateway", "client2>gateway"]).to_owned()
        } else {
            format!("server{server}>gateway")
        };
        let ends = self.ends(&device, server, from_client);
        let packet = if self.below(8) == 0 {
            self.error(&device, &ends)
        } else {
            self.packet(&device, &ends)
        };
        (version, format!("{macs} | {tags}{packet}"))
    }

    /// Names and ports of both ends as the packet has them.
    fn ends(&mut self, device: &TestDevice, server: u16, from_client: bool) -> Ends {
        let client = format!("client{}", 1 + self.below(4));
        let port = 40_000 + self.below(3) as u16;
        let settings = &device.settings;
        if from_client {
            let service = format!("service{}", device.id);
            return Ends { source: (client, port), destination: (service, settings.port) };
        }
        let source = (format!("server{server}"), settings.server_port);
        let by_local = matches!(settings.forwarding, Forwarding::FullNat);
        let destination = if by_local && self.below(8) != 0 {
            ("local".to_owned(), 2000 + self.below(8) as u16)
        } else {
            (client, port)
        };
        Ends { source, destination }
    }

    fn packet(&mut self, device: &TestDevice, ends: &Ends) -> String {
        let words = self.network_words(ends);
        let protocol = device.settings.protocol;
        let fragment = match self.below(16) {
            0 => " frag 7 0 more",
            1 => " frag 8 0 more",
            2 => " frag 7 1400",
            3 => " frag 9 1400 more",
            _ => "",
        };
        if fragment.contains("1400") {
            let number = if protocol == 0 { 132 } else { protocol };
            return format!("{words}{fragment} | raw {number} | data 40");
        }
        let extensions = self.pick(&["", "", "", "", "", "dstopt 8 | ", "hopopt 8 | dstopt 16 | "]);
        let extensions = if device.settings.address.is_ipv6() { extensions } else { "" };
        format!("{words}{fragment} | {extensions}{}", self.transport(protocol, ends))
    }

    fn network_words(&mut self, ends: &Ends) -> String {
        let hops = self.pick(&["64", "64", "64", "64", "64", "64", "64", "1", "0"]);
        let more = self.pick(&["", "", "", " df", " tos 0xb8", " df tos 3"]);
        let options = self.pick(&["", "", "", "", "", " opt 94040000", " opt 0101010101010100"]);
        format!("ip {}>{} hops {hops}{more}{options}", ends.source.0, ends.destination.0)
    }

    fn transport(&mut self, protocol: u8, ends: &Ends) -> String {
        let data = self.pick(&["0", "0", "1", "12", "700", "1432", "1440", "1500"]);
        let ports = format!("{}>{}", ends.source.1, ends.destination.1);
        match protocol {
            TCP => {
                let flags = self.pick(&["S", "S", "A", "A", "PA", "FA", "R", "RA", "SA", "F"]);
                let sequence = self.pick(&["100", "101", "102", "500", "501"]);
                let acknowledged = self.pick(&["0", "101", "501", "502", "900", "9000000"]);
                let options = self.pick(&["", "", " opt 020405b4", " opt 01020405b4010101"]);
                format!(
                    "tcp {ports} {flags} seq {sequence} ack {acknowledged}{options} | data {data}"
                )
            }
            UDP => {
                let sum = self.pick(&["", "", "", " sum 0"]);
                format!("udp {ports}{sum} | data {data}")
            }
            _ if self.below(3) == 0 => "icmp echo rest 9 | data 30".to_owned(),
            _ => format!("raw 132 | data {data}"),
        }
    }

    /// An error about a packet that went the other way.
    fn error(&mut self, device: &TestDevice, ends: &Ends) -> String {
        let turned = Ends { source: ends.destination.clone(), destination: ends.source.clone() };
        let kind = self.pick(&["unreachable", "toobig rest 1400", "expired", "13.0"]);
        let quote = self.pick(&["8", "all", "20", "3"]);
        let mut outside = self.network_words(ends);
        if self.below(3) == 0 {
            outside = outside.replacen(&ends.source.0, "client9", 1);
        }
        let inside = self.packet(device, &turned);
        format!("{outside} | icmp {kind} | quote {quote} | {inside}")
    }

    /// A random change of the tables.
    pub fn op(&mut self) -> Op {
        let id = 1 + self.below(usize::from(SERVERS)) as u16;
        match self.below(8) {
            0 => {
                let states = [ServerState::Alive, ServerState::Alive, ServerState::Dead];
                let state = *self.random.choose(&states);
                Op::SetServerState { id, state, incarnation: self.below(3) as u32 }
            }
            1 => {
                let ids = 0..self.devices.len();
                Op::CommitAssociations { words: ids.map(|n| self.word(n)).collect() }
            }
            2 => {
                let port = self.below(6) as u16;
                let next_hop = (port < 4).then(|| NextHop { mac: server_mac(id), port: port % 3 });
                Op::SetNextHop { id, next_hop }
            }
            3 => {
                let (_, device) = *self.random.choose(&self.devices);
                let tracked = if self.below(2) == 0 { MARK_TRACKED } else { 0 };
                Op::SetMarks { address: device.settings.address, marks: MARK_SERVICE | tracked }
            }
            4 => self.service_op(),
            5 => self.return_op(id),
            _ => {
                let n = self.below(self.devices.len());
                Op::CommitAssociations { words: vec![self.word(n)] }
            }
        }
    }

    /// A service address is taken away, or given to a device: mostly to its own.
    fn service_op(&mut self) -> Op {
        let (version, of) = *self.random.choose(&self.devices);
        let service = super::service(&of.settings);
        let (other_version, other) = *self.random.choose(&self.devices);
        match self.below(4) {
            0 => Op::RemoveService { service },
            1 if other_version == version => Op::AddService { service, device: other.id },
            _ => Op::AddService { service, device: of.id },
        }
    }

    /// The same of a server's endpoint.
    fn return_op(&mut self, id: u16) -> Op {
        let (version, of) = *self.random.choose(&self.devices);
        let servers = servers_of(version);
        let server = servers.start() + (id - 1) % SERVERS_OF_FAMILY;
        let (port, protocol) = (of.settings.server_port, of.settings.protocol);
        let endpoint = Endpoint { address: address_of(server), port, protocol };
        match self.below(4) {
            0 => Op::RemoveReturn { endpoint },
            _ => Op::AddReturn { endpoint, device: of.id, server },
        }
    }

    /// An association; tunnels also lead to servers of the other family.
    fn word(&mut self, n: usize) -> (u32, AssociationWord) {
        let (version, device) = self.devices[n];
        let tunnels = matches!(device.settings.forwarding, Forwarding::Ipip | Forwarding::Gue);
        let (first, len) = if tunnels { (1, SERVERS) } else { (*servers_of(version).start(), 4) };
        let mut server = || match self.below(usize::from(len) + 1) as u16 {
            0 => 0,
            n => first + n - 1,
        };
        let (server, previous, backup) = (server(), server(), server());
        let (epoch, epochs_open) = (self.below(5) as u16, self.below(3) as u8);
        (device.id, AssociationWord { server, previous, backup, epoch, epochs_open })
    }
}

struct Ends {
    source: (String, u16),
    destination: (String, u16),
}

fn servers_of(version: Version) -> std::ops::RangeInclusive<u16> {
    match version {
        Version::V4 => 1..=SERVERS_OF_FAMILY,
        Version::V6 => SERVERS_OF_FAMILY + 1..=SERVERS,
    }
}

fn address_of(id: u16) -> std::net::IpAddr {
    let version = if id <= SERVERS_OF_FAMILY { Version::V4 } else { Version::V6 };
    server_ip(version, id)
}
