//! Packets that do not fit somewhere on their way: whoever sent them hears of it, wherever the
//! client believes the packets to come from.

use anyhow::{Context, Result, ensure};
use redirector_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::verdict::Reason;
use redirector_common::wire::Forwarding;
use redirector_tests::data_path::Version;
use redirector_tests::gateway::{CLIENT, Device, Plan, SERVER_V4, SERVER_V6, Site, address};
use redirector_tests::netns::{Namespace, run_quietly};
use redirector_tests::talk;

const TCP_BYTES: usize = 1 << 20;
const ROUTER_MTU: u32 = 1400;
/// Fits into 1500 bytes, not into 1400.
const DATAGRAM_LEN: usize = 1430;

/// The MTU of the way to `to` as a host has learnt it.
fn learnt(host: &Namespace, to: impl std::fmt::Display, from: Option<String>) -> Result<u32> {
    let mut ip = host.command("ip");
    ip.args(["route", "get", &to.to_string()]);
    if let Some(from) = from {
        ip.args(["from", &from]);
    }
    let text = run_quietly(&mut ip)?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    let mtu = words.next().with_context(|| format!("no MTU in {text:?}"))?;
    Ok(mtu.parse()?)
}

const MODES: [Forwarding; 5] =
    [Forwarding::Nat, Forwarding::FullNat, Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue];

/// A bulk transfer both ways, then a datagram both ways, past a router with a smaller MTU.
fn past_a_router(version: Version, server: u16) -> Result<()> {
    let mut site = Site::build(Plan { router_mtu: Some(ROUTER_MTU), ..Plan::PLAIN })?;
    for (number, forwarding) in MODES.into_iter().enumerate() {
        for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
            // What the last conversation taught both ends is forgotten.
            forget(&site)?;
            let id = number as u32 * 2 + u32::from(protocol == PROTOCOL_UDP);
            let ports = (protocol, 10_809, 20_000 + id as u16);
            let at = (version, 100 + number as u16);
            let device = Device::new((id, server), at, ports, forwarding);
            site.add(&device)?;
            let before = site.count(Reason::ErrorForwarded)?;
            let talked = match protocol {
                PROTOCOL_TCP => talk::tcp(site.ends(&device), TCP_BYTES).map(drop),
                _ => talk::udp_until_back(site.ends(&device), DATAGRAM_LEN).and_then(|tries| {
                    ensure!(tries <= 4, "{tries} datagrams until both ends had learnt");
                    Ok(())
                }),
            };
            talked.with_context(|| format!("{forwarding:?} {protocol} {version:?}"))?;
            let errors = site.count(Reason::ErrorForwarded)? - before;
            ensure!(errors > 0, "{forwarding:?} {protocol}: the server heard of nothing");
            ensure!(errors < 50, "{forwarding:?} {protocol}: {errors} errors taught nothing");
            if forwarding != Forwarding::FullNat {
                let client = address(version, site.plan().client_side(), CLIENT);
                let from = forwarding.is_direct().then(|| device.settings.address.to_string());
                let mtu = learnt(&site.server.namespace, client, from)?;
                ensure!(mtu == ROUTER_MTU, "{forwarding:?} {protocol}: the server learnt {mtu}");
            }
        }
    }
    Ok(())
}

fn forget(site: &Site) -> Result<()> {
    for host in [&site.client.namespace, &site.server.namespace] {
        for family in ["-4", "-6"] {
            let mut ip = host.command("ip");
            ip.args([family, "route", "flush", "cache"]);
            run_quietly(&mut ip)?;
        }
    }
    Ok(())
}

#[test]
fn a_server_hears_of_a_smaller_hop_before_the_client_over_ipv4() -> Result<()> {
    past_a_router(Version::V4, SERVER_V4)
}

#[test]
fn a_server_hears_of_a_smaller_hop_before_the_client_over_ipv6() -> Result<()> {
    past_a_router(Version::V6, SERVER_V6)
}

#[test]
fn a_client_hears_how_much_fits_into_its_tunnel() -> Result<()> {
    let mut site = Site::build(Plan { server_mtu: Some(1500), ..Plan::PLAIN })?;
    let outer_len = |forwarding, server| {
        let network_len = if server == SERVER_V4 { 20 } else { 40 };
        if forwarding == Forwarding::Gue { network_len + 8 } else { network_len }
    };
    let mut number = 0;
    for forwarding in [Forwarding::Ipip, Forwarding::Gue] {
        for (version, server) in [
            (Version::V4, SERVER_V4),
            (Version::V4, SERVER_V6),
            (Version::V6, SERVER_V4),
            (Version::V6, SERVER_V6),
        ] {
            number += 1;
            let at = (version, 100 + number);
            let what = format!("{forwarding:?} {version:?} to {server}");
            let ports = |protocol| (protocol, 10_809, 10_809);
            let id = u32::from(number) * 2;
            let tcp = Device::new((id, server), at, ports(PROTOCOL_TCP), forwarding);
            let udp = Device::new((id + 1, server), at, ports(PROTOCOL_UDP), forwarding);
            site.add(&tcp)?;
            site.add(&udp)?;
            let before = site.count(Reason::TooBig)?;
            talk::tcp(site.ends(&tcp), TCP_BYTES).with_context(|| what.clone())?;
            ensure!(site.count(Reason::TooBig)? > before, "{what}: nothing was too big");
            let mtu = learnt(&site.client.namespace, tcp.settings.address, None)?;
            ensure!(mtu == 1500 - outer_len(forwarding, server), "{what}: the client learnt {mtu}");
            forget(&site)?;
            let len = if version == Version::V4 { 1500 - 28 } else { 1500 - 48 };
            let tries = talk::udp_until_back(site.ends(&udp), len).with_context(|| what.clone())?;
            ensure!(tries <= 3, "{what}: {tries} datagrams until the client had learnt");
            let mtu = learnt(&site.client.namespace, tcp.settings.address, None)?;
            ensure!(mtu == 1500 - outer_len(forwarding, server), "{what}: UDP learnt {mtu}");
        }
    }
    Ok(())
}

#[test]
fn a_client_that_lets_routers_fragment_hears_of_its_tunnel_too() -> Result<()> {
    let mut site = Site::build(Plan { server_mtu: Some(1500), ..Plan::PLAIN })?;
    // Its packets may be fragmented; the outer ones may not.
    site.client.namespace.sysctl("net/ipv4/ip_no_pmtu_disc", "1")?;
    for (id, server) in [(0, SERVER_V4), (1, SERVER_V6)] {
        let ports = (PROTOCOL_UDP, 10_809, 10_809);
        let at = (Version::V4, 100 + id);
        let device = Device::new((id.into(), server), at, ports, Forwarding::Ipip);
        site.add(&device)?;
        let tries = talk::udp_until_back(site.ends(&device), 1500 - 28)?;
        ensure!(tries <= 3, "{tries} datagrams until the client had learnt");
        let told = site.count(Reason::TooBig)?;
        ensure!(told == u64::from(id) + 1, "the client was told {told} times");
    }
    Ok(())
}
