//! A client, a gateway and a server in namespaces of their own, joined by veth without offloads;
//! and the real program attached in the gateway.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use aya::programs::{Xdp, XdpMode};
use redirector_common::wire::{Forwarding, Tags};
use redirector_ctl::core::op::{NextHop, Op};
use redirector_ctl::platform::tables::{Gateway, GatewayInterface};

use crate::data_path::program::Program;
use crate::data_path::{
    TCP, TestDevice, Version, device_address, gateway, server_address, servers,
};
use crate::netns::{Namespace, run_quietly};
use crate::run::Run;

use super::tables::limits;

/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 2);
/// The gateway's address among the clients.
pub const GATEWAY_AT_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 1);
/// The gateway's address among the servers.
pub const GATEWAY_AT_SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 254);

/// The namespaces.
pub struct Place {
    /// The client.
    pub client: Namespace,
    /// The gateway.
    pub gateway: Namespace,
    /// The server: number 1.
    pub server: Namespace,
}

/// How the ends receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiving {
    /// Packet by packet.
    Plain,
    /// By NAPI, several segments at a time (GRO). Frames that a program sends arrive only so.
    Gro,
}

impl Place {
    /// Makes the namespaces and their links, without offloads: one packet per segment.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn new(run: &Run, name: &str, receiving: Receiving) -> Result<Self> {
        let of = |role: &str| Namespace::new(run, &format!("{name}-{role}"));
        let place = Self { client: of("client")?, gateway: of("gateway")?, server: of("server")? };
        for (end, link) in [(&place.client, "clients0"), (&place.server, "servers0")] {
            let line = format!("link add {link} type veth peer name eth0 netns {}", end.name());
            place.gateway.ip(&[line, format!("link set {link} up")])?;
            end.ip(&["link set eth0 up"])?;
        }
        place.client.ip(&[
            format!("address add {CLIENT}/24 dev eth0"),
            format!("route add default via {GATEWAY_AT_CLIENT}"),
        ])?;
        place.server.ip(&[
            format!("address add {}/24 dev eth0", server_address(1)),
            format!("route add default via {GATEWAY_AT_SERVER}"),
        ])?;
        place.gateway.ip(&[
            format!("address add {GATEWAY_AT_CLIENT}/24 dev clients0"),
            format!("address add {GATEWAY_AT_SERVER}/24 dev servers0"),
        ])?;
        place.gateway.sysctl("net/ipv4/ip_forward", "1")?;
        place.settle(receiving)?;
        Ok(place)
    }

    fn settle(&self, receiving: Receiving) -> Result<()> {
        for (at, link) in [
            (&self.client, "eth0"),
            (&self.server, "eth0"),
            (&self.gateway, "clients0"),
            (&self.gateway, "servers0"),
        ] {
            let mut ethtool = at.command("ethtool");
            ethtool.args(["-K", link, "tx", "off", "tso", "off", "gso", "off"]);
            if link == "eth0" && receiving == Receiving::Gro {
                ethtool.args(["gro", "on"]);
            }
            run_quietly(&mut ethtool).context("switch offloads off (package ethtool)")?;
        }
        Ok(())
    }

    /// Loads the real program, tells it of this gateway and of device 0 on server 1.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn load(&self) -> Result<Program> {
        let (clients, servers_side) =
            (link(&self.gateway, "clients0")?, link(&self.gateway, "servers0")?);
        let mut program = self.gateway.enter(|| Program::load_here(&limits()))?;
        let of = |(index, mac): (u32, [u8; 6]), address| GatewayInterface {
            index: index as u16,
            carrier: index as u16,
            mac,
            tags: Tags::NONE,
            mtu: 1500,
            address_v4: Some(address),
            address_v6: None,
        };
        let interfaces = vec![of(clients, GATEWAY_AT_CLIENT), of(servers_side, GATEWAY_AT_SERVER)];
        program.tables.set_gateway(&Gateway { interfaces, ..gateway() })?;
        program.apply(&servers(Version::V4, 1))?;
        program
            .apply(&TestDevice::new(Version::V4, 0, TCP, Forwarding::Nat).ops(1, Version::V4))?;
        let (_, mac) = link(&self.server, "eth0")?;
        program.apply(&[Op::SetNextHop { id: 1, next_hop: Some(NextHop { mac, port: 1 }) }])?;
        Ok(program)
    }

    /// The client sends what is for device 0 to the gateway.
    pub fn service(&self) -> Ipv4Addr {
        device_address(0)
    }
}

/// Index and Ethernet address of a link.
///
/// # Errors
///
/// When it is not there.
pub fn link(namespace: &Namespace, name: &str) -> Result<(u32, [u8; 6])> {
    // Not /sys, which shows the namespace that it was mounted in.
    let mut ip = namespace.command("ip");
    ip.args(["-json", "link", "show", "dev", name]);
    let found: serde_json::Value = serde_json::from_str(&run_quietly(&mut ip)?)?;
    let link = found.get(0).context("ip shows the link")?;
    let index = link["ifindex"].as_u64().context("the link's index")?;
    let text = link["address"].as_str().context("the link's address")?;
    let mut mac = [0; 6];
    for (byte, part) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16)?;
    }
    Ok((index as u32, mac))
}

/// Attaches a loaded program to a link for as long as its object lives.
///
/// # Errors
///
/// When the kernel refuses.
pub fn attach(program: &mut Xdp, namespace: &Namespace, name: &str) -> Result<()> {
    let (index, _) = link(namespace, name)?;
    namespace.enter(|| {
        let attached = program.attach_to_if_index(index, XdpMode::Driver);
        attached.map(drop).with_context(|| format!("attach to {name}"))
    })
}

/// Writes a kernel parameter that may not be there.
pub fn sysctl_if_there(namespace: &Namespace, key: &str, value: &str) {
    // Without the module that has it there is nothing to set.
    let _ = namespace.enter(|| Ok(fs::write(format!("/proc/sys/{key}"), value)?));
}
