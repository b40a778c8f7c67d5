//! `redirector doctor` is content with a site that is in order, before the daemon runs and while it
//! does, and names each fault that is really there, with its remedy.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::netns::{Namespace, run_quietly};
use redirector_tests::own_user;
use redirector_tests::topology::{GATEWAY_CLIENT_SIDE, GATEWAY_SERVER_SIDE};
use redirector_tests::wait::{self, Look};
use serde_json::Value;

/// A port that comes up, and the kernel's next question to the neighbour.
const AGAIN_WITHIN: Duration = Duration::from_secs(20);

/// What the doctor said: its exit code and its findings.
struct Report {
    code: Option<i32>,
    findings: Vec<Value>,
}

fn doctor(lab: &Lab, starter: &[String], config: &std::path::Path) -> Result<Report> {
    let gateway = lab.network.host("gateway")?;
    let program = lab.redirector.program().to_string_lossy().into_owned();
    let mut words = starter.to_vec();
    words.push(program);
    let (first, rest) = words.split_first().context("no command")?;
    let mut command: Command = gateway.command(first);
    command.args(rest).args(["--output", "json", "doctor", "--config"]).arg(config);
    let output = command.output()?;
    let findings = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("the doctor printed no JSON: {output:?}"))?;
    Ok(Report { code: output.status.code(), findings })
}

impl Report {
    fn of(lab: &Lab) -> Result<Self> {
        doctor(lab, &[], lab.redirector.config())
    }

    /// Faults and warnings, as `check subject verdict`.
    fn complaints(&self) -> Vec<String> {
        let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or("?").to_owned();
        let bad = self.findings.iter().filter(|finding| {
            ["fault", "warning"].contains(&finding["verdict"].as_str().unwrap_or("?"))
        });
        let keys = ["check", "subject", "verdict"];
        bad.map(|finding| keys.map(|key| word(finding, key)).join(" ")).collect()
    }

    fn expect(&self, complaints: &[&str], remedy: &str) -> Result<()> {
        assert_eq!(self.complaints(), complaints, "{:#?}", self.findings);
        let is_fault = complaints.iter().any(|complaint| complaint.ends_with("fault"));
        assert_eq!(self.code, Some(i32::from(is_fault)), "{:#?}", self.findings);
        let remedies: Vec<&str> =
            self.findings.iter().filter_map(|finding| finding["remedy"].as_str()).collect();
        ensure!(remedies.iter().any(|text| text.contains(remedy)), "{remedy:?}: {remedies:#?}");
        Ok(())
    }
}

/// Breaks something, looks, and mends it again.
fn with(lab: &Lab, host: &str, lines: [&str; 2], complaints: &[&str], remedy: &str) -> Result<()> {
    let host: &Namespace = lab.network.host(host)?;
    host.ip(&lines[..1])?;
    Report::of(lab)?.expect(complaints, remedy).with_context(|| lines[0].to_owned())?;
    host.ip(&lines[1..])
}

#[test]
fn a_site_in_order_is_good_before_the_daemon_runs_and_while_it_does() -> Result<()> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let before = Report::of(&lab)?;
    assert_eq!((before.complaints(), before.code), (Vec::new(), Some(0)), "{:#?}", before.findings);
    let checks = ["kernel", "bpffs", "native", "way", "way_back", "address", "mtu", "capabilities"];
    for check in checks {
        let all = || before.findings.iter().filter(|finding| finding["check"] == check);
        ensure!(all().count() > 0, "{check} was not looked at");
        ensure!(all().all(|finding| finding["verdict"] == "good"), "{:#?}", before.findings);
    }
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let running = Report::of(&lab)?;
    assert_eq!((running.complaints(), running.code), (Vec::new(), Some(0)));
    let ours = running.findings.iter().filter(|finding| {
        let detail = finding["detail"].as_str().unwrap_or("?");
        finding["check"] == "xdp" && detail == "our program, in native mode"
    });
    assert_eq!(ours.count(), 2, "{:#?}", running.findings);
    // The kernel asks for an address that is its own by now, too.
    let double = ["address add 10.0.1.100/32 dev eth0", "address del 10.0.1.100/32 dev eth0"];
    with(&lab, "c1", double, &["address disk-a fault"], "take 10.0.1.100 away from that host")?;
    let output = lab.redirector.cli(&["server", "list"])?;
    ensure!(output.status.success(), "the daemon was disturbed: {output:?}");
    Ok(())
}

