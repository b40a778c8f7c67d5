//! Explanations are the program's own, and asking leaves nothing behind.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::api::Api;
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};

const DEAD_WITHIN: Duration = Duration::from_secs(10);
const FIRST_WITHIN: Duration = Duration::from_secs(90);

fn explain(api: &Api, body: &Value) -> Result<Value> {
    api.send_json(Method::POST, "/v1/explain", body)?.accepted()
}

/// Packets of each reason.
fn reasons(api: &Api) -> Result<BTreeMap<String, u64>> {
    let status = api.status()?;
    let reasons = status["reasons"].as_array().context("reasons")?;
    let one = |reason: &Value| Some((reason["name"].as_str()?.into(), reason["packets"].as_u64()?));
    Ok(reasons.iter().filter_map(one).collect())
}

#[test]
fn a_new_flow_is_explained_and_nothing_stays_of_the_question() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let api = lab.api()?;
    let packet = json!({"client": "10.0.1.11", "client_port": 50_000, "device": "echo-a"});
    // The kernel verifies the second copy of the program now, on a machine that others use too.
    let first = wait::until_ok("the first explanation", FIRST_WITHIN, || explain(&api, &packet))?;
    for (field, expected) in [
        ("reason", json!("opened")),
        ("rule", json!("new_flow")),
        ("device", json!("echo-a")),
        ("server", json!("s1")),
        ("flow", Value::Null),
    ] {
        assert_eq!(first[field], expected, "{field} of {first}");
    }
    assert_eq!(first["association"]["server"], "s1", "{first}");
    assert_eq!(first["flow_after"]["stage"], "candidate", "{first}");
    assert_eq!(first["leaves"]["destination"], "10.0.2.11:7001", "{first}");
    assert_eq!(first["leaves"]["source"], "10.0.1.11:50000", "{first}");
    // Had the question left a candidate behind, the same SYN would now be a repeated one.
    assert_eq!(explain(&api, &packet)?["reason"], "opened");
    let flows: Value = api.get("/v1/flows?client=10.0.1.11")?;
    assert_eq!(flows["items"], json!([]), "a question made a flow");
    assert_eq!(reasons(&api)?.get("opened"), Some(&0), "a question was counted");

    let elsewhere = json!({"client": "10.0.1.11", "service": "10.0.1.200:80"});
    let explained = explain(&api, &elsewhere)?;
    assert_eq!((&explained["reason"], &explained["action"]), (&json!("not_ours"), &json!("pass")));
    api.move_device("echo-a", "s3")?;
    assert_eq!(explain(&api, &packet)?["server"], "s3", "the words are the live ones");
    let output = lab.redirector.cli(&[
        "explain",
        "packet",
        "--client",
        "10.0.1.11",
        "--device",
        "echo-a",
    ])?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains("reason       opened\n"), "{said}");
    Ok(())
}

#[test]
fn an_open_flow_is_explained_by_its_own_entry_in_life_and_after_a_death() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let api = lab.api()?;
    let flows = Flows::from(lab.client("c1")?)?;
    let address = lab.device("echo-a")?.service();
    let open = flows.open(address)?;
    let packet = json!({
        "client": open.local.ip(), "client_port": open.local.port(), "service": address,
        "flags": ["ack"]
    });
    wait::until_ok("the first explanation", FIRST_WITHIN, || explain(&api, &packet))?;
    wait::until("the flow's proof", DEAD_WITHIN, || {
        let explained = explain(&api, &packet)?;
        let proven = explained["flow"]["stage"] == "proven";
        Ok(if proven { Look::Done(()) } else { Look::NotYet(explained.to_string()) })
    })?;
    let explained = explain(&api, &packet)?;
    assert_eq!(explained["reason"], "established", "{explained}");
    assert_eq!(explained["server"], json!(open.server_name()), "{explained}");
    // New flows go elsewhere by now, this one stays.
    api.move_device("echo-a", "s3")?;
    let explained = explain(&api, &packet)?;
    assert_eq!(
        (&explained["reason"], &explained["server"]),
        (&json!("established"), &json!(open.server_name())),
        "{explained}"
    );
    let before = flows.look()[0].answers;
    // A RST in the question must not mark the live entry as closing.
    let mut reset = packet.clone();
    reset["flags"] = json!(["rst"]);
    explain(&api, &reset)?;
    let query = format!("/v1/flows?client={}&device=echo-a", open.local.ip());
    let listed: Value = api.get(&query)?;
    assert_eq!(listed["items"][0]["state"], "open", "{listed}");
    ensure!(flows.look()[0].end.is_none(), "the flow ended; {before} answers before");
    lab.server(open.server_name())?.kill()?;
    wait::until("the death in the explanation", DEAD_WITHIN, || {
        let explained = explain(&api, &packet)?;
        let all = explained["reason"] == "reset_dead" && explained["flow"]["state"] == "refused";
        Ok(if all { Look::Done(()) } else { Look::NotYet(explained.to_string()) })
    })
}

#[test]
fn a_supposed_death_is_followed_by_a_real_one() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let api = lab.api()?;
    let supposed: Value = api.get("/v1/explain/death?server=s1")?;
    let moves = supposed["moves"].as_array().context("moves")?;
    let mut expected = BTreeMap::new();
    for one in moves {
        let [device, to] = [&one["device"], &one["to"]].map(|text| text.as_str().unwrap_or("?"));
        expected.insert(device.to_owned(), to.to_owned());
    }
    assert_eq!(expected.keys().collect::<Vec<_>>(), ["disk-a", "echo-a"], "{supposed}");
    assert_eq!(api.device("disk-a")?.association.server, "s1", "a supposition moved it");
    lab.server("s1")?.kill()?;
    wait::until("the devices of s1 where they were said to go", DEAD_WITHIN, || {
        let mut now = BTreeMap::new();
        for device in expected.keys() {
            now.insert(device.clone(), api.device(device)?.association.server);
        }
        Ok(if now == expected { Look::Done(()) } else { Look::NotYet(format!("{now:?}")) })
    })
}
