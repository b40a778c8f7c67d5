//! A gateway without a daemon: the program attached natively in a namespace, its tables filled by
//! the test, clients and servers beside it.
//!
//! Every Ethernet address is chosen here and every neighbour is static, so that nothing is left to
//! be learnt: this kernel has no VLAN devices, on which ARP and neighbour discovery would run. End
//! hosts get their tags by a program on their interface, and so does the gateway's own stack.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use redirector_common::headers::{PROTOCOL_ICMP, PROTOCOL_ICMPV6};
use redirector_common::wire::{Forwarding, MARK_ORIGIN, MARK_SERVICE, MARK_TRACKED, Tags};
use redirector_ctl::core::op::{DeviceSettings, Endpoint, NextHop, Op, ServerState};
use redirector_ctl::platform::bpf::{AttachMode, AttachOptions, Interface, attach};
use redirector_ctl::platform::tables::{Gateway, GatewayInterface, Tables};

use crate::data_path::program::SMALL;
use crate::data_path::{GUE_PORT, Version, on, server_state};
use crate::end_host::{EndHost, Programs};
use crate::netns::{Namespace, run_quietly};
use crate::redirector::Bpffs;
use crate::run::Run;

/// Room of every link beyond its hosts' MTU: tags and outer headers.
const LINK_ROOM: u32 = 100;
/// Longest outer headers: IPv6 and UDP.
const OUTER_LEN: u32 = 48;
/// What the index of a VLAN's own interface has more than that of its carrier. No such interface
/// exists here; the program needs only a number.
const VLAN_INDEX: u16 = 1000;
/// Server with an IPv4 address, and the same machine by its IPv6 address.
pub const SERVER_V4: u16 = 1;
/// The same machine by its IPv6 address.
pub const SERVER_V6: u16 = 2;

/// What a gateway stands between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Tags among the clients.
    pub client_tags: Tags,
    /// Tags among the servers; counts with two arms.
    pub server_tags: Tags,
    /// MTU of clients and servers; the gateway's way to the servers has room for tunnels.
    pub mtu: u32,
    /// MTU of the gateway's way to the servers, if it is to have no such room.
    pub server_mtu: Option<u32>,
    /// Whether clients and servers are behind the same interface.
    pub one_armed: bool,
    /// MTU of a router between client and gateway, less than that of the links on both its sides.
    /// Without tags only.
    pub router_mtu: Option<u32>,
}

impl Plan {
    /// Two arms, no tags, an MTU of 1500.
    pub const PLAIN: Self = Self {
        client_tags: Tags::NONE,
        server_tags: Tags::NONE,
        mtu: 1500,
        server_mtu: None,
        one_armed: false,
        router_mtu: None,
    };
}

/// A host's side: clients are 1, servers 2, clients behind a router 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Clients.
    Clients = 1,
    /// Servers.
    Servers = 2,
    /// Clients behind a router.
    Far = 3,
}

