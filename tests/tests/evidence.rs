//! Packets are evidence: a busy server's death is noticed long before its next check, and whoever
//! is merely not asked is accused of nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::fault::Fault;
use redirector_tests::flows::{Flows, first_served, server_name};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::redirector::Health;
use redirector_tests::wait::{self, Look};
use serde_json::Value;

/// Between two checks: no test here lives so long, so that none of them can be what helps.
const INTERVAL_MS: u64 = 60_000;
/// Three checks with little patience, on a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_secs(3);

fn rarely_checked() -> Plan {
    let health = Health { interval_ms: INTERVAL_MS, ..Health::default() };
    Plan { health, ..Plan::standard(1 << 20) }
}

/// Lets a server die under the load of some flows, and waits for the survivor to serve.
fn noticed(fault: Fault) -> Result<()> {
    let mut lab = Lab::start(rarely_checked())?;
    let address = lab.device("echo-a")?.service();
    let victim = lab.api()?.device("echo-a")?.association.server;
    let flows = Flows::from(lab.client("c1")?)?;
    for _ in 0..4 {
        flows.open(address)?;
    }
    answered(&flows, 10)?;
    let began = fault.inject(&mut lab, &victim)?;
    let by_survivor = |greeting: &str| server_name(greeting) != victim;
    let served = first_served(lab.client("c2")?, address, by_survivor, NOTICED_WITHIN)?;
    println!("{fault}: served by a survivor after {:?}", served.at - began);
    Ok(())
}

/// Waits until every open flow has been answered so often.
fn answered(flows: &Flows, answers: u64) -> Result<()> {
    wait::until("answers on every flow", Duration::from_secs(20), || {
        let seen: Vec<u64> = flows.look().iter().map(|flow| flow.answers).collect();
        let all = seen.iter().all(|seen| *seen >= answers);
        Ok(if all { Look::Done(()) } else { Look::NotYet(format!("{seen:?}")) })
    })
}

#[test]
fn a_busy_server_that_freezes_is_noticed_long_before_its_next_check() -> Result<()> {
    noticed(Fault::Freeze)
}

#[test]
fn a_busy_server_whose_link_is_cut_is_noticed_long_before_its_next_check() -> Result<()> {
    noticed(Fault::Cut)
}

#[test]
fn a_busy_server_whose_programs_are_killed_is_noticed_long_before_its_next_check() -> Result<()> {
    noticed(Fault::Kill)
}

#[test]
fn a_busy_server_that_accepts_but_never_answers_is_noticed_before_its_next_check() -> Result<()> {
    noticed(Fault::Stop)
}

#[test]
fn an_idle_server_whose_neighbour_entry_is_lost_is_asked_at_once() -> Result<()> {
    let mut lab = Lab::start(rarely_checked())?;
    let api = lab.api()?;
    let victim = api.device("echo-a")?.association.server;
    Fault::Freeze.inject(&mut lab, &victim)?;
    let server: Value = api.get(&format!("/v1/servers/{victim}"))?;
    let address = server["address"].as_str().context("the address of a server")?;
    let flush = format!("neighbour flush to {address}");
    lab.network.host("gateway")?.ip(&[flush])?;
    wait::until("the silent server to be left", NOTICED_WITHIN, || {
        let now = api.device("echo-a")?.association.server;
        Ok(if now == victim { Look::NotYet(now) } else { Look::Done(()) })
    })
}

#[test]
fn clients_that_stop_asking_accuse_nobody() -> Result<()> {
    let lab = Lab::start(rarely_checked())?;
    let api = lab.api()?;
    let (quiet, busy) = (Flows::from(lab.client("c1")?)?, Flows::from(lab.client("c2")?)?);
    let open = quiet.open(lab.device("echo-a")?.service())?;
    let other = busy.open(lab.device("echo-b")?.service())?;
    ensure!(open.server_name() != other.server_name(), "both devices are on {}", open.server);
    answered(&quiet, 20)?;
    quiet.close();
    // Some seconds of somebody else's traffic: a hundred looks at the evidence.
    answered(&busy, 150)?;
    let accusing = |kind: &str| matches!(kind, "server_dead" | "failover" | "frozen");
    let accused = api.events(0)?.into_iter().find(|event| accusing(&event.kind));
    assert!(accused.is_none(), "{accused:?}");
    let server = api.servers()?.into_iter().find(|server| server.name == open.server_name());
    assert_eq!(server.context("the quiet server")?.health, "healthy");
    Ok(())
}
