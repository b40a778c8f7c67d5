//! Load moves devices: real figures of real node_exporters, real traffic, the real daemon.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::lab::Lab;
use redirector_tests::loads::{self, Loads, Processor};
use redirector_tests::scenario::io_load::IoLoad;
use redirector_tests::scenario::overload;
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(30);

/// A lab in which both disks are on s1, and its planner is in this mode; under I/O.
fn lab(mode: &str) -> Result<(Lab, Loads, IoLoad)> {
    let mut lab = Lab::build(overload::plan())?;
    let sections = format!(
        "[load]\ninterval_ms = 200\nstale_ms = 3000\n\n[plan]\nmode = \"{mode}\"\n\
         interval_ms = 1000\nchurn_pct = 100\n"
    );
    loads::configure(&lab, &sections)?;
    let loads = Loads::start(&lab)?;
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let io = IoLoad::start(&lab, 1)?;
    Ok((lab, loads, io))
}

/// Waits until `GET path` satisfies `is_it`.
fn until(lab: &Lab, io: &mut IoLoad, path: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
    let api = lab.api()?;
    wait::until(&format!("{path} to be as expected"), WITHIN, || {
        io.keep_going(lab)?;
        let body: Value = api.get(path)?;
        Ok(if is_it(&body) { Look::Done(body) } else { Look::NotYet(body.to_string()) })
    })
}

fn servers(lab: &Lab) -> Result<Vec<String>> {
    let devices = lab.api()?.devices()?;
    Ok(devices.into_iter().map(|device| device.association.server).collect())
}

#[test]
fn a_plan_is_shown_with_its_reason_and_carried_out_at_a_word() -> Result<()> {
    let (lab, loads, mut io) = lab("recommend")?;
    loads.set("s1", Processor::Declared(0.95));
    let plan = until(&lab, &mut io, "/v1/plan", |plan| plan["state"] == "proposed")?;
    let one = &plan["moves"][0];
    ensure!((&one["from"], &one["to"]) == (&json!("s1"), &json!("s2")), "{plan}");
    let why = one["why"].as_str().unwrap_or_default();
    ensure!(why.contains("of its cpu"), "{plan}");
    ensure!(servers(&lab)? == ["s1", "s1"], "a recommendation moved something");
    let shown = lab.redirector.cli(&["plan"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("overload") && shown.contains(why), "{shown}");
    let server: Value = lab.api()?.get("/v1/servers/s1")?;
    ensure!(server["load"]["signal"] == "cpu", "{server}");
    ensure!(server["load"]["forecast"]["p90"].as_f64().is_some(), "{server}");
    until(&lab, &mut io, "/v1/devices/disk-a", |device| {
        let traffic = &device["traffic"];
        traffic["bytes_per_second"].as_f64().is_some_and(|bytes| bytes > 1e6)
            && traffic["forecast"]["p90"].as_f64().is_some_and(|bytes| bytes > 1e6)
    })?;

    // The plan may be replaced between the look and the word: then it is said again.
    let api = lab.api()?;
    wait::until("the plan to be carried out", WITHIN, || {
        let said = api.send_json(Method::POST, "/v1/plan/apply", &json!({}))?;
        Ok(if said.status == 200 { Look::Done(()) } else { Look::NotYet(said.body.to_string()) })
    })?;
    let after = servers(&lab)?;
    ensure!(after.iter().any(|server| server == "s2"), "{after:?}");
    let again = api.send_json(Method::POST, "/v1/plan/apply", &json!({}))?;
    ensure!(again.status == 409, "{again:?}");
    let stale = api.send(
        Method::POST,
        "/v1/plan/apply",
        &[("content-type", "application/json"), ("if-match", "\"1\"")],
        b"{}".to_vec(),
    )?;
    ensure!(stale.status == 412, "{stale:?}");
    let history: Value = api.get("/v1/history?server=s1")?;
    ensure!(history["points"].as_array().is_some_and(|points| !points.is_empty()), "{history}");
    ensure!(io.finish(&lab)?.violations.is_empty());
    Ok(())
}

#[test]
fn a_server_whose_figures_are_missing_or_stand_still_gets_nothing() -> Result<()> {
    let (lab, mut loads, mut io) = lab("automatic")?;
    let is_unknown = |why: &str| {
        let why = why.to_owned();
        move |server: &Value| {
            server["load"]["refusal"].as_str().is_some_and(|text| text.contains(&why))
        }
    };
    until(&lab, &mut io, "/v1/servers/s2", |server| server["load"]["refusal"].is_null())?;
    loads.set("s2", Processor::Silent);
    until(&lab, &mut io, "/v1/servers/s2", is_unknown("its cpu was read"))?;
    loads.set("s1", Processor::Declared(0.95));
    let blocked = |plan: &Value| {
        let refusals = plan["refusals"].as_array().cloned().unwrap_or_default();
        refusals.iter().any(|one| one["server"] == "s2")
            && plan["hottest_before"].as_f64().is_some_and(|share| share > 0.8)
    };
    until(&lab, &mut io, "/v1/plan", blocked)?;
    ensure!(servers(&lab)? == ["s1", "s1"], "a device went to a server that says nothing");

    loads.set("s2", Processor::Declared(0.05));
    until(&lab, &mut io, "/v1/servers/s2", |server| server["load"]["refusal"].is_null())?;
    loads.kill("s2")?;
    let gone = until(&lab, &mut io, "/v1/servers/s2", |server| {
        server["load"]["faults"]["metrics"].is_string()
    })?;
    let fault = gone["load"]["faults"]["metrics"].as_str().context("a text")?;
    ensure!(fault.contains("refused"), "{fault}");
    ensure!(io.finish(&lab)?.violations.is_empty());
    Ok(())
}

#[test]
fn a_planner_that_may_moves_one_device_evens_the_load_and_leaves_it_there() -> Result<()> {
    overload::run(1, 1)?.expect_no_violation()
}
