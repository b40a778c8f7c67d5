//! kill -9 of the daemon under I/O: the kernel goes on with the last tables, and the daemon that
//! comes back finds everything as it was.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::io_load::IoLoad;
use super::tables::Tables;
use super::{Outcome, ledger};
use crate::api::Api;
use crate::device::Kind;
use crate::flows::Flows;
use crate::lab::Lab;
use crate::report::Row;
use crate::wait::{self, Pace};

/// Flows opened on each echo device before the kill.
const FLOWS_BEFORE: u32 = 5;
/// Time between two new flows while no daemon runs.
const OPEN_INTERVAL: Duration = Duration::from_millis(250);

/// Kills the daemon `runs` times, leaves it dead for `away`, and starts it again.
///
/// # Errors
/// When the lab itself fails. Broken promises are in the outcome.
pub fn run(lab: &mut Lab, runs: u64, away: Duration, seed: u64) -> Result<Outcome> {
    let mut violations = Vec::new();
    let mut io = IoLoad::start(lab, seed)?;
    let flows = Flows::from(lab.client("c1")?)?;
    open_on_each_device(lab, &flows, FLOWS_BEFORE)?;
    let mut restart_ms = Vec::new();
    for _ in 0..runs {
        restart_ms.push(kill_and_restart(lab, away, (&flows, &mut io), &mut violations)?);
    }
    let io = io.finish(lab)?;
    violations.extend(io.violations);
    let flows = flows.close();
    violations.extend(ledger::violations(lab, &flows)?);
    Ok(Outcome {
        rows: vec![
            Row::promise("daemon_kill", "kills", runs, violations.len() as u64),
            Row::samples("daemon_restart", "ms", &restart_ms),
        ],
        violations,
        notes: vec![format!(
            "{} flows open or opened while no daemon ran, {} MiB of I/O verified",
            flows.len(),
            io.verified_bytes >> 20
        )],
    })
}

/// One death and return; the time from starting the daemon to its API's first answer, in ms.
fn kill_and_restart(
    lab: &mut Lab,
    away: Duration,
    (flows, io): (&Flows, &mut IoLoad),
    violations: &mut Vec<String>,
) -> Result<f64> {
    let pins = lab.pins();
    let desired = desired_state(&lab.api()?)?;
    let tables = Tables::read(&pins)?;
    lab.redirector.kill()?;

    // Without a daemon, new flows must still find the server that each device was left on.
    let ends = wait::now() + away;
    let mut pace = Pace::every(OPEN_INTERVAL.min(away));
    while wait::now() < ends {
        open_on_each_device(lab, flows, 1).context("while no daemon runs")?;
        io.keep_going(lab)?;
        pace.beat();
    }

    let began = wait::now();
    lab.start_redirector()?;
    let restart_ms = began.elapsed().as_secs_f64() * 1000.0;
    violations.extend(Tables::read(&pins)?.differences_from(&tables));
    lab.redirector.wait_until_all_healthy()?;
    violations.extend(Tables::read(&pins)?.differences_from(&tables));
    let desired_now = desired_state(&lab.api()?)?;
    if desired_now != desired {
        violations.push(format!("the desired state was {desired} and is {desired_now}"));
    }
    Ok(restart_ms)
}

fn open_on_each_device(lab: &Lab, flows: &Flows, count: u32) -> Result<()> {
    for device in lab.plan().devices.iter().filter(|device| device.kind == Kind::Echo) {
        for _ in 0..count {
            flows.open(device.service())?;
        }
    }
    Ok(())
}

/// What the daemon wants, without what it measures: generation, and each device's server, backup
/// and epoch.
fn desired_state(api: &Api) -> Result<Value> {
    let status = api.status()?;
    let devices: Vec<Value> = api
        .devices()?
        .into_iter()
        .map(|device| {
            let association = device.association;
            json!([device.name, association.server, association.backup, association.epoch])
        })
        .collect();
    Ok(json!({ "generation": status["generation"], "devices": devices }))
}
