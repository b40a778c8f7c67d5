//! Servers that have the service address themselves are asked for it, by the way that clients'
//! packets take: who has lost the address or the tunnel's end is left, for those devices alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_common::wire::Tags;
use redirector_tests::data_path::{GUE_PORT, Version};
use redirector_tests::end_host::attach_xdp;
use redirector_tests::greeters::Greeters;
use redirector_tests::netns::{Namespace, run_quietly};
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(20);
const MODES: [&str; 3] = ["dsr", "ipip", "gue"];

/// Service address of the device of a mode.
fn address(version: Version, mode: &str) -> IpAddr {
    let number = MODES.iter().position(|known| *known == mode).map_or(0, |at| 121 + at as u8);
    match version {
        Version::V4 => Ipv4Addr::new(10, 1, 0, number).into(),
        Version::V6 => Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// Gives a server a service address, or takes it away.
fn own(server: &Namespace, verb: &str, address: IpAddr) -> Result<()> {
    let rest = if address.is_ipv4() { "/32 dev lo" } else { "/128 dev lo" };
    server.ip(&[format!("address {verb} {address}{rest}")])
}

/// What the first server is for the devices, as far as that is not healthy, and where those are.
fn seen(site: &Greeters) -> Result<(Value, Vec<(String, String)>)> {
    let api = site.redirector.api()?;
    let server: Value = api.get("/v1/servers/s1")?;
    let paths = server["paths"].as_object().context("paths")?;
    let ill = paths.iter().filter(|(_, health)| **health != "healthy");
    let ill = ill.map(|(device, health)| (device.clone(), health.clone())).collect();
    let devices = api.devices()?.into_iter();
    Ok((Value::Object(ill), devices.map(|of| (of.name, of.association.server)).collect()))
}

/// Waits until s1 is dead for these devices and healthy for all others.
fn expect_dead_for(site: &Greeters, dead: &[&str]) -> Result<Vec<(String, String)>> {
    let wanted: serde_json::Map<String, Value> =
        dead.iter().map(|device| ((*device).to_owned(), json!("dead"))).collect();
    wait::until(&format!("s1 to be dead for {dead:?} alone"), WITHIN, || {
        let (ill, devices) = seen(site)?;
        let is_so = ill == Value::Object(wanted.clone());
        Ok(if is_so { Look::Done(devices) } else { Look::NotYet(format!("{ill}, {devices:?}")) })
    })
}

fn expect_on(site: &Greeters, s2: &[&str]) -> Result<()> {
    wait::until(&format!("{s2:?} alone to be on s2"), WITHIN, || {
        let (_, devices) = seen(site)?;
        let is_so = |(name, server): &(String, String)| (server == "s2") == s2.contains(&&**name);
        let text = format!("{devices:?}");
        Ok(if devices.iter().all(is_so) { Look::Done(()) } else { Look::NotYet(text) })
    })
}

fn said(site: &Greeters, device: &str, text: &str) -> Result<()> {
    let events = site.redirector.api()?.events(0)?;
    let mut of = events.iter().filter(|event| event.device.as_deref() == Some(device));
    ensure!(of.any(|event| event.text.contains(text)), "nobody said {text:?}: {events:#?}");
    Ok(())
}

/// A connection that was accepted but neither used nor ended stays with the server for a minute.
fn expect_nothing_half_open(server: &Namespace) -> Result<()> {
    wait::until("no connection to be half open", WITHIN, || {
        let text = run_quietly(server.command("ss").args(["-Hnt", "state", "syn-recv"]))?;
        // One that is being asked in this moment may be.
        Ok(if text.lines().count() < 3 { Look::Done(()) } else { Look::NotYet(text) })
    })
}

fn servers_that_lost_what_clients_need_are_left(version: Version) -> Result<()> {
    let source = match version {
        Version::V4 => "source_v4 = \"10.8.0.2\"",
        Version::V6 => "source_v6 = \"fd08::2\"",
    };
    let settings = format!("\n[tunnel]\n{source}\ngue_port = {GUE_PORT}\n");
    let mut site = Greeters::start(version, &settings)?;
    let mut tunnels = Vec::new();
    for server in &site.servers {
        for mode in MODES {
            own(server, "add", address(version, mode))?;
        }
        // A host has one program: the harness's own only passes everything.
        server.ip(&["link set dev eth0 xdpdrv off"])?;
        tunnels.push(attach_xdp(server, Tags::NONE, "eth0", "unwrap_tunnels")?);
    }
    let device = |mode: &str| {
        json!({ "address": address(version, mode), "port": 7100, "forwarding": mode,
                "servers": ["s1", "s2"], "server": "s1" })
    };
    let put: serde_json::Map<String, Value> =
        MODES.iter().map(|mode| ((*mode).to_owned(), device(mode))).collect();
    let api = site.redirector.api()?;
    api.send_json(Method::PATCH, "/v1/devices", &json!({ "put": put }))?.accepted()?;
    expect_dead_for(&site, &[])?;
    expect_on(&site, &[])?;

    own(&site.servers[0], "del", address(version, "dsr"))?;
    expect_dead_for(&site, &["dsr"])?;
    expect_on(&site, &["dsr"])?;
    said(&site, "dsr", "does not answer for the service address")?;
    said(&site, "dsr", "is that on its loopback interface?")?;
    own(&site.servers[0], "add", address(version, "dsr"))?;
    expect_dead_for(&site, &[])?;

    drop(tunnels.remove(0));
    expect_dead_for(&site, &["ipip", "gue"])?;
    expect_on(&site, &MODES)?;
    said(&site, "gue", "and does its end of the gue tunnel work?")?;
    tunnels.push(attach_xdp(&site.servers[0], Tags::NONE, "eth0", "unwrap_tunnels")?);
    expect_dead_for(&site, &[])?;
    for server in &site.servers {
        expect_nothing_half_open(server)?;
    }
    site.redirector.stop()
}

#[test]
fn a_server_without_the_service_address_or_its_tunnel_is_left_over_ipv4() -> Result<()> {
    servers_that_lost_what_clients_need_are_left(Version::V4)
}

#[test]
fn a_server_without_the_service_address_or_its_tunnel_is_left_over_ipv6() -> Result<()> {
    servers_that_lost_what_clients_need_are_left(Version::V6)
}
