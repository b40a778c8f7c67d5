//! Load moves devices: real figures of real node_exporters, real traffic, the real daemon.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::agent::{self, Agent};
use redirector_tests::lab::Lab;
use redirector_tests::loads::{self, Loads, Processor};
use redirector_tests::process::{Keeping, Life};
use redirector_tests::scenario::io_load::IoLoad;
use redirector_tests::scenario::{overload, overload_memory};
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

#[test]
fn a_server_whose_memory_fills_loses_a_device_and_no_session_breaks() -> Result<()> {
    overload_memory::run(1)?.expect_no_violation()
}

/// A lab whose servers' agents say these lines, and whose planner may move.
fn lab_of_agents(lines: [&str; 2]) -> Result<(Lab, Vec<Agent>, IoLoad)> {
    let mut lab = Lab::build(overload::plan())?;
    let sections = "\n[load]\ninterval_ms = 200\nstale_ms = 3000\n\n[plan]\nmode = \"automatic\"\n\
                    interval_ms = 1000\nchurn_pct = 100\n";
    agent::configure(&lab, sections)?;
    let start = |(server, line)| Agent::start(&lab, server, line);
    let agents = ["s1", "s2"].into_iter().zip(lines).map(start).collect::<Result<_>>()?;
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let io = IoLoad::start(&lab, 1)?;
    Ok((lab, agents, io))
}

#[test]
fn an_agents_wish_for_little_weight_moves_a_device_unless_the_other_drains() -> Result<()> {
    let (lab, agents, mut io) = lab_of_agents(["up 8%", "drain 95%"])?;
    let blocked = |plan: &Value| {
        let refusals = plan["refusals"].as_array().cloned().unwrap_or_default();
        let says = |one: &Value| one["why"].as_str() == Some("its agent says drain");
        refusals.iter().any(|one| one["server"] == "s2" && says(one))
            && plan["hottest_before"].as_f64().is_some_and(|share| share > 0.9)
    };
    until(&lab, &mut io, "/v1/plan", blocked)?;
    ensure!(servers(&lab)? == ["s1", "s1"], "a device went to a server that drains");

    agents[1].say("up 95%")?;
    until(&lab, &mut io, "/v1/servers/s2", |server| server["devices"][0].is_string())?;
    let server: Value = lab.api()?.get("/v1/servers/s1")?;
    ensure!(server["load"]["signal"] == "agent", "{server}");
    let for_load = lab.api()?.events(0)?.into_iter().find(|event| event.kind == "move");
    let told = for_load.context("a move is told")?.text;
    ensure!(told.contains("of its agent"), "{told}");

    agents[0].say("half of it, please")?;
    let gone = until(&lab, &mut io, "/v1/servers/s1", |server| {
        server["load"]["faults"]["agent"].is_string()
    })?;
    let fault = gone["load"]["faults"]["agent"].as_str().unwrap_or_default();
    ensure!(fault.contains("no word of HAProxy's agent-check"), "{fault}");
    ensure!(io.finish(&lab)?.violations.is_empty());
    Ok(())
}

/// Share of this machine's memory that is in use, as the kernel says.
fn memory_share() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let of = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("meminfo without {name}"))?;
        Ok(line.trim_end_matches("kB").trim().parse()?)
    };
    Ok(1.0 - of("MemAvailable:")? / of("MemTotal:")?)
}

#[test]
fn a_node_exporter_as_it_comes_tells_processor_memory_and_disk() -> Result<()> {
    let mut lab = Lab::build(overload::plan())?;
    loads::configure(&lab, "[load]\ninterval_ms = 500\n")?;
    let keeping = Keeping { log_dir: lab.run().subdir("exporter")?, life: Life::WithHarness };
    let _exporter = loads::start_exporter(&lab, "s1", &[], &keeping)?;
    lab.start_redirector()?;
    let api = lab.api()?;
    let server = wait::until("the load of s1", WITHIN, || {
        let server: Value = api.get("/v1/servers/s1")?;
        let read = |signal: &str| server["load"]["signals"][signal]["share"].is_number();
        let is_known = ["cpu", "memory", "disk"].iter().all(|signal| read(signal));
        Ok(if is_known { Look::Done(server) } else { Look::NotYet(server.to_string()) })
    })?;
    let signals = &server["load"]["signals"];
    let share = |signal: &str| signals[signal]["share"].as_f64().context("a number");
    let (told, true_share) = (share("memory")?, memory_share()?);
    ensure!((told - true_share).abs() < 0.1, "{true_share} of the memory is in use: {signals}");
    ensure!((0.0..=1.0).contains(&share("cpu")?), "{signals}");
    ensure!(
        server["load"]["faults"].as_object().is_some_and(serde_json::Map::is_empty),
        "{server}"
    );
    // Nobody answers for s2.
    let other: Value = api.get("/v1/servers/s2")?;
    ensure!(other["load"]["refusal"].is_string(), "{other}");
    Ok(())
}
