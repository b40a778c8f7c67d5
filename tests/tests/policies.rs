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

/// What has been carried at most by what drains, on one line of the API's answer at `path`.
fn carried(lab: &Lab, path: &str, pointer: &str) -> Result<u64> {
    let api = lab.api()?;
    wait::until("bytes of the drain to be counted", RESET_WITHIN, || {
        let body: Value = api.get(path)?;
        Ok(match body.pointer(pointer).and_then(Value::as_u64) {
            Some(bytes) => Look::Done(bytes),
            None => Look::NotYet(body.to_string()),
        })
    })
}

#[test]
fn a_drain_tells_what_its_flows_carry_and_not_what_the_device_carries_elsewhere() -> Result<()> {
    const DEVICE: &str = "/v1/associations/echo-a";
    const BYTES: &str = "/drains/0/carried/bytes_max";
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let flows = Flows::from(lab.client("c1")?)?;
    move_under(&lab, &flows, json!({ "kind": "keep" }))?;
    let address = lab.device("echo-a")?.service();
    for _ in 0..9 {
        ensure!(flows.open(address)?.server_name() == "s2");
    }
    let received = || -> Result<u64> {
        let of = lab.connections("s1", "echo-a")?;
        Ok(of.first().context("the first flow's connection")?.received_bytes)
    };
    let (first, got) = (carried(&lab, DEVICE, BYTES)?, received()?);
    let total = || -> Result<u64> {
        let device = lab.api()?.device("echo-a")?;
        Ok(device.to_server.bytes + device.to_client.bytes)
    };
    let began = total()?;
    let more = wait::until("the drain's flow to have sent 1000 bytes", RESET_WITHIN * 4, || {
        let got = received()? - got;
        // The counters are read once a second, the connection at once.
        let more = carried(&lab, DEVICE, BYTES)? - first;
        Ok(match got > 1000 && more > 1000 {
            true => Look::Done(more),
            false => Look::NotYet(format!("{got} payload, {more} carried")),
        })
    })?;
    let all = total()? - began;
    ensure!(more < all / 2, "{more} bytes on s1 of {all}: ten of eleven flows are elsewhere");
    ensure!(carried(&lab, "/v1/servers/s1", "/draining/carried/bytes_max")? >= first + more);
    let shown = lab.redirector.cli(&["device", "show", "echo-a"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains("s1: 1 clients left, at most "), "{shown}");

    flows.open(lab.device("echo-b")?.service())?;
    let words = ["--wait", "device", "move", "echo-b", "--to", "s3", "--deadline-ms", "8000"];
    let waited = lab.redirector.cli(&words)?;
    let told = String::from_utf8_lossy(&waited.stderr).into_owned();
    ensure!(waited.status.success(), "{waited:?}");
    let line = "device echo-b: 1 flows of 1 clients drain on s2; at most ";
    ensure!(told.contains(line), "{told}");
    Ok(())
}
