//! Service addresses are answered for on the clients' network, however they are announced, and what
//! others gave an interface stays theirs.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::data_path::Version;
use redirector_tests::greeters::Greeters;
use redirector_tests::netns::Namespace;
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(20);

fn shown(at: &Namespace, words: &[&str]) -> Result<String> {
    let output = at.command("ip").args(["-4"]).args(words).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until the client knows who has an address.
fn expect_resolved(site: &Greeters, address: &str) -> Result<()> {
    wait::until("the neighbour's answer", WITHIN, || {
        site.client.enter(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").context("a socket")?;
            socket.send_to(b"?", (address, 9)).context("send").map(drop)
        })?;
        let known = shown(&site.client, &["neigh", "show", address])?;
        Ok(if known.contains("lladdr") { Look::Done(()) } else { Look::NotYet(known) })
    })
}

fn local_routes(site: &Greeters) -> Result<String> {
    shown(&site.gateway, &["route", "show", "table", "local", "proto", "114"])
}

fn patch(site: &Greeters, body: &Value) -> Result<()> {
    let api = site.redirector.api()?;
    api.send_json(Method::PATCH, "/v1/devices", body)?.accepted().map(drop)
}

fn device(address: &str) -> Value {
    json!({ "address": address, "port": 7100, "forwarding": "dsr", "servers": ["s1", "s2"] })
}

#[test]
fn addresses_are_answered_for_and_only_those_that_we_announced_are_withdrawn() -> Result<()> {
    let mut site = Greeters::start(Version::V4, "")?;
    let theirs = "10.1.0.150";
    site.gateway.ip(&[format!("address add {theirs}/32 dev to-c1")])?;
    let put = json!({ "one": device(theirs), "two": device("10.1.0.151") });
    patch(&site, &json!({ "put": put }))?;
    for address in [theirs, "10.1.0.151"] {
        expect_resolved(&site, address)?;
    }
    ensure!(local_routes(&site)?.contains("10.1.0.151"), "{}", local_routes(&site)?);
    patch(&site, &json!({ "remove": ["one", "two"] }))?;
    let routes = local_routes(&site)?;
    ensure!(!routes.contains("10.1.0.15") && routes.contains("10.1.0.100"), "{routes}");
    let addresses = shown(&site.gateway, &["address", "show", "dev", "to-c1"])?;
    ensure!(addresses.contains(theirs), "what somebody else gave the interface: {addresses}");

    // Such an interface answers for its own addresses only.
    site.gateway.sysctl("net/ipv4/conf/to-c1/arp_ignore", "1")?;
    patch(&site, &json!({ "put": { "three": device("10.1.0.152") } }))?;
    expect_resolved(&site, "10.1.0.152")?;
    let addresses = shown(&site.gateway, &["address", "show", "dev", "to-c1"])?;
    ensure!(addresses.contains("10.1.0.152/32"), "{addresses}");
    ensure!(addresses.contains("10.1.0.100/32"), "the one of before too: {addresses}");
    ensure!(local_routes(&site)?.is_empty(), "{}", local_routes(&site)?);
    site.redirector.stop()
}
