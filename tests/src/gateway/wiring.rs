//! How a site is wired: links, addresses, static neighbours, routes, and the program's own view of
//! its interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use redirector_common::wire::Tags;
use redirector_ctl::platform::bpf::{AttachMode, AttachOptions, Interface, attach};
use redirector_ctl::platform::tables::{Gateway, GatewayInterface, Tables};

use super::address::{local_ip, mac_text};
use super::{CLIENT, GATEWAY_PORTS, Plan, Port, SERVER, Side, address, mac};
use crate::data_path::program::SMALL;
use crate::data_path::{GUE_PORT, Version};
use crate::netns::{Namespace, run_quietly};
use crate::run::Run;

/// Room of every link beyond its hosts' MTU: tags and outer headers.
const LINK_ROOM: u32 = 100;
/// Longest outer headers: IPv6 and UDP.
const OUTER_LEN: u32 = 48;
/// What the index of a VLAN's own interface has more than that of its carrier. No such interface
/// exists here; the program needs only a number.
const VLAN_INDEX: u16 = 1000;
/// The networks behind a router.
const FAR: [(Version, &str); 2] = [(Version::V4, "10.3.0.0/24"), (Version::V6, "fd03::/64")];

fn forward(namespace: &Namespace) -> Result<()> {
    namespace.sysctl("net/ipv4/ip_forward", "1")?;
    namespace.sysctl("net/ipv6/conf/all/forwarding", "1")
}

/// A namespace that speaks both families.
pub(super) fn routing_host(run: &Run, role: &str) -> Result<Namespace> {
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
pub(super) fn direct_way(server: &Namespace, mtu: u32) -> Result<()> {
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
    /// Tags on a side.
    pub(super) fn tags(&self, side: Side) -> Tags {
        if side == Side::Servers && !self.one_armed { self.server_tags } else { self.client_tags }
    }

    /// Makes a link from a host to its switch.
    pub(super) fn plug(&self, switch: &Namespace, host: &Namespace, port: &Port) -> Result<()> {
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
    pub(super) fn settle_gateway(&self, gateway: &Namespace) -> Result<()> {
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
    pub(super) fn router(&self, run: &Run, switch: &Namespace, mtu: u32) -> Result<Namespace> {
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
    pub(super) fn settle(&self, host: &Namespace, (interface, side): (&str, Side)) -> Result<()> {
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
    pub(super) fn attach(&self, arms: &[Port], bpffs: &Path) -> Result<Tables> {
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
