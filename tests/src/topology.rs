//! The lab's networks as a value, and the value made real.
//!
//! A [`Topology`] says which networks there are and which host has which interface where. [`build`]
//! makes a namespace for each host and one for each network's switch (a bridge), so that a link can
//! be cut on the switch's side, as a pulled cable would.
//!
//! [`build`]: Topology::build

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::{Context, Result};

use crate::data_path::Version;
use crate::netns::{Namespace, run_quietly};
use crate::run::Run;
use crate::xdp_pass;

/// Name of the bridge in each switch namespace.
const BRIDGE: &str = "bridge0";

/// Networks and hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Names of the networks; each is one switch.
    pub networks: Vec<String>,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// What the hosts speak: IPv4 alone, or IPv6 beside it.
    pub speaks: Version,
}

/// A host: a network namespace with interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Name, at most 15 characters: also the name of its ports at the switches.
    pub name: String,
    /// Its interfaces.
    pub links: Vec<Link>,
    /// Where it sends what is for none of its networks.
    pub default_route: Option<Ipv4Addr>,
    /// Whether it forwards packets between its interfaces.
    pub forwards: bool,
}

/// An interface of a host in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The interface's name inside the host.
    pub interface: String,
    /// The network it is plugged into.
    pub network: String,
    /// Its address; all networks are /24.
    pub address: Ipv4Addr,
}

impl Link {
    fn new(interface: &str, network: &str, address: Ipv4Addr) -> Self {
        Self { interface: interface.to_owned(), network: network.to_owned(), address }
    }
}

/// Name of the gateway's interface towards the clients.
pub const GATEWAY_CLIENT_SIDE: &str = "clients0";
/// Name of the gateway's interface towards the servers.
pub const GATEWAY_SERVER_SIDE: &str = "servers0";
/// The gateway's address among the servers: their default route.
pub const GATEWAY_AT_SERVERS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
/// The storage host's address.
pub const STORAGE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 3, 1);

/// The IPv6 address beside an IPv4 one: the same network and host, by their numbers.
pub fn v6_beside(address: Ipv4Addr) -> Ipv6Addr {
    let [_, _, network, host] = address.octets();
    Ipv6Addr::new(0xfd00, 0, 0, network.into(), 0, 0, 0, host.into())
}

/// Whether an address is the gateway's among the servers: what comes from there is a check.
pub fn is_gateway(address: IpAddr) -> bool {
    address == GATEWAY_AT_SERVERS || address == v6_beside(GATEWAY_AT_SERVERS)
}

/// Address of client `number` (from 1).
pub fn client_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, 10 + number)
}

/// Address of server `number` (from 1) towards the gateway.
pub fn server_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, 10 + number)
}

/// A service address: `number` from 0.
pub fn service_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, 100 + number)
}

impl Topology {
    /// Clients and gateway in one network, gateway and servers in a second, servers and storage in
    /// a third that only they reach, in IPv4. At most 80 clients and 200 servers fit into the
    /// addresses.
    pub fn standard(clients: u8, servers: u8) -> Self {
        let mut hosts = vec![
            Host {
                name: "gateway".into(),
                links: vec![
                    Link::new(GATEWAY_CLIENT_SIDE, "clients", Ipv4Addr::new(10, 0, 1, 1)),
                    Link::new(GATEWAY_SERVER_SIDE, "servers", GATEWAY_AT_SERVERS),
                ],
                default_route: None,
                forwards: true,
            },
            Host {
                name: "storage".into(),
                links: vec![Link::new("storage0", "storage", STORAGE_ADDRESS)],
                default_route: None,
                forwards: false,
            },
        ];
        hosts.extend((1..=clients).map(|number| Host {
            name: format!("c{number}"),
            links: vec![Link::new("eth0", "clients", client_address(number))],
            default_route: Some(Ipv4Addr::new(10, 0, 1, 1)),
            forwards: false,
        }));
        hosts.extend((1..=servers).map(|number| Host {
            name: format!("s{number}"),
            links: vec![
                Link::new("eth0", "servers", server_address(number)),
                Link::new("storage0", "storage", Ipv4Addr::new(10, 0, 3, 10 + number)),
            ],
            default_route: Some(GATEWAY_AT_SERVERS),
            forwards: false,
        }));
        let networks = ["clients", "servers", "storage"].map(String::from).to_vec();
        Self { networks, hosts, speaks: Version::V4 }
    }

    /// Makes every namespace, bridge, link, address and route.
    ///
    /// # Errors
    /// When the kernel refuses one of them. What was made until then goes.
    pub fn build(&self, run: &Run) -> Result<Network> {
        let mut network = Network { hosts: BTreeMap::new(), switches: BTreeMap::new() };
        for name in &self.networks {
            let switch = Namespace::new(run, &format!("switch-{name}"))?;
            // No multicast snooping and no forwarding delay: a port works as soon as it is up.
            switch.ip(&[
                format!("link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0"),
                format!("link set {BRIDGE} up"),
            ])?;
            network.switches.insert(name.clone(), switch);
        }
        for host in &self.hosts {
            let namespace = Namespace::new(run, &host.name)?;
            // Before its interfaces are made, which copy the default.
            for scope in ["all", "default"] {
                namespace.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
                if self.speaks == Version::V6 {
                    namespace.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "0")?;
                }
            }
            for link in &host.links {
                let switch = network.switch(&link.network)?;
                plug_in(host, link, &namespace, switch)?;
            }
            settle(host, &namespace)?;
            if self.speaks == Version::V6 {
                settle_v6(host, &namespace)?;
            }
            network.hosts.insert(host.name.clone(), namespace);
        }
        Ok(network)
    }
}

