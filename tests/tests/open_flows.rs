//! Open flows one by one: found by what they have, page by page, and closed without hurting others.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::api::Api;
use redirector_tests::flows::{End, Flow, Flows};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::Value;

/// The packet path notes what it remembers once a second, and a waiting client is woken by a sweep.
const CLOSED_WITHIN: Duration = Duration::from_secs(8);
const GOES_ON_WITHIN: Duration = Duration::from_secs(5);

fn id(flow: &Flow) -> String {
    let (client, service) = (flow.local, flow.address);
    let (port, service_port) = (client.port(), service.port());
    format!("tcp-{}-{port}-{}-{service_port}", client.ip(), service.ip())
}

/// Ids of all flows that a query finds, over all pages; a flow may be met twice.
fn listed(api: &Api, query: &str) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page: Value = api.get(&format!("/v1/flows?{query}{cursor}"))?;
        for item in page["items"].as_array().context("a list")? {
            ids.insert(item["id"].as_str().context("an id")?.to_owned());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(ids),
        }
    }
}

#[test]
fn flows_are_found_by_device_server_and_client_and_page_by_page() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let api = lab.api()?;
    let (c1, c2) = (Flows::from(lab.client("c1")?)?, Flows::from(lab.client("c2")?)?);
    let (a, b) = (lab.device("echo-a")?.service(), lab.device("echo-b")?.service());
    let mut a1 = BTreeSet::new();
    for _ in 0..20 {
        a1.insert(id(&c1.open(a)?));
    }
    let a2 = BTreeSet::from([id(&c2.open(a)?)]);
    let b1 = BTreeSet::from([id(&c1.open(b)?)]);
    let of_a: BTreeSet<_> = a1.union(&a2).cloned().collect();
    assert_eq!(listed(&api, "device=echo-a")?, of_a);
    assert_eq!(listed(&api, "device=echo-a&limit=1")?, of_a, "page by page");
    assert_eq!(listed(&api, "device=echo-b&server=s2")?, b1);
    assert_eq!(listed(&api, "device=echo-b&server=s1")?, BTreeSet::new());
    let c2_address = c2.look()[0].local.ip();
    assert_eq!(listed(&api, &format!("device=echo-a&client={c2_address}"))?, a2);
    let all = listed(&api, "limit=3")?;
    ensure!(all.is_superset(&of_a) && all.is_superset(&b1), "{all:?}");

    let flow: Value = api.get("/v1/flows?device=echo-b")?;
    let flow = &flow["items"][0];
    assert_eq!((&flow["device"], &flow["server"]), (&"echo-b".into(), &"s2".into()), "{flow}");
    assert_eq!(flow["state"], "open", "{flow}");
    let refused = api.send(Method::GET, "/v1/flows?device=disk-z", &[], Vec::new())?;
    assert_eq!(refused.status, 404, "{}", refused.body);
    Ok(())
}

#[test]
fn a_flow_that_is_closed_is_reset_and_the_others_go_on() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let api = lab.api()?;
    let flows = Flows::from(lab.client("c1")?)?;
    let address = lab.device("echo-a")?.service();
    let doomed = id(&flows.open(address)?);
    flows.open(address)?;
    let output = lab.redirector.cli(&["flow", "close", &doomed])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait::until("the closed flow's end", CLOSED_WITHIN, || {
        let flow = flows.look().into_iter().next().context("a flow")?;
        Ok(match flow.end {
            Some((End::Broken(_), _)) => Look::Done(()),
            other => Look::NotYet(format!("{other:?} after {} answers", flow.answers)),
        })
    })?;
    let answers = flows.look()[1].answers;
    wait::until("ten more answers of the other flow", GOES_ON_WITHIN, || {
        let flow = flows.look()[1].clone();
        ensure!(flow.end.is_none(), "the other flow ended too: {:?}", flow.end);
        let more = flow.answers >= answers + 10;
        Ok(if more { Look::Done(()) } else { Look::NotYet(format!("{}", flow.answers)) })
    })?;
    let again = flows.open(address)?;
    assert_eq!(again.server_name(), flows.look()[1].server_name(), "the client may come back");
    let unknown = format!("/v1/flows/{}", doomed.replace("10.0.1.11", "10.0.1.99"));
    let answer = api.send(Method::DELETE, &unknown, &[], Vec::new())?;
    assert_eq!((answer.status, &answer.body["code"]), (404, &"unknown_flow".into()));
    Ok(())
}
