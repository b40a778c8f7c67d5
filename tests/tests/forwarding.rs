//! Every way to a server carries real conversations: mode, family, tags, MTU and arms, each with
//! each.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use redirector_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::wire::{Forwarding, Tags};
use redirector_tests::data_path::Version;
use redirector_tests::gateway::{CLIENT, Device, Plan, SERVER_V4, SERVER_V6, Side, Site, address};
use redirector_tests::talk;

/// Bytes of a TCP conversation, each way.
const TCP_BYTES: usize = 2 << 20;
/// Datagrams of a UDP conversation, each way.
const DATAGRAMS: usize = 100;
/// Headers of the longest datagram: IPv6 and UDP.
const HEADERS_LEN: usize = 48;
const PORT: u16 = 10_809;

/// Mode and server: the server's id is the outer family of tunnels.
const WAYS: [(Forwarding, Version, u16); 14] = [
    (Forwarding::Nat, Version::V4, SERVER_V4),
    (Forwarding::Nat, Version::V6, SERVER_V6),
    (Forwarding::FullNat, Version::V4, SERVER_V4),
    (Forwarding::FullNat, Version::V6, SERVER_V6),
    (Forwarding::Dsr, Version::V4, SERVER_V4),
    (Forwarding::Dsr, Version::V6, SERVER_V6),
    (Forwarding::Ipip, Version::V4, SERVER_V4),
    (Forwarding::Ipip, Version::V4, SERVER_V6),
    (Forwarding::Ipip, Version::V6, SERVER_V4),
    (Forwarding::Ipip, Version::V6, SERVER_V6),
    (Forwarding::Gue, Version::V4, SERVER_V4),
    (Forwarding::Gue, Version::V4, SERVER_V6),
    (Forwarding::Gue, Version::V6, SERVER_V4),
    (Forwarding::Gue, Version::V6, SERVER_V6),
];

/// Talks through every mode at one site.
fn every_way(plan: Plan) -> Result<()> {
    let mut site = Site::build(plan)?;
    let mut failed = Vec::new();
    for (number, (forwarding, version, server)) in WAYS.into_iter().enumerate() {
        for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
            let id = (number * 2) as u32 + u32::from(protocol == PROTOCOL_UDP);
            let at = (version, 100 + number as u16);
            let ports = (protocol, PORT, 20_000 + id as u16);
            let device = Device::new((id, server), at, ports, forwarding);
            site.add(&device)?;
            if let Err(error) = converse(&site, &device, version) {
                let name = if protocol == PROTOCOL_TCP { "TCP" } else { "UDP" };
                failed.push(format!("{forwarding:?} {version:?} to {server} {name}: {error:#}"));
            }
        }
    }
    if !failed.is_empty() {
        let reasons = site.tables.counters()?.reasons;
        let met: Vec<_> = reasons.iter().filter(|(_, count)| count.packets > 0).collect();
        anyhow::bail!("{plan:?}\n{}\n{met:?}", failed.join("\n"));
    }
    Ok(())
}

fn converse(site: &Site, device: &Device, version: Version) -> Result<()> {
    let ends = site.ends(device);
    let peer = match device.settings.protocol {
        PROTOCOL_TCP => talk::tcp(ends, TCP_BYTES),
        _ => talk::udp(ends, DATAGRAMS, site.plan().mtu as usize - HEADERS_LEN),
    }?;
    let own = address(version, Side::Clients, CLIENT);
    let hidden = device.settings.forwarding == Forwarding::FullNat;
    ensure!((peer.ip() == own) != hidden, "the server saw {peer}");
    went_by(site, device, peer.ip())
}

/// The program itself carried it, and did not leave it to the kernel.
fn went_by(site: &Site, device: &Device, peer: IpAddr) -> Result<()> {
    let counters = site.tables.counters()?;
    let count = counters.devices.get(&device.id).context("no counters of the device")?;
    let enough = |bytes: u64| match device.settings.protocol {
        PROTOCOL_TCP => bytes > TCP_BYTES as u64,
        _ => bytes > (DATAGRAMS * (site.plan().mtu as usize - HEADERS_LEN)) as u64,
    };
    ensure!(enough(count.to_server.bytes), "to the server of {peer}: {count:?}");
    let sees_both = !device.settings.forwarding.is_direct();
    ensure!(enough(count.to_client.bytes) == sees_both, "to the client {peer}: {count:?}");
    Ok(())
}

const NONE: Tags = Tags::NONE;
const CLIENTS_TAG: Tags = Tags::one(101);
const SERVERS_TAG: Tags = Tags::one(202);
const CLIENTS_QINQ: Tags = Tags::two(11, 101);
const SERVERS_QINQ: Tags = Tags::two(12, 202);

fn with(client_tags: Tags, server_tags: Tags) -> Result<()> {
    for mtu in [1500, 9000] {
        every_way(Plan { client_tags, server_tags, mtu, ..Plan::PLAIN })?;
    }
    Ok(())
}

fn one_armed(tags: Tags) -> Result<()> {
    for mtu in [1500, 9000] {
        let (client_tags, server_tags) = (tags, tags);
        every_way(Plan { client_tags, server_tags, mtu, one_armed: true, ..Plan::PLAIN })?;
    }
    Ok(())
}

#[test]
fn between_two_networks_without_tags() -> Result<()> {
    with(NONE, NONE)
}

#[test]
fn between_two_vlans() -> Result<()> {
    with(CLIENTS_TAG, SERVERS_TAG)
}

#[test]
fn between_two_vlans_within_vlans() -> Result<()> {
    with(CLIENTS_QINQ, SERVERS_QINQ)
}

#[test]
fn from_a_network_without_tags_to_a_vlan_within_a_vlan_and_back() -> Result<()> {
    with(NONE, SERVERS_QINQ)?;
    with(CLIENTS_QINQ, SERVERS_TAG)
}

#[test]
fn behind_one_interface_without_tags() -> Result<()> {
    one_armed(NONE)
}

#[test]
fn behind_one_interface_in_a_vlan() -> Result<()> {
    one_armed(CLIENTS_TAG)
}

#[test]
fn behind_one_interface_in_a_vlan_within_a_vlan() -> Result<()> {
    one_armed(CLIENTS_QINQ)
}
