//! Metrics, alert rules and the board: read by Prometheus' own tool, and in step with each other.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::api::Api;
use redirector_tests::fault::Fault;
use redirector_tests::flows::{Flows, Manner};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::loads::{self, Loads, Processor};
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::Value;

const SHOWN_WITHIN: Duration = Duration::from_secs(10);

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// Runs promtool on `input` and returns all that it says.
fn promtool(arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("promtool (package prometheus)")?;
    // It reads everything before it says anything, so that writing first cannot get stuck.
    child.stdin.take().context("its standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(
        output.status.success(),
        "promtool {arguments:?} ended with {}:\n{said}",
        output.status
    );
    Ok(said)
}

fn page(api: &Api) -> Result<String> {
    let answer = api.send(Method::GET, "/metrics", &[], Vec::new())?;
    ensure!(answer.content_type.starts_with("text/plain; version=0.0.4"), "{answer:?}");
    let text = answer.accepted()?;
    Ok(text.as_str().context("the metrics are a text")?.to_owned())
}

/// Value of a series, written as on the page.
fn value(page: &str, series: &str) -> Result<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {series} in:\n{page}"))?.parse()?)
}

/// Names of metrics that occur in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("redirector_")).map(str::to_owned).collect()
}

/// Names of all series of a page.
fn series(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

/// A lab whose servers tell their load to the daemon, which plans each second.
fn with_loads() -> Result<(Lab, Loads)> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let sections = "[load]\ninterval_ms = 200\nstale_ms = 3000\n\n[plan]\ninterval_ms = 1000\n";
    loads::configure(&lab, sections)?;
    let loads = Loads::start(&lab)?;
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    Ok((lab, loads))
}

/// Waits until these series have these values, but for a tenth.
fn until_shown(api: &Api, what: &str, expected: &[(&str, f64)]) -> Result<String> {
    wait::until(what, SHOWN_WITHIN, || {
        let page = page(api)?;
        let seen: Vec<_> =
            expected.iter().map(|(series, _)| value(&page, series).unwrap_or(-1.0)).collect();
        let mut pairs = seen.iter().zip(expected);
        let all = pairs.all(|(seen, (_, wanted))| (seen - wanted).abs() < 0.1);
        Ok(if all { Look::Done(page) } else { Look::NotYet(format!("{seen:?}")) })
    })
}

