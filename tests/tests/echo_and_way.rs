//! ping and traceroute to service addresses: the program answers, and the way shows the gateway and
//! ends at the service address, whatever is behind it.

use anyhow::{Result, ensure};
use redirector_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::verdict::Reason;
use redirector_common::wire::Forwarding;
use redirector_tests::data_path::Version;
use redirector_tests::gateway::{Device, Plan, SERVER_V4, SERVER_V6, Side, Site, address};
use redirector_tests::netns::run_quietly;
use redirector_tests::talk;

const MODES: [Forwarding; 3] = [Forwarding::Nat, Forwarding::Dsr, Forwarding::Ipip];
const VERSIONS: [(Version, u16); 2] = [(Version::V4, SERVER_V4), (Version::V6, SERVER_V6)];
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
