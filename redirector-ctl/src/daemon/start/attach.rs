//! What is to be attached where, and what the program must know of it.

use std::net::IpAddr;

use anyhow::Context as _;
use redirector_common::wire::Tags;

use super::{InterfaceStatus, limits};
use crate::config::{Config, InterfaceConfig, Vlan, XdpMode};
use crate::platform::bpf::{AttachMode, AttachOptions, Interface};
use crate::platform::netlink::{Link, Netlink, NetlinkError, XdpInForce};
use crate::platform::tables::{Gateway, GatewayInterface};

/// The configured interfaces, in the configuration's order, as the kernel knows them.
pub(super) fn configured(config: &Config, links: &[Link]) -> anyhow::Result<Vec<Link>> {
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (n, wanted) in config.interfaces.iter().enumerate() {
        match links.iter().find(|link| link.name == wanted.name) {
            Some(link) => found.push(link.clone()),
            None => missing.push(format!("interface[{n}].name: {} does not exist", wanted.name)),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    anyhow::bail!("{}; this machine has {}", missing.join("; "), names.join(", "))
}

/// What to attach to: every interface that is named, and of VLAN devices the one that carries them,
/// each once.
pub(super) fn attach_options(
    config: &Config,
    links: &[Link],
    all: &[Link],
    gateway: Gateway,
) -> anyhow::Result<AttachOptions> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for (wanted, link) in config.interfaces.iter().zip(links) {
        let carrier = all.iter().find(|other| other.index == link.carrier_index);
        let carrier = carrier.with_context(|| {
            format!("the interface below {} is in another network namespace", link.name)
        })?;
        if interfaces.iter().all(|known| known.index != carrier.index) {
            interfaces.push(attachable(wanted, carrier));
        }
    }
    Ok(AttachOptions {
        bpffs_dir: config.redirector.bpffs_dir.clone(),
        interfaces,
        limits: limits(config),
        gateway,
    })
}

/// What the program is attached to, for an interface or what carries it.
pub(in crate::daemon) fn attachable(wanted: &InterfaceConfig, link: &Link) -> Interface {
    Interface {
        name: link.name.clone(),
        index: link.index,
        mac: link.mac,
        mode: match wanted.mode {
            XdpMode::Native => AttachMode::Native,
            XdpMode::Generic => AttachMode::Generic,
        },
        in_force: match link.xdp {
            XdpInForce::Native => Some(AttachMode::Native),
            XdpInForce::Generic => Some(AttachMode::Generic),
            XdpInForce::Nothing | XdpInForce::Otherwise => None,
        },
    }
}

/// What the program must know of the gateway.
///
/// # Errors
/// When the kernel does not tell the interfaces' addresses.
pub(super) async fn gateway(
    config: &Config,
    links: &[Link],
    (netlink, announced): (&Netlink, &[String]),
) -> Result<Gateway, NetlinkError> {
    let mut interfaces = Vec::new();
    for (wanted, link) in config.interfaces.iter().zip(links) {
        let mut addresses = netlink.addresses(link.index).await?;
        // What an earlier daemon announced here is no address of the gateway's own.
        let is_own = |address: &IpAddr| !announced.contains(&format!("{} {address}", link.name));
        addresses.retain(is_own);
        interfaces.push(gateway_interface(wanted, link, &addresses));
    }
    let (local, tunnel, limits) = (&config.local, &config.tunnel, &config.limits);
    Ok(Gateway {
        interfaces,
        locals: local.addresses.clone(),
        local_ports: (local.port_first, local.port_last),
        tunnel_source_v4: tunnel.source_v4,
        tunnel_source_v6: tunnel.source_v6,
        gue_port: tunnel.gue_port,
        new_flows_per_second_max: limits.new_flows_per_second_max.into(),
        answers_per_second_max: limits.answers_per_second_max.into(),
    })
}

/// An interface, with the first of its addresses of each family: from these ICMP errors are sent.
pub(in crate::daemon) fn gateway_interface(
    wanted: &InterfaceConfig,
    link: &Link,
    addresses: &[IpAddr],
) -> GatewayInterface {
    let tags = match wanted.vlan {
        None => link.tags,
        Some(Vlan::One(id)) => Tags::one(id),
        Some(Vlan::Two { outer, inner }) => Tags::two(outer, inner),
    };
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    };
    let v6 = |address: &IpAddr| match address {
        IpAddr::V6(address) if !address.is_unicast_link_local() => Some(*address),
        _ => None,
    };
    GatewayInterface {
        index: link.index as u16,
        carrier: link.carrier_index as u16,
        mac: link.mac,
        tags,
        mtu: link.mtu,
        address_v4: addresses.iter().find_map(v4),
        address_v6: addresses.iter().find_map(v6),
    }
}

/// The interfaces as they are now, with the modes in force.
pub(in crate::daemon) fn interfaces(links: &[Link]) -> Vec<InterfaceStatus> {
    let status = |link: &Link| InterfaceStatus {
        name: link.name.clone(),
        index: link.index,
        mac: link.mac,
        mode: link.xdp.name().to_owned(),
        link_up: link.carrier,
        mtu: link.mtu,
    };
    links.iter().map(status).collect()
}
