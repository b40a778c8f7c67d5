//! Programs that know nothing of us, through the packet path: iperf3, and dig with dnsmasq.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::wire::Forwarding;
use redirector_tests::data_path::Version;
use redirector_tests::gateway::{Device, Plan, SERVER_V4, SERVER_V6, Site};
use redirector_tests::process::{Keeping, Process, run_to_end};
use redirector_tests::wait;

const WITHIN: Duration = Duration::from_secs(20);
const VERSIONS: [(Version, u16); 2] = [(Version::V4, SERVER_V4), (Version::V6, SERVER_V6)];

/// TCP and UDP of one port.
fn add_both(
    site: &mut Site,
    id: u16,
    at: (Version, u16),
    ports: (u16, u16),
    forwarding: Forwarding,
) -> Result<Device> {
    let (version, server) = at;
    let device = |id: u16, protocol| {
        let ids = (id.into(), server);
        Device::new(ids, (version, 100 + id / 2), (protocol, ports.0, ports.1), forwarding)
    };
    let (tcp, udp) = (device(id, PROTOCOL_TCP), device(id + 1, PROTOCOL_UDP));
    site.add(&tcp)?;
    site.add(&udp)?;
    Ok(tcp)
}

fn on_server(site: &Site, keeping: &Keeping, command: &[&str]) -> Result<Process> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    keeping.launch(program, &site.server.namespace).start(Path::new(program), arguments)
}

/// Runs a program on the client, until it succeeds with words that `read` takes: its server may
/// still be starting.
fn on_client<T>(
    site: &Site,
    keeping: &Keeping,
    command: &[&str],
    read: impl Fn(&str) -> Result<T>,
) -> Result<T> {
    wait::until_ok(command[0], WITHIN, || {
        let launch = keeping.launch(command[0], &site.client.namespace);
        let ended = run_to_end(&launch, command, WITHIN)?;
        // The log grows from run to run.
        std::fs::remove_file(keeping.log_dir.join(format!("{}.out", command[0])))?;
        read(&ended.success(command[0])?)
    })
}

/// What iperf3 says at its end; it succeeds also with an error.
fn iperf3_end(text: &str) -> Result<serde_json::Value> {
    let report: serde_json::Value = serde_json::from_str(text).context("iperf3's JSON")?;
    ensure!(report["error"].is_null(), "iperf3 says {}", report["error"]);
    Ok(report["end"].clone())
}

#[test]
fn iperf3_runs_through_nat() -> Result<()> {
    const BYTES: u64 = 64 << 20;
    let mut site = Site::build(Plan::PLAIN)?;
    let keeping = site.keeping()?;
    for (number, at) in VERSIONS.into_iter().enumerate() {
        let id = 2 * number as u16;
        let device = add_both(&mut site, id, at, (5201, 20_001 + id), Forwarding::Nat)?;
        let listen = device.at_server();
        let (ip, port) = (listen.ip().to_string(), listen.port().to_string());
        let _server = on_server(&site, &keeping, &["iperf3", "-s", "-B", &ip, "-p", &port])?;
        let service = device.settings.address.to_string();
        for how in [
            &["-P", "4", "-n", "64M"][..],
            &["-R", "-n", "64M"],
            &["-u", "-b", "200M", "-l", "1400", "-n", "8M"],
        ] {
            let mut command = vec!["iperf3", "-J", "-c", &service, "-p", "5201", "-w", "256K"];
            command.extend(how);
            let end = on_client(&site, &keeping, &command, iperf3_end)?;
            let got = if how[0] == "-u" { &end["sum"] } else { &end["sum_received"] };
            let bytes = got["bytes"].as_u64().with_context(|| format!("no bytes in {end}"))?;
            // What is still in the sender's buffers at the end is not counted.
            let enough = if how[0] == "-u" { 8 << 20 } else { BYTES * 9 / 10 };
            ensure!(bytes >= enough, "{how:?}: {bytes} bytes");
            let rate = got["bits_per_second"].as_f64().unwrap_or_default() / 1e9;
            eprintln!("iperf3 {:?} {how:?}: {rate:.2} Gbit/s", at.0);
        }
    }
    Ok(())
}

#[test]
fn dns_is_served_through_nat_and_dsr() -> Result<()> {
    let mut site = Site::build(Plan::PLAIN)?;
    let keeping = site.keeping()?;
    let mut id = 0;
    for forwarding in [Forwarding::Nat, Forwarding::Dsr] {
        for at in VERSIONS {
            let device = add_both(&mut site, id, at, (53, 20_053), forwarding)?;
            id += 2;
            let listen = device.at_server();
            let _server = on_server(
                &site,
                &keeping,
                &[
                    "dnsmasq",
                    "--keep-in-foreground",
                    "--conf-file=/dev/null",
                    "--pid-file=",
                    "--user=root",
                    "--no-resolv",
                    "--no-hosts",
                    "--bind-interfaces",
                    &format!("--listen-address={}", listen.ip()),
                    &format!("--port={}", listen.port()),
                    "--address=/lab.test/192.0.2.7",
                    &format!("--txt-record=long.test,{}", vec!["x".repeat(200); 6].join(",")),
                    "--edns-packet-max=4096",
                ],
            )?;
            let server = format!("@{}", device.settings.address);
            for transport in ["+notcp", "+tcp"] {
                let ask = |name: &str, kind: &str| {
                    let more = ["+short", "+tries=1", "+time=2", "+bufsize=4096", "+ignore"];
                    let command = [&["dig", &server, name, kind, transport][..], &more].concat();
                    on_client(&site, &keeping, &command, |text| Ok(text.to_owned()))
                };
                let what = || format!("{forwarding:?} {:?} {transport}", at.0);
                let address = ask("host.lab.test", "A").with_context(what)?;
                ensure!(address.trim() == "192.0.2.7", "{}: {address:?}", what());
                let text = ask("long.test", "TXT").with_context(what)?;
                ensure!(text.matches('x').count() == 1200, "{}: {text:?}", what());
            }
        }
    }
    Ok(())
}