/// Makes one link and puts its far end into the switch.
fn plug_in(host: &Host, link: &Link, namespace: &Namespace, switch: &Namespace) -> Result<()> {
    let Link { interface, address, .. } = link;
    let port = &host.name;
    switch.ip(&[
        format!("link add {port} type veth peer name {interface} netns {}", namespace.name()),
        format!("link set {port} master {BRIDGE} up"),
    ])?;
    namespace.ip(&[
        format!("address add {address}/24 dev {interface}"),
        format!("link set {interface} up"),
    ])?;
    // A veth hands over packets whose checksum its "hardware" is yet to fill in, and segments
    // larger than the MTU. No program in between can complete them, so every end host sends
    // finished packets.
    let mut ethtool = namespace.command("ethtool");
    ethtool.args(["-K", interface, "tx", "off", "tso", "off", "gso", "off"]);
    run_quietly(&mut ethtool).context("switch offloads off (package ethtool)")?;
    Ok(())
}

/// Routes and kernel settings of a host whose links are up.
fn settle(host: &Host, namespace: &Namespace) -> Result<()> {
    if let Some(via) = host.default_route {
        namespace.ip(&[format!("route add default via {via}")])?;
    }
    if host.forwards {
        namespace.sysctl("net/ipv4/ip_forward", "1")?;
        namespace.sysctl("net/ipv4/conf/all/send_redirects", "0")?;
    }
    Ok(())
}

/// Gives a host an IPv6 address beside each IPv4 one, and the same ways. Nobody else is there, so
/// that no address is tried out for being another's first.
fn settle_v6(host: &Host, namespace: &Namespace) -> Result<()> {
    let addresses = host.links.iter().map(|Link { interface, address, .. }| {
        format!("address add {}/64 dev {interface} nodad", v6_beside(*address))
    });
    let way = host.default_route.map(|via| format!("route add default via {}", v6_beside(via)));
    namespace.ip(&addresses.chain(way).collect::<Vec<_>>())?;
    if host.forwards {
        namespace.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// A topology that exists.
#[derive(Debug)]
pub struct Network {
    hosts: BTreeMap<String, Namespace>,
    switches: BTreeMap<String, Namespace>,
}

impl Network {
    /// A host's namespace.
    ///
    /// # Errors
    /// When the topology has no such host.
    pub fn host(&self, name: &str) -> Result<&Namespace> {
        self.hosts.get(name).with_context(|| format!("the topology has no host {name}"))
    }

    /// A network's switch.
    ///
    /// # Errors
    /// When the topology has no such network.
    pub fn switch(&self, network: &str) -> Result<&Namespace> {
        self.switches.get(network).with_context(|| format!("the topology has no network {network}"))
    }

    /// Prepares the far ends of a host's links for XDP: a veth takes what a program at its peer
    /// sends (XDP_TX, XDP_REDIRECT) only if it has a program itself. The program passes everything.
    ///
    /// # Errors
    /// When the program cannot be loaded, pinned below `bpffs`, or attached.
    pub fn make_xdp_peers(&self, host: &Host, bpffs: &std::path::Path) -> Result<()> {
        let pin = xdp_pass::load_and_pin(bpffs)?;
        for link in &host.links {
            let mut ip = self.switch(&link.network)?.command("ip");
            ip.args(["link", "set", "dev", &host.name, "xdpdrv", "pinned"]).arg(&pin);
            run_quietly(&mut ip).context("attach the pass program to a switch's port")?;
        }
        Ok(())
    }

    /// Takes the link of `host` in `network` down or up at the switch: the host loses its carrier,
    /// as when a cable is pulled.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn set_link(&self, host: &str, network: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.switch(network)?.ip(&[format!("link set {host} {state}")])
    }

    /// Makes the switch of `network` forward nothing from or to `host`, while the link stays up on
    /// both sides: silence, as from a machine that hangs.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn set_silent(&self, host: &str, network: &str, silent: bool) -> Result<()> {
        let state = if silent { "disabled" } else { "forwarding" };
        let mut bridge: Command = self.switch(network)?.command("bridge");
        bridge.args(["link", "set", "dev", host, "state", state]);
        run_quietly(&mut bridge).context("set the state of a switch's port").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_reach_the_storage_network() {
        let topology = Topology::standard(2, 3);
        let reach: Vec<&str> = topology
            .hosts
            .iter()
            .filter(|host| host.links.iter().any(|link| link.network == "storage"))
            .map(|host| host.name.as_str())
            .collect();
        assert_eq!(reach, ["storage", "s1", "s2", "s3"]);
    }

    #[test]
    fn no_address_is_given_twice() {
        let topology = Topology::standard(80, 200);
        let mut addresses: Vec<Ipv4Addr> =
            topology.hosts.iter().flat_map(|host| &host.links).map(|link| link.address).collect();
        addresses.extend((0..20).map(service_address));
        let len = addresses.len();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), len);
    }
}
