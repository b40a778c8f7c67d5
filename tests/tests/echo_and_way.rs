//! ping and traceroute to service addresses: the program answers, and the way shows the gateway and
//! ends at the service address, whatever is behind it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::verdict::Reason;
use redirector_common::wire::Forwarding;
use redirector_tests::data_path::Version;
use redirector_tests::gateway::{Device, Plan, SERVER_V4, SERVER_V6, Side, Site, address};
use redirector_tests::greeters::Greeters;
use redirector_tests::netns::{Namespace, run_quietly};
use redirector_tests::{talk, wait};

const MODES: [Forwarding; 3] = [Forwarding::Nat, Forwarding::Dsr, Forwarding::Ipip];
const VERSIONS: [(Version, u16); 2] = [(Version::V4, SERVER_V4), (Version::V6, SERVER_V6)];
const WITHIN: Duration = Duration::from_secs(20);
const TCP_PORT: u16 = 10_809;
const UDP_PORT: u16 = 5000;

/// A device of each mode, family and protocol.
fn devices(site: &mut Site) -> Result<Vec<(Version, Device)>> {
    let mut devices = Vec::new();
    for forwarding in MODES {
        for (version, server) in VERSIONS {
            for (protocol, port) in [(PROTOCOL_TCP, TCP_PORT), (PROTOCOL_UDP, UDP_PORT)] {
                let id = devices.len() as u16;
                let ports = (protocol, port, 20_000 + id);
                let at = (version, 100 + id / 2);
                let device = Device::new((id.into(), server), at, ports, forwarding);
                site.add(&device)?;
                devices.push((version, device));
            }
        }
    }
    Ok(devices)
}

#[test]
fn ping_is_answered_by_the_program() -> Result<()> {
    let mut site = Site::build(Plan::PLAIN)?;
    for (_, device) in devices(&mut site)? {
        for len in ["0", "56", "1400"] {
            let before = site.count(Reason::EchoAnswered)?;
            let mut ping = site.client.namespace.command("ping");
            ping.args(["-n", "-c", "3", "-i", "0.01", "-w", "5", "-s", len]);
            let text = run_quietly(ping.arg(device.settings.address.to_string()))?;
            ensure!(text.contains("3 received") && text.contains(" 0% packet loss"), "{text}");
            let answered = site.count(Reason::EchoAnswered)? - before;
            ensure!(answered == 3, "{answered} of 3 echo requests were the program's");
        }
    }
    Ok(())
}

/// How many of three echo requests are answered that take three fragments each.
fn answers_to_fragments(client: &Namespace, service: IpAddr) -> Result<usize> {
    let mut ping = client.command("ping");
    ping.args(["-n", "-c", "3", "-i", "0.2", "-W", "1", "-s", "4000"]);
    // It fails where nothing is answered.
    let output = ping.arg(service.to_string()).output().context("start ping")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains("3 packets transmitted"), "{output:?}");
    Ok(text.matches("4008 bytes from").count())
}

#[test]
fn a_ping_in_fragments_is_answered_by_the_kernel_that_announces_the_address() -> Result<()> {
    for version in [Version::V4, Version::V6] {
        let mut site = Greeters::start(version, "")?;
        let answered = answers_to_fragments(&site.client, site.service().ip())?;
        ensure!(answered == 3, "{version:?}: {answered} of 3");
        // The first fragment of each, beside what neighbours say, and the two others.
        wait::until_ok("all fragments to be counted as passed", WITHIN, || {
            let (first, later) = (Reason::IcmpOther, Reason::FragmentUnknown);
            let counted = (site.count(first)?, site.count(later)?);
            ensure!(counted.0 >= 3 && counted.1 >= 6, "{counted:?} passed");
            Ok(())
        })?;
        ensure!(site.count(Reason::EchoAnswered)? == 0, "{version:?}: the program answered");
        site.redirector.stop()?;
    }
    Ok(())
}

#[test]
fn a_ping_in_fragments_to_an_address_that_is_only_routed_here_is_not_answered() -> Result<()> {
    let mut site = Site::build(Plan::PLAIN)?;
    for (number, (version, server)) in VERSIONS.into_iter().enumerate() {
        let id = number as u16;
        let ports = (PROTOCOL_TCP, TCP_PORT, 20_000 + id);
        let device = Device::new((id.into(), server), (version, 100 + id), ports, Forwarding::Nat);
        site.add(&device)?;
        let counted = [Reason::IcmpOther, Reason::FragmentUnknown];
        let before = counted.map(|reason| site.count(reason));
        let answered = answers_to_fragments(&site.client.namespace, device.settings.address)?;
        ensure!(answered == 0, "{version:?}: who answers {answered} of 3?");
        for ((reason, before), expected) in counted.into_iter().zip(before).zip([3, 6]) {
            let counted = site.count(reason)? - before?;
            // What neighbours say to each other meanwhile is counted there too.
            ensure!(counted >= expected, "{version:?}: {counted} under {}", reason.name());
        }
    }
    Ok(())
}

/// The addresses on the way, by a traceroute of `how`.
fn way(site: &Site, device: &Device, how: &str) -> Result<Vec<String>> {
    let mut traceroute = site.client.namespace.command("traceroute");
    let family = if device.settings.address.is_ipv4() { "-4" } else { "-6" };
    let port = device.settings.port.to_string();
    // One probe at a time: a kernel sends only so many port-unreachable messages at once.
    traceroute.args([family, "-n", "-q", "1", "-N", "1", "-w", "2", "-m", "6", how, "-p", &port]);
    let text = run_quietly(traceroute.arg(device.settings.address.to_string()))?;
    let second = |line: &str| line.split_whitespace().nth(1).unwrap_or("nothing").to_owned();
    Ok(text.lines().skip(1).map(second).collect())
}

#[test]
fn traceroute_shows_the_gateway_and_ends_at_the_service_address() -> Result<()> {
    let mut site = Site::build(Plan::PLAIN)?;
    for (version, device) in devices(&mut site)? {
        let how = if device.settings.protocol == PROTOCOL_TCP { "-T" } else { "-U" };
        let gateway = address(version, Side::Clients, 1).to_string();
        let expected = [gateway, device.settings.address.to_string()];
        let found = way(&site, &device, how)?;
        ensure!(found == expected, "{:?} {how}: {found:?}", device.settings);
        // And what has been asked about still works.
        if how == "-T" {
            talk::tcp(site.ends(&device), 1000)?;
        }
    }
    Ok(())
}
