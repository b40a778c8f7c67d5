//! What happens to open flows on a planned move is what the policy says.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::flows::{End, Flow, Flows};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};

const RESET_WITHIN: Duration = Duration::from_secs(5);

/// Opens a flow on s1, moves its device to s2 under `policy`, and opens another.
fn move_under(lab: &Lab, flows: &Flows, policy: Value) -> Result<()> {
    let address = lab.device("echo-a")?.service();
    ensure!(flows.open(address)?.server_name() == "s1");
    let body = json!({ "server": "s2", "policy": policy });
    let api = lab.api()?;
    api.send_json(Method::PUT, "/v1/associations/echo-a", &body)?.accepted()?;
    ensure!(flows.open(address)?.server_name() == "s2", "the new flow did not follow");
    Ok(())
}

fn first_flow(flows: &Flows) -> Result<Flow> {
    flows.look().into_iter().next().context("no flow was opened")
}

/// Waits for the first flow's end and returns how long after now it came.
fn wait_for_reset(flows: &Flows) -> Result<Duration> {
    let began = wait::now();
    let (end, at) = wait::until("the open flow's end", RESET_WITHIN, || {
        let flow = first_flow(flows)?;
        Ok(match flow.end {
            Some(end) => Look::Done(end),
            None => Look::NotYet(format!("{} answers", flow.answers)),
        })
    })?;
    ensure!(matches!(end, End::Broken(_)), "no reset but {end:?}");
    Ok(at.saturating_duration_since(began))
}

#[test]
fn keep_leaves_open_flows_where_they_are() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let flows = Flows::from(lab.client("c1")?)?;
    move_under(&lab, &flows, json!({ "kind": "keep" }))?;
    let answers = first_flow(&flows)?.answers;
    wait::until("ten more answers", RESET_WITHIN, || {
        let flow = first_flow(&flows)?;
        ensure!(flow.violations().is_empty(), "{:?}", flow.violations());
        Ok(match flow.answers >= answers + 10 {
            true => Look::Done(()),
            false => Look::NotYet(format!("{} answers", flow.answers)),
        })
    })
}

#[test]
fn reset_ends_open_flows_with_their_next_packet() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let flows = Flows::from(lab.client("c1")?)?;
    move_under(&lab, &flows, json!({ "kind": "reset" }))?;
    let after = wait_for_reset(&flows)?;
    assert!(after < Duration::from_millis(500), "{after:?}");
    Ok(())
}

#[test]
fn a_drain_keeps_open_flows_until_its_deadline_and_no_longer() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let flows = Flows::from(lab.client("c1")?)?;
    move_under(&lab, &flows, json!({ "kind": "drain", "deadline_ms": 1000 }))?;
    ensure!(first_flow(&flows)?.end.is_none(), "the open flow ended before the deadline");
    let after = wait_for_reset(&flows)?;
    let range = Duration::from_millis(700)..Duration::from_millis(2500);
    assert!(range.contains(&after), "{after:?} after the move");
    Ok(())
}
