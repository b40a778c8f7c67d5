//! A start that is refused leaves the program, its mode and its flows as they were.

use anyhow::{Context, Result, ensure};
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::topology::{GATEWAY_CLIENT_SIDE, GATEWAY_SERVER_SIDE};
use reqwest::Method;
use serde_json::json;

/// What the kernel says of the programs on the gateway's interfaces: modes and program ids.
fn attached(lab: &Lab) -> Result<Vec<String>> {
    let output = lab.network.host("gateway")?.command("ip").args(["-d", "link"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of_xdp = text.lines().map(str::trim).filter(|line| line.contains("xdp"));
    let lines: Vec<String> = of_xdp.map(fact).collect();
    ensure!(!lines.is_empty(), "no program is attached: {text}");
    Ok(lines)
}

/// The line about a program, or index, name and mode of an interface: its carrier comes when it
/// likes.
fn fact(line: &str) -> String {
    if line.starts_with("prog/") {
        return line.to_owned();
    }
    let told = |word: &&str| word.ends_with(':') || word.starts_with("xdp");
    line.split_whitespace().filter(told).collect::<Vec<_>>().join(" ")
}

fn ip(lab: &Lab, arguments: &str) -> Result<()> {
    let mut command = lab.network.host("gateway")?.command("ip");
    let output = command.args(arguments.split(' ')).output()?;
    ensure!(output.status.success(), "ip {arguments}: {output:?}");
    Ok(())
}

/// Runs the daemon with this configuration, which it must refuse with all of `says`.
fn refused(lab: &Lab, name: &str, config: &str, says: &[&str]) -> Result<()> {
    let before = attached(lab)?;
    let ended = lab.redirector.run_refused(lab.network.host("gateway")?, name, config)?;
    ensure!(!ended.status.success(), "{name}: it was not refused: {}", ended.log);
    for text in says {
        ensure!(ended.log.contains(text), "{name}: {text:?} is missing in: {}", ended.log);
    }
    ensure!(attached(lab)? == before, "{name}: {before:?} is now {:?}", attached(lab)?);
    Ok(())
}

#[test]
fn a_refused_start_replaces_no_program_and_cuts_no_flow() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let status = lab.api()?.status()?;
    ensure!(status["interfaces"][0]["mode"] == "native", "{status}");
    let config = std::fs::read_to_string(lab.redirector.config())?;
    let servers = ["s1", "s2"];
    let more = json!({
        "address": "10.0.1.150", "port": 7000, "server_port": 7150, "servers": servers
    });
    lab.api()?.send_json(Method::PUT, "/v1/devices/one-more", &more)?.accepted()?;
    let flows = Flows::from(lab.client("c1")?)?;
    flows.open(lab.device("echo-a")?.service())?;
    lab.redirector.stop()?;

    let generic = config.replace("\"native\"", "\"generic\"");
    let says = ["in native mode, and generic is configured", "redirector detach"];
    refused(&lab, "other-mode", &generic, &says)?;

    let devices_len = config.matches("[[device]]").count();
    let fewer = format!("{config}\n[limits]\ndevices_max = {devices_len}\n");
    refused(&lab, "too-many-devices", &fewer, &["raise what was lowered in [limits]"])?;

    lab.start_redirector()?;
    for flow in flows.close() {
        assert_eq!(flow.violations(), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn a_start_after_interfaces_were_renamed_is_refused_until_the_program_is_detached() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let config = std::fs::read_to_string(lab.redirector.config())?;
    lab.redirector.stop()?;
    let (clients, servers) = (GATEWAY_CLIENT_SIDE, GATEWAY_SERVER_SIDE);
    for (from, to) in [(clients, "swap0"), (servers, clients), ("swap0", servers)] {
        ip(&lab, &format!("link set dev {from} down"))?;
        ip(&lab, &format!("link set dev {from} name {to}"))?;
        ip(&lab, &format!("link set dev {to} up"))?;
    }
    let says = ["was it renamed?", "redirector detach"];
    refused(&lab, "renamed", &config, &says).context("interfaces that swapped names")
}
