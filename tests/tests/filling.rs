//! A server that returns takes load gradually: real figures of real node_exporters, real flows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::device::Kind;
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::loads::{self, Loads, Processor};
use redirector_tests::wait::{self, Look};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(60);

/// The planner relieves within a second or two, so that nothing but filling holds it back.
const SECTIONS: &str = "[load]\ninterval_ms = 200\nstale_ms = 3000\n\n\
                        [plan]\nmode = \"automatic\"\ninterval_ms = 1000\nchurn_pct = 100\n\
                        fill_ms = 20000\n";

/// Each of the two devices needs more than this part of what a server is filled to.
const PART: f64 = 0.6;

/// Two servers, and two devices on s1 that have the same traffic.
fn plan() -> Plan {
    let mut plan = Plan::standard(1 << 20);
    plan.servers_len = 2;
    plan.devices.retain(|device| device.kind == Kind::Echo);
    plan.devices.iter_mut().for_each(|device| device.server = "s1".to_owned());
    plan
}

/// Waits until a server is in this state or of this health, whichever `field` says.
fn wait_for(lab: &Lab, server: &str, field: &str, word: &str) -> Result<()> {
    let (api, path) = (lab.api()?, format!("/v1/servers/{server}"));
    wait::until(&format!("{server} to be {word}"), WITHIN, || {
        let body: Value = api.get(&path)?;
        Ok(if body[field] == word { Look::Done(()) } else { Look::NotYet(body.to_string()) })
    })
}

fn states(lab: &Lab) -> Result<Vec<String>> {
    let list: Value = lab.api()?.get("/v1/servers")?;
    let servers = list["items"].as_array().context("a list")?.iter();
    Ok(servers.map(|server| server["state"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Devices that are on s2.
fn on_s2(lab: &Lab) -> Result<usize> {
    let devices = lab.api()?.devices()?;
    Ok(devices.iter().filter(|device| device.association.server == "s2").count())
}

/// Watches until s2 has filled; whether the planner, while s2 had less than [`PART`], saw that s1
/// has too much and moved nothing for it.
fn watch_filling(lab: &Lab) -> Result<bool> {
    let api = lab.api()?;
    let mut was_held = false;
    wait::until("s2 to be active", WITHIN, || {
        // In this order: its part has not been smaller when the devices were looked at.
        let moved_len = on_s2(lab)?;
        let plan: Value = api.get("/v1/plan")?;
        let server: Value = api.get("/v1/servers/s2")?;
        if server["state"] == "active" {
            return Ok(Look::Done(()));
        }
        let part = server["filling"]["part_max"].as_f64();
        let part = part.with_context(|| format!("s2 is to be filling: {server}"))?;
        if part < PART {
            ensure!(moved_len == 0, "a device is on s2, whose part is {part}: {plan}");
            let is_hot = plan["hottest_before"].as_f64().is_some_and(|share| share > 0.8);
            let refusals = plan["refusals"].as_array().context("a list")?;
            was_held |= is_hot && refusals.iter().all(|one| one["server"] != "s2");
        }
        Ok(Look::NotYet(format!("{server}, {plan}")))
    })?;
    Ok(was_held)
}

#[test]
fn a_server_that_returns_takes_no_more_than_its_part_until_it_has_filled() -> Result<()> {
    let mut lab = Lab::build(plan())?;
    loads::configure(&lab, SECTIONS)?;
    let loads = Loads::start(&lab)?;
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    assert_eq!(states(&lab)?, ["active", "active"], "a first start lets nobody fill");
    let flows = Flows::from(lab.client("c1")?)?;
    for device in ["echo-a", "echo-b"] {
        let flow = flows.open(lab.device(device)?.service())?;
        assert_eq!(flow.server_name(), "s1");
    }

    lab.server("s2")?.kill()?;
    wait_for(&lab, "s2", "health", "dead")?;
    lab.restart_server("s2")?;
    wait_for(&lab, "s2", "state", "filling")?;
    loads.set("s1", Processor::Declared(0.95));
    let shown = lab.redirector.cli(&["server", "show", "s2"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("filling") && shown.contains("of what others are filled to"), "{shown}");
    ensure!(watch_filling(&lab)?, "the planner has not wished to relieve s1 while s2 filled");
    wait::until("the planner to give s2 its device", WITHIN, || {
        let len = on_s2(&lab)?;
        Ok(if len == 1 { Look::Done(()) } else { Look::NotYet(format!("{len} on s2")) })
    })?;
    let events = lab.api()?.events(0)?.into_iter();
    let told = events.filter(|event| event.kind == "server_filling");
    let told: Vec<(Option<String>, String)> = told.map(|one| (one.server, one.text)).collect();
    let s2 = Some("s2".to_owned());
    let expected = [
        (s2.clone(), "server s2 is filling: it takes load gradually for 20 s".to_owned()),
        (s2, "server s2 has filled: it takes as much as any other".to_owned()),
    ];
    assert_eq!(told, expected);

    lab.redirector.stop()?;
    lab.start_redirector()?;
    assert_eq!(states(&lab)?, ["active", "active"], "a restart lets nobody fill");
    for flow in flows.close() {
        assert_eq!(flow.violations(), Vec::<String>::new());
    }
    Ok(())
}