/// Address of host `number` on a side; the gateway is 1.
pub fn address(version: Version, side: Side, number: u16) -> IpAddr {
    match version {
        Version::V4 => Ipv4Addr::new(10, side as u8, 0, number as u8).into(),
        Version::V6 => Ipv6Addr::new(0xfd00 + side as u16, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

/// Host number of the client.
pub const CLIENT: u16 = 11;
/// Host number of the server.
pub const SERVER: u16 = 12;

/// Service address `number`.
pub fn service_ip(version: Version, number: u16) -> IpAddr {
    match version {
        Version::V4 => Ipv4Addr::new(10, 9, 0, number as u8).into(),
        Version::V6 => Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

/// A local address of the gateway that is on none of its networks.
fn local_ip(version: Version, number: u16) -> IpAddr {
    match version {
        Version::V4 => Ipv4Addr::new(10, 8, 0, number as u8).into(),
        Version::V6 => Ipv6Addr::new(0xfd08, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

/// Ethernet address of host `number` on a side.
fn mac(side: Side, number: u16) -> [u8; 6] {
    [2, 0, side as u8, 0, 0, number as u8]
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Clients' and servers' end, and the gateway between them. Fields are dropped from first to last.
pub struct Site {
    /// The program's tables.
    pub tables: Tables,
    /// The client.
    pub client: EndHost,
    /// The server.
    pub server: EndHost,
    /// The gateway's own stack.
    pub gateway: EndHost,
    _router: Option<Namespace>,
    _switch: EndHost,
    _bpffs: Bpffs,
    plan: Plan,
    /// The lab's name and directory.
    pub run: Run,
}

/// A host's interface: name, side, number.
struct Port {
    interface: &'static str,
    side: Side,
    number: u16,
}

const GATEWAY_PORTS: [Port; 2] = [
    Port { interface: "clients0", side: Side::Clients, number: 1 },
    Port { interface: "servers0", side: Side::Servers, number: 1 },
];

impl Site {
    /// Builds it, and attaches the program.
    ///
    /// # Errors
    /// When the kernel refuses something (needs root). What was made until then goes.
    pub fn build(plan: Plan) -> Result<Self> {
        let run = Run::new()?;
        let bpffs = Bpffs::mount(&run)?;
        let mut switch = EndHost::new(Namespace::new(&run, "switch")?, Tags::NONE);
        let bridges: &[&str] = if plan.one_armed { &["one"] } else { &["one", "two"] };
        for bridge in bridges.iter().chain(&["far"]) {
            switch.namespace.ip(&[
                format!("link add {bridge} type bridge forward_delay 0 mcast_snooping 0"),
                format!("link set {bridge} up"),
            ])?;
        }
        let mut gateway = EndHost::new(routing_host(&run, "gateway")?, plan.client_tags);
        let arms = &GATEWAY_PORTS[..bridges.len()];
        for arm in arms {
            plan.plug(&switch.namespace, &gateway.namespace, arm)?;
            // What the gateway sends reaches a veth's peer only past a program there.
            switch.attach_xdp(arm.interface, "pass")?;
        }
        let mut client = EndHost::new(routing_host(&run, "client")?, plan.client_tags);
        let mut server = EndHost::new(routing_host(&run, "server")?, plan.tags(Side::Servers));
        let port = |side, number, interface| Port { interface, side, number };
        let client_side = plan.client_side();
        plan.plug(&switch.namespace, &client.namespace, &port(client_side, CLIENT, "client0"))?;
        plan.plug(&switch.namespace, &server.namespace, &port(Side::Servers, SERVER, "server0"))?;
        client.tag("client0", Programs::Plain)?;
        server.tag("server0", Programs::Unwraps)?;
        plan.settle_gateway(&gateway.namespace)?;
        plan.settle(&client.namespace, ("client0", client_side))?;
        plan.settle(&server.namespace, ("server0", Side::Servers))?;
        if plan.one_armed {
            direct_way(&server.namespace, plan.mtu)?;
        }
        let router = match plan.router_mtu {
            Some(mtu) => Some(plan.router(&run, &switch.namespace, mtu)?),
            None => None,
        };
        let mut tables = gateway.namespace.enter(|| plan.attach(arms, bpffs.dir()))?;
        for (arm, tags) in arms.iter().zip([plan.client_tags, plan.server_tags]) {
            gateway.set_tags(tags);
            gateway.tag_kernel(arm.interface)?;
        }
        for op in servers(arms.len() as u16 - 1) {
            tables.apply(&op).with_context(|| op.to_string())?;
        }
        Ok(Self {
            tables,
            client,
            server,
            gateway,
            _router: router,
            _switch: switch,
            _bpffs: bpffs,
            plan,
            run,
        })
    }

    /// Carries out ops.
    ///
    /// # Errors
    /// The first refusal.
    pub fn apply(&mut self, ops: &[Op]) -> Result<()> {
        for op in ops {
            self.tables.apply(op).with_context(|| op.to_string())?;
        }
        Ok(())
    }

    /// Makes a device known, and gives its service address to the server where that is to own it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add(&mut self, device: &Device) -> Result<()> {
        if device.settings.forwarding.is_direct() {
            let address = device.settings.address;
            let own = if address.is_ipv4() { "/32 dev lo" } else { "/128 dev lo nodad" };
            // TCP and UDP devices share an address.
            self.server.namespace.ip(&[format!("address replace {address}{own}")])?;
        }
        self.apply(&device.ops())
    }

    /// What it was built by.
    pub fn plan(&self) -> Plan {
        self.plan
    }
}

/// A device at a [`Site`].
#[derive(Debug, Clone, Copy)]
pub struct Device {
    /// Its id.
    pub id: u32,
    /// Its server.
    pub server: u16,
    /// Its settings.
    pub settings: DeviceSettings,
}

impl Device {
    /// Device `id` at service address `number`.
    pub fn new(
        (id, server): (u32, u16),
        (version, number): (Version, u16),
        (protocol, port, server_port): (u8, u16, u16),
        forwarding: Forwarding,
    ) -> Self {
        let settings = DeviceSettings {
            address: service_ip(version, number),
            port,
            port_last: port,
            protocol,
            server_port: if forwarding.is_direct() { port } else { server_port },
            forwarding,
            stateless: false,
            affinity: false,
            mss_max: 0,
        };
        Self { id, server, settings }
    }

    /// Where clients reach it.
    pub fn service(&self) -> std::net::SocketAddr {
        (self.settings.address, self.settings.port).into()
    }

    /// Where its server listens.
    pub fn at_server(&self) -> std::net::SocketAddr {
        let DeviceSettings { address, forwarding, server_port, .. } = self.settings;
        let own = if forwarding.is_direct() { address } else { server_ip(self.server) };
        (own, server_port).into()
    }

    fn ops(&self) -> Vec<Op> {
        let Self { id, settings, .. } = *self;
        let DeviceSettings { address, port, protocol, server_port, .. } = settings;
        let marks = MARK_SERVICE | MARK_TRACKED;
        let mut ops = vec![
            Op::SetMarks { address, marks },
            Op::SetDevice { id, settings },
            Op::CommitAssociations { words: vec![(id, on(self.server))] },
        ];
        if !settings.forwarding.is_direct() {
            let origin = server_ip(self.server);
            ops.push(Op::SetMarks { address: origin, marks: MARK_ORIGIN | MARK_TRACKED });
            let endpoint = Endpoint { address: origin, port: server_port, protocol };
            ops.push(Op::AddReturn { endpoint, device: id, server: self.server });
        }
        let icmp = if address.is_ipv4() { PROTOCOL_ICMP } else { PROTOCOL_ICMPV6 };
        for (port, protocol) in [(port, protocol), (0, icmp)] {
            ops.push(Op::AddService { service: Endpoint { address, port, protocol }, device: id });
        }
        ops
    }
}

/// Address of a server by its id.
pub fn server_ip(id: u16) -> IpAddr {
    let version = if id == SERVER_V4 { Version::V4 } else { Version::V6 };
    address(version, Side::Servers, SERVER)
}

fn servers(port: u16) -> Vec<Op> {
    let next_hop = Some(NextHop { mac: mac(Side::Servers, SERVER), port });
    [SERVER_V4, SERVER_V6]
        .into_iter()
        .flat_map(|id| {
            [
                Op::SetServerAddress { id, address: server_ip(id) },
                Op::SetNextHop { id, next_hop },
                server_state(id, ServerState::Alive),
            ]
        })
        .collect()
}

/// The networks behind a router.
const FAR: [(Version, &str); 2] = [(Version::V4, "10.3.0.0/24"), (Version::V6, "fd03::/64")];

fn forward(namespace: &Namespace) -> Result<()> {
    namespace.sysctl("net/ipv4/ip_forward", "1")?;
    namespace.sysctl("net/ipv6/conf/all/forwarding", "1")
}

/// A namespace that speaks both families.
fn routing_host(run: &Run, role: &str) -> Result<Namespace> {
    let namespace = Namespace::new(run, role)?;
    for scope in ["all", "default"] {
        for (key, value) in [
            ("ipv6/conf/SCOPE/disable_ipv6", "0"),
            ("ipv6/conf/SCOPE/accept_dad", "0"),
            ("ipv4/conf/SCOPE/rp_filter", "0"),
            ("ipv4/conf/SCOPE/send_redirects", "0"),
            ("ipv4/conf/SCOPE/arp_ignore", "1"),
            ("ipv4/conf/SCOPE/arp_announce", "2"),
        ] {
            namespace.sysctl(&format!("net/{}", key.replace("SCOPE", scope)), value)?;
        }
    }
    Ok(namespace)
}

/// With one arm, what the service addresses send goes to the client past the gateway; what the
/// server itself sends must come back by it.
fn direct_way(server: &Namespace, mtu: u32) -> Result<()> {
    let lladdr = mac_text(mac(Side::Clients, CLIENT));
    for (version, family, services, clients) in [
        (Version::V4, "-4", "10.9.0.0/16", "10.1.0.0/24"),
        (Version::V6, "-6", "fd09::/64", "fd01::/64"),
    ] {
        let client = address(version, Side::Clients, CLIENT);
        server.ip(&[
            format!("neighbour add {client} lladdr {lladdr} dev server0 nud permanent"),
            format!("route add {clients} dev server0 mtu {mtu} table 100"),
        ])?;
        // A batch has no word for a rule's family.
        let mut ip = server.command("ip");
        ip.args([family, "rule", "add", "from", services, "lookup", "100"]);
        run_quietly(&mut ip)?;
    }
    Ok(())
}

impl Plan {
    /// Where the client is.
    pub fn client_side(&self) -> Side {
        if self.router_mtu.is_some() { Side::Far } else { Side::Clients }
    }

    fn tags(&self, side: Side) -> Tags {
        if side == Side::Servers && !self.one_armed { self.server_tags } else { self.client_tags }
    }

    /// Makes a link from a host to its switch.
    fn plug(&self, switch: &Namespace, host: &Namespace, port: &Port) -> Result<()> {
        let Port { interface, side, number } = *port;
        let link_mtu = self.mtu + LINK_ROOM;
        let bridge = match side {
            Side::Far => "far",
            Side::Servers if !self.one_armed => "two",
            _ => "one",
        };
        switch.ip(&[
            format!(
                "link add {interface} mtu {link_mtu} type veth peer name {interface} \
                 address {} mtu {link_mtu} netns {}",
                mac_text(mac(side, number)),
                host.name()
            ),
            format!("link set {interface} master {bridge} up"),
        ])?;
        host.ip(&[format!("link set {interface} up")])?;
        for end in [switch, host] {
            // Finished packets with their tags inside, as on a wire.
            let mut ethtool = end.command("ethtool");
            ethtool.args(["-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off"]);
            ethtool.args(["txvlan", "off", "rxvlan", "off", "tx-vlan-stag-hw-insert", "off"]);
            run_quietly(&mut ethtool).context("switch offloads off (package ethtool)")?;
        }
        Ok(())
    }

    /// Addresses of the gateway, and the hosts that its stack is to know.
    fn settle_gateway(&self, gateway: &Namespace) -> Result<()> {
        let mut lines = Vec::new();
        for (side, host) in [(Side::Clients, CLIENT), (Side::Servers, SERVER)] {
            let interface = self.arm(side);
            for version in [Version::V4, Version::V6] {
                lines.extend(own_address(version, (interface, side, 1)));
                let host_ip = address(version, side, host);
                let lladdr = mac_text(mac(side, host));
                lines.push(format!(
                    "neighbour add {host_ip} lladdr {lladdr} dev {interface} nud permanent"
                ));
            }
        }
        for (version, far) in FAR.into_iter().filter(|_| self.router_mtu.is_some()) {
            lines.push(format!("route add {far} via {}", address(version, Side::Clients, CLIENT)));
        }
        gateway.ip(&lines)?;
        forward(gateway)
    }

    /// A router in the client's place among the clients, with the client behind it.
    fn router(&self, run: &Run, switch: &Namespace, mtu: u32) -> Result<Namespace> {
        let router = routing_host(run, "router")?;
        let near = Port { interface: "near0", side: Side::Clients, number: CLIENT };
        let far = Port { interface: "far0", side: Side::Far, number: 1 };
        let mut lines = Vec::new();
        for port in [&near, &far] {
            self.plug(switch, &router, port)?;
            for version in [Version::V4, Version::V6] {
                lines.extend(own_address(version, (port.interface, port.side, port.number)));
            }
        }
        for ((version, _), everywhere) in FAR.into_iter().zip(["0.0.0.0/0", "::/0"]) {
            let gateway = address(version, Side::Clients, 1);
            let client = address(version, Side::Far, CLIENT);
            let of = |side, number| mac_text(mac(side, number));
            // A locked MTU counts for packets that are forwarded.
            lines.extend([
                format!(
                    "neighbour add {gateway} lladdr {} dev near0 nud permanent",
                    of(Side::Clients, 1)
                ),
                format!(
                    "neighbour add {client} lladdr {} dev far0 nud permanent",
                    of(Side::Far, CLIENT)
                ),
                format!("route add {client} dev far0 mtu lock {mtu}"),
                format!("route add {everywhere} via {gateway} dev near0 mtu lock {mtu}"),
            ]);
        }
        router.ip(&lines)?;
        forward(&router)?;
        Ok(router)
    }

    fn arm(&self, side: Side) -> &'static str {
        let both = self.one_armed || side != Side::Servers;
        GATEWAY_PORTS[usize::from(!both)].interface
    }

    /// Addresses of an end host, and its way: the gateway.
    fn settle(&self, host: &Namespace, (interface, side): (&str, Side)) -> Result<()> {
        let number = if side == Side::Servers { SERVER } else { CLIENT };
        let arm_side = if self.one_armed { Side::Clients } else { side };
        let lladdr = mac_text(mac(arm_side, 1));
        let mut lines = Vec::new();
        for (version, everywhere) in [(Version::V4, "0.0.0.0/0"), (Version::V6, "::/0")] {
            lines.extend(own_address(version, (interface, side, number)));
            let via = address(version, side, 1);
            lines
                .push(format!("neighbour add {via} lladdr {lladdr} dev {interface} nud permanent"));
            lines
                .push(format!("route add {everywhere} via {via} dev {interface} mtu {}", self.mtu));
        }
        host.ip(&lines)
    }

    /// Attaches the program. Only inside the gateway's namespace.
    fn attach(&self, arms: &[Port], bpffs: &Path) -> Result<Tables> {
        let mut interfaces = Vec::new();
        let mut known = Vec::new();
        for arm in arms {
            let index = if_nametoindex(arm.interface).context("the gateway's interface")?;
            let mac = mac(arm.side, arm.number);
            interfaces.push(Interface {
                name: arm.interface.to_owned(),
                index,
                mac,
                mode: AttachMode::Native,
                in_force: None,
            });
            known.push(self.gateway_interface(arm.side, index as u16, mac));
        }
        let gateway = Gateway {
            interfaces: known,
            locals: vec![local_ip(Version::V4, 1), local_ip(Version::V6, 1)],
            local_ports: (1024, 32_767),
            tunnel_source_v4: Some(Ipv4Addr::new(10, 8, 0, 2)),
            tunnel_source_v6: Some(Ipv6Addr::new(0xfd08, 0, 0, 0, 0, 0, 0, 2)),
            gue_port: GUE_PORT,
            new_flows_per_second_max: 0,
            answers_per_second_max: 0,
        };
        let options = AttachOptions {
            bpffs_dir: bpffs.join("redirector"),
            interfaces,
            limits: SMALL,
            gateway,
        };
        Ok(attach(&options).context("attach the program natively")?.0)
    }

    fn gateway_interface(&self, side: Side, carrier: u16, mac: [u8; 6]) -> GatewayInterface {
        let tags = self.tags(side);
        let own = |version| address(version, side, 1);
        let room = if side == Side::Servers || self.one_armed { OUTER_LEN } else { 0 };
        let server_mtu = self.server_mtu.filter(|_| side == Side::Servers);
        let (IpAddr::V4(address_v4), IpAddr::V6(address_v6)) = (own(Version::V4), own(Version::V6))
        else {
            unreachable!("each version's address is of it");
        };
        GatewayInterface {
            index: if tags == Tags::NONE { carrier } else { carrier + VLAN_INDEX },
            carrier,
            mac,
            tags,
            mtu: server_mtu.unwrap_or(self.mtu + room),
            address_v4: Some(address_v4),
            address_v6: Some(address_v6),
        }
    }
}

fn own_address(version: Version, (interface, side, number): (&str, Side, u16)) -> Vec<String> {
    let own = address(version, side, number);
    match version {
        Version::V4 => vec![format!("address add {own}/24 dev {interface}")],
        Version::V6 => vec![format!("address add {own}/64 dev {interface} nodad")],
    }
}
