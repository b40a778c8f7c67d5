//! A daemon that was kept from running accuses nobody: the packets went on without it.

use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::topology::is_gateway;
use redirector_tests::wait::{self, Look, Pace};
use reqwest::Method;
use serde_json::{Value, json};

/// From one check of a disk to the next, and for its answer: far longer than a server is paused.
const CHECK_MS: u64 = 1000;
/// How long the daemon stands still.
const STALLS_MS: [u64; 3] = [50, 500, 5000];
/// Answers afterwards, one in 20 ms: time for many checks and looks at the evidence.
const AFTERWARDS: u64 = 75;
const WITHIN: Duration = Duration::from_secs(60);
/// These are asked in a protocol that takes several questions, so that a check which was half
/// done before a stall needs the server once more after it; and one that failed would be a death.
const DISKS: [&str; 2] = ["disk-a", "disk-b"];
/// The server whose answers come late.
const PAUSED: &str = "s3";

#[test]
fn a_daemon_that_was_stopped_for_50_ms_500_ms_or_5_s_accuses_nobody() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    for disk in DISKS {
        ask_in_nbd(&lab, disk)?;
    }
    let flows = Flows::from(lab.client("c1")?)?;
    for device in ["echo-a", "echo-b"] {
        flows.open(lab.device(device)?.service())?;
    }
    for stall_ms in STALLS_MS {
        // Checks are under way when the daemon stops, and their answers come while it does not run.
        lab.server(PAUSED)?.signal(Signal::SIGSTOP)?;
        let asked = half_asked(&lab);
        lab.redirector.signal(Signal::SIGSTOP)?;
        lab.server(PAUSED)?.signal(Signal::SIGCONT)?;
        wait::let_pass(Duration::from_millis(stall_ms));
        lab.redirector.signal(Signal::SIGCONT)?;
        asked?;
        more_answers(&flows, AFTERWARDS)?;
    }
    let accusing = |kind: &str| matches!(kind, "server_dead" | "failover" | "frozen");
    let accused = lab.api()?.events(0)?.into_iter().find(|event| accusing(&event.kind));
    assert!(accused.is_none(), "{accused:?}");
    for flow in flows.close() {
        assert_eq!(flow.violations(), Vec::<String>::new());
    }
    Ok(())
}

/// Has a disk's servers asked in NBD, and one failed check be enough.
fn ask_in_nbd(lab: &Lab, disk: &str) -> Result<()> {
    let api = lab.api()?;
    let known = lab.device(disk)?;
    let body = json!({
        "address": known.ip(), "port": known.port, "server_port": known.server_port,
        "servers": ["s1", "s2", "s3"], "check": {"kind": "nbd", "export": disk},
        "check_interval_ms": CHECK_MS, "check_timeout_ms": CHECK_MS, "fall": 1,
    });
    api.send_json(Method::PUT, &format!("/v1/devices/{disk}"), &body)?.accepted()?;
    wait::until("the disk's paths to be healthy", WITHIN, || {
        let mut health = Vec::new();
        for server in ["s1", "s2", "s3"] {
            let shown: Value = api.get(&format!("/v1/servers/{server}"))?;
            health.push(shown["paths"][disk].clone());
        }
        let well = health.iter().all(|health| health == "healthy");
        Ok(if well { Look::Done(()) } else { Look::NotYet(format!("{health:?}")) })
    })
}

/// Waits until the daemon waits for a stopped server's answer to a check of a disk.
fn half_asked(lab: &Lab) -> Result<()> {
    let mut pace = Pace::every(Duration::from_millis(2));
    let ends = wait::now() + Duration::from_secs(5);
    while wait::now() < ends {
        for disk in DISKS {
            let port = lab.device(disk)?.server_port;
            let open = lab.network.host(PAUSED)?.connections_at(port)?;
            if open.iter().any(|connection| is_gateway(connection.remote.ip())) {
                return Ok(());
            }
        }
        pace.beat();
    }
    bail!("no check of a disk was under way on {PAUSED}")
}

/// Waits until every flow has so many answers more.
fn more_answers(flows: &Flows, more: u64) -> Result<()> {
    let answers = || flows.look().iter().map(|flow| flow.answers).min().unwrap_or_default();
    let goal = answers() + more;
    wait::until(&format!("{more} answers more"), WITHIN, || {
        let seen = answers();
        Ok(if seen >= goal { Look::Done(()) } else { Look::NotYet(format!("{seen} of {goal}")) })
    })
}