#[test]
fn promtool_is_content_with_the_metrics_and_rules_and_board_name_no_others() -> Result<()> {
    let (lab, loads) = with_loads()?;
    let api = lab.api()?;
    // Some metrics are there only once something was seen.
    let flows = Flows::from(lab.client("c1")?)?;
    flows.open(lab.device("echo-a")?.service())?;
    wait::until("response times in the metrics", SHOWN_WITHIN, || {
        let page = page(&api)?;
        let has_times = page.contains("redirector_device_response_seconds_bucket");
        Ok(if has_times { Look::Done(()) } else { Look::NotYet("none".to_owned()) })
    })?;
    loads.set("s1", Processor::Declared(0.95));
    loads.set("s2", Processor::Silent);
    let page = until_shown(
        &api,
        "loads and a plan in the metrics",
        &[
            ("redirector_server_load_ratio{server=\"s1\",signal=\"cpu\"}", 0.95),
            ("redirector_server_load_ratio{server=\"s1\",signal=\"memory\"}", 0.0),
            ("redirector_server_load_score_ratio{server=\"s1\"}", 0.95),
            ("redirector_server_load_refused{server=\"s1\",why=\"full\"}", 1.0),
            ("redirector_server_load_refused{server=\"s2\",why=\"stale\"}", 1.0),
            ("redirector_server_load_refused{server=\"s3\",why=\"stale\"}", 0.0),
            ("redirector_server_load_forecaster{server=\"s1\",forecaster=\"last value\"}", 1.0),
            ("redirector_plan_state{state=\"none\"}", 0.0),
            // Of a plan that was made after both have become so.
            ("redirector_plan_refusing_servers", 2.0),
        ],
    )?;
    // What is expected of it is more than what it was, so long as its forecaster is new.
    ensure!(value(&page, "redirector_plan_hottest_ratio{moves=\"before\"}")? >= 0.9, "{page}");
    ensure!(value(&page, "redirector_plan_seconds_count")? >= 1.0, "{page}");
    let said = promtool(&["check", "metrics"], &page)?;
    ensure!(said.is_empty(), "promtool says of the metrics:\n{said}");

    let known = series(&page);
    let rules = std::fs::read_to_string(deploy("prometheus/redirector.rules.yml"))?;
    let exprs = rules.lines().filter(|line| line.trim_start().starts_with("expr:"));
    let in_rules = names(&exprs.collect::<Vec<_>>().join("\n"));
    let board: Value =
        serde_json::from_str(&std::fs::read_to_string(deploy("grafana/redirector.json"))?)?;
    let mut exprs = Vec::new();
    for panel in board["panels"].as_array().context("the board has panels")? {
        for target in panel["targets"].as_array().context("a panel has targets")? {
            exprs.push(target["expr"].as_str().context("a target has an expression")?);
        }
    }
    let on_board = names(&exprs.join("\n"));
    for (what, used) in [("rules", in_rules), ("board", on_board)] {
        ensure!(used.len() > 10, "the {what} name {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        ensure!(unknown.is_empty(), "the {what} name {unknown:?}, which are not on the page");
    }
    Ok(())
}

#[test]
fn promtool_accepts_the_alert_rules_and_they_fire_when_they_should() -> Result<()> {
    let rules = deploy("prometheus/redirector.rules.yml");
    promtool(&["check", "rules", &rules.to_string_lossy()], "")?;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/alerts.yml");
    promtool(&["test", "rules", &tests.to_string_lossy()], "")?;
    Ok(())
}

#[test]
fn traffic_a_move_and_a_death_show_in_the_metrics() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let api = lab.api()?;
    let flows = Flows::from(lab.client("c1")?)?;
    let opened = flows.open(lab.device("echo-a")?.service())?;
    let waits = flows.open_as(lab.device("echo-a")?.service(), Manner::Waits)?;
    let server = opened.server_name();
    ensure!(waits.server_name() == server, "both flows are of one device");
    wait::until("traffic and flow of echo-a in the metrics", SHOWN_WITHIN, || {
        let page = page(&api)?;
        let packets = "redirector_device_packets_total{device=\"echo-a\",direction=\"to_server\"}";
        let on = format!("redirector_device_flows{{device=\"echo-a\",server=\"{server}\"}}");
        let timed = "redirector_device_response_seconds_count{device=\"echo-a\"}";
        let requests = value(&page, "redirector_device_requests_total{device=\"echo-a\"}")?;
        let seen = (value(&page, packets)?, value(&page, &on)?, value(&page, timed).ok(), requests);
        let all = seen.0 > 0.0 && seen.1 >= 1.0 && seen.2 >= Some(1.0) && seen.3 >= 1.0;
        Ok(if all { Look::Done(()) } else { Look::NotYet(format!("{seen:?}")) })
    })?;
    let other = if server == "s3" { "s2" } else { "s3" };
    api.move_device("echo-b", other)?;
    // It is asked without pause while it dies, so that its packets speak against it.
    Fault::Freeze.inject(&mut lab, server)?;
    wait::until("the death in the metrics", SHOWN_WITHIN, || {
        let page = page(&api)?;
        let dead = format!("redirector_server_health{{server=\"{server}\",health=\"dead\"}}");
        let seen = [
            value(&page, &dead)?,
            value(&page, "redirector_moves_total{cause=\"failure\"}")?,
            value(&page, "redirector_moves_total{cause=\"planned\"}")?,
            value(&page, "redirector_suspicions_total{kind=\"silent\"}")?,
            value(&page, "redirector_confirming_checks_total{result=\"silent\"}")?,
            value(&page, "redirector_client_wakes_total")?,
        ];
        let all = seen.iter().all(|value| *value >= 1.0);
        Ok(if all { Look::Done(()) } else { Look::NotYet(format!("{seen:?}")) })
    })
}