#[test]
fn faults_of_the_networks_are_named_with_their_remedies() -> Result<()> {
    let lab = Lab::build(Plan::standard(1 << 20))?;
    let (clients, servers) = (GATEWAY_CLIENT_SIDE, GATEWAY_SERVER_SIDE);
    // First of all, while the kernel remembers no neighbour.
    lab.network.set_link("s3", "servers", false)?;
    Report::of(&lab)?.expect(&["way s3 fault"], "ip neighbour show 10.0.2.13")?;
    lab.network.set_link("s3", "servers", true)?;
    wait::until("s3's neighbours to know it again", AGAIN_WITHIN, || {
        let complaints = Report::of(&lab)?.complaints();
        Ok(if complaints.is_empty() { Look::Done(()) } else { Look::NotYet(complaints.join(", ")) })
    })?;
    let mtu = |bytes: u32| format!("link set {servers} mtu {bytes}");
    with(&lab, "gateway", [&mtu(1400), &mtu(1500)], &["mtu servers0 warning"], "mss_max = 1340")?;
    with(
        &lab,
        "c1",
        ["address add 10.0.1.100/32 dev eth0", "address del 10.0.1.100/32 dev eth0"],
        &["address disk-a fault"],
        "take 10.0.1.100 away from that host",
    )?;
    with(
        &lab,
        "s2",
        ["route del default", "route add default via 10.0.2.1"],
        &["way_back s2 fault"],
        "on s2: ip route add",
    )?;
    let gateway = lab.network.host("gateway")?;
    let setting = format!("net/ipv4/conf/{clients}/rp_filter");
    gateway.sysctl(&setting, "1")?;
    Report::of(&lab)?.expect(&["rp_filter clients0 warning"], "rp_filter=0")?;
    gateway.sysctl(&setting, "0")?;
    gateway.sysctl("net/ipv4/ip_forward", "0")?;
    Report::of(&lab)?.expect(&["ip_forward machine warning"], "ip_forward=1")?;
    gateway.sysctl("net/ipv4/ip_forward", "1")?;

    // The lab has it for the switches' ports.
    let pin = lab.bpffs().dir().join("pass");
    let mut ip = gateway.command("ip");
    ip.args(["link", "set", "dev", clients, "xdpdrv", "pinned"]).arg(&pin);
    run_quietly(&mut ip)?;
    Report::of(&lab)?.expect(&["xdp clients0 fault"], "ip link set clients0 xdp off")
}

#[test]
fn faults_of_the_machine_are_named_with_their_remedies() -> Result<()> {
    let lab = Lab::build(Plan::standard(1 << 20))?;
    let text = std::fs::read_to_string(lab.redirector.config())?;
    let bpffs = lab.bpffs().dir().to_string_lossy().into_owned();
    let elsewhere = lab.run().dir().join("no-bpffs.toml");
    std::fs::write(&elsewhere, text.replace(&bpffs, &lab.run().dir().to_string_lossy()))?;
    doctor(&lab, &[], &elsewhere)?.expect(&["bpffs machine fault"], "mount -t bpf bpf")?;

    let renamed = lab.run().dir().join("no-interface.toml");
    std::fs::write(&renamed, text.replace(GATEWAY_CLIENT_SIDE, "clients9"))?;
    let report = doctor(&lab, &[], &renamed)?;
    ensure!(report.complaints().contains(&"interface clients9 fault".to_owned()));

    own_user::give_directories(&lab)?;
    let starter = own_user::starter(Some("net_raw"));
    let report = doctor(&lab, &starter, lab.redirector.config())?;
    report.expect(&["capabilities machine fault"], "deploy/systemd")
}
