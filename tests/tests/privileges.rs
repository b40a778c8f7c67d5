//! The daemon keeps the capabilities it needs and no more; with these, as a user of its own, it
//! does all that it is there for, and without any one of them it says what is missing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::own_user::{self, CAPABILITIES, UID};
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(20);
const FIRST_WITHIN: Duration = Duration::from_secs(90);

/// Every thread has exactly the needed capabilities, and can get no more.
fn expect_confined(lab: &Lab) -> Result<()> {
    let pid = lab.redirector.pid()?;
    let (mask, none) = (own_user::mask(), format!("{:016x}", 0));
    for (name, expected) in [
        ("CapEff", mask.as_str()),
        ("CapPrm", mask.as_str()),
        ("CapBnd", mask.as_str()),
        ("CapInh", none.as_str()),
        ("CapAmb", none.as_str()),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let facts = own_user::of_threads(pid, name)?;
        ensure!(facts.len() > 2, "a daemon has several threads: {facts:?}");
        assert!(facts.iter().all(|fact| fact == expected), "{name}: {facts:?}, not {expected}");
    }
    Ok(())
}

fn own_lab(without: Option<&str>) -> Result<Lab> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    own_user::give_directories(&lab)?;
    lab.redirector.set_starter(own_user::starter(without));
    Ok(lab)
}

#[test]
fn a_daemon_that_root_started_keeps_only_what_it_needs_in_every_thread() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    expect_confined(&lab)
}

#[test]
fn a_program_that_it_starts_has_no_capability_although_root_started_it() -> Result<()> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let seen = lab.run().dir().join("exec-status");
    let script = format!("cat /proc/self/status > {0}.new && mv {0}.new {0}", seen.display());
    let check =
        format!("check = {{ kind = \"exec\", command = [\"/bin/sh\", \"-c\", {script:?}] }}");
    let config = std::fs::read_to_string(lab.redirector.config())?;
    std::fs::write(lab.redirector.config(), config.replacen("check = \"greeting\"", &check, 1))?;
    lab.start_redirector()?;
    let text = wait::until("the program's own view", WITHIN, || {
        Ok(match std::fs::read_to_string(&seen) {
            Ok(text) => Look::Done(text),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })?;
    for fact in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
        ensure!(text.contains(fact), "{fact} is not in {text}");
    }
    ensure!(text.contains("Uid:\t0"), "root started it: {text}");
    Ok(())
}

#[test]
fn with_a_user_of_its_own_it_moves_fails_over_explains_announces_attaches_and_restarts()
-> Result<()> {
    let mut lab = own_lab(None)?;
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    expect_confined(&lab)?;
    let user = own_user::of_threads(lab.redirector.pid()?, "Uid")?;
    assert!(user.iter().all(|uid| *uid == UID.to_string()), "{user:?}");

    let api = lab.api()?;
    let packet = json!({"client": "10.0.1.11", "client_port": 50_000, "device": "echo-a"});
    let explain = || api.send_json(Method::POST, "/v1/explain", &packet)?.accepted();
    let first: Value = wait::until_ok("the first explanation", FIRST_WITHIN, explain)?;
    assert_eq!(first["reason"], "opened", "{first}");

    let flows = Flows::from(lab.client("c1")?)?;
    let address = lab.device("echo-a")?.service();
    flows.open(address)?;
    api.move_device("echo-a", "s2")?;
    assert_eq!(flows.open(address)?.server_name(), "s2", "a move");

    restart_with_another_interface(&mut lab)?;
    lab.server("s2")?.kill()?;
    wait::until("the failover", WITHIN, || {
        let now = lab.api()?.device("echo-a")?.association.server;
        Ok(if now == "s2" { Look::NotYet(now) } else { Look::Done(()) })
    })?;
    let survivor = flows.open(address)?;
    assert_ne!(survivor.server_name(), "s2", "a failover");
    let log = lab.redirector.log_tail();
    ensure!(!log.contains("cannot be woken"), "{log}");
    let more = json!({
        "address": "10.0.1.150", "port": 7000, "server_port": 7150, "servers": ["s3"]
    });
    lab.api()?.send_json(Method::PUT, "/v1/devices/one-more", &more)?.accepted()?;
    expect_announced(&lab, "10.0.1.150")?;
    expect_confined(&lab)
}

fn expect_announced(lab: &Lab, address: &str) -> Result<()> {
    let mut command = lab.network.host("gateway")?.command("ip");
    let output = command.args(["-4", "route", "show", "table", "local"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        text.contains(&format!("local {address} dev lo")),
        "{address} is not announced: {text}"
    );
    Ok(())
}

/// A restart takes over what is pinned, and attaches to an interface that is new.
fn restart_with_another_interface(lab: &mut Lab) -> Result<()> {
    let gateway = lab.network.host("gateway")?;
    gateway.ip(&["link add more0 type veth peer name more1", "link set more0 up"])?;
    lab.redirector.stop()?;
    let config = std::fs::read_to_string(lab.redirector.config())?;
    std::fs::write(
        lab.redirector.config(),
        format!("{config}\n[[interface]]\nname = \"more0\"\n"),
    )?;
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let status = lab.api()?.status()?;
    let interfaces = status["interfaces"].as_array().context("interfaces")?;
    let more = interfaces.iter().find(|interface| interface["name"] == "more0");
    assert_eq!(more.context("more0")?["mode"], "native", "{status}");
    Ok(())
}

#[test]
fn without_any_one_of_its_capabilities_it_names_that_one_and_what_it_is_for() -> Result<()> {
    for (name, _) in CAPABILITIES {
        let mut lab = own_lab(Some(name))?;
        let gateway = lab.network.host("gateway")?;
        let full_name = format!("CAP_{}", name.to_uppercase());
        if name == "net_raw" {
            // The rest works without it.
            lab.redirector.start(lab.network.host("gateway")?)?;
            let log = lab.redirector.log_tail();
            ensure!(log.contains("waiting clients cannot be woken: CAP_NET_RAW"), "{log}");
            continue;
        }
        let config = std::fs::read_to_string(lab.redirector.config())?;
        let ended = lab.redirector.run_refused(gateway, "lacking", &config)?;
        ensure!(!ended.status.success(), "without {full_name} it ran: {}", ended.log);
        println!("without {full_name}: {}", ended.log.trim());
        let lacks = format!("this process lacks {full_name} (to ");
        ensure!(ended.log.contains(&lacks), "{lacks:?} is not in {}", ended.log);
        ensure!(!ended.log.contains(" and CAP_"), "only one was missing: {}", ended.log);
    }
    Ok(())
}
