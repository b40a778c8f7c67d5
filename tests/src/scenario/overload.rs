//! Two devices in use behind one server that cannot carry both: its figures say so, the planner
//! moves one, the load evens, no I/O fails, and nothing moves a second time within its rest.
//!
//! The servers' processor time is that of their control groups, as a share of what a server is
//! taken to have: so much that the two devices together just fill one. Open flows stay where they
//! are, so the load follows with the clients' next connections. `overload_memory` is the same of
//! memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Outcome;
use super::io_load::{self, IoLoad};
use super::relief::{
    self, EVEN, EVEN_WITHIN, MOVED_WITHIN, PATIENT, Relieved, SECTIONS, WATCHED_FOR, hottest,
    meters, moves, others,
};
use crate::device::Kind;
use crate::groups::Meter;
use crate::lab::{Lab, Plan};
use crate::loads::{self, Loads, Processor};
use crate::report::Row;
use crate::wait::{self, Look, Pace};

/// How often, for figures.
pub const RUNS: u64 = 30;
/// How full the two devices make one server.
const FILL: f64 = 0.95;
/// Time over which the load is measured, before and after.
const MEASURED_FOR: Duration = Duration::from_secs(4);

/// Two disks, both begun on s1, and two servers.
pub fn plan() -> Plan {
    let mut plan = Plan::standard(io_load::DISK_BYTES);
    plan.servers_len = 2;
    plan.health = PATIENT;
    plan.devices.retain(|device| matches!(device.kind, Kind::Disk { .. }));
    plan.devices.iter_mut().for_each(|device| device.server = "s1".to_owned());
    plan
}

/// Overloads a server `runs` times, each in a lab of its own.
///
/// # Errors
/// When a lab fails. Broken promises are in the outcome.
pub fn run(runs: u64, seed: u64) -> Result<Outcome> {
    let mut bytes = 0;
    let mut outcome = relief::gather("overload", runs, |number| {
        let (found, verified_bytes) = run_once(seed + number)?;
        bytes += verified_bytes;
        Ok(found)
    })?;
    let broken = outcome.rows.first().and_then(|row| row.violations).unwrap_or_default();
    outcome.rows.push(Row::promise("overload_io", "MiB", bytes >> 20, broken));
    Ok(outcome)
}

/// One run, and how many bytes its I/O has verified.
fn run_once(seed: u64) -> Result<(Relieved, u64)> {
    let mut lab = Lab::build(plan())?;
    loads::configure(&lab, SECTIONS)?;
    let loads = Loads::start(&lab)?;
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let api = lab.api()?;
    let mut io = IoLoad::start(&lab, seed)?;
    let meters = meters(&lab);
    let needed = measure(&lab, &mut io, &meters)?;
    let cpus = needed.values().sum::<f64>() / FILL;
    meters.keys().for_each(|server| loads.set(server, Processor::Used { cpus }));
    let began = wait::now();
    let ms = |at: Instant| (at - began).as_secs_f64() * 1000.0;
    let why = wait::until("the planner to move a device", MOVED_WITHIN, || {
        io.keep_going(&lab)?;
        let moves = moves(&api)?;
        Ok(match moves.into_iter().next() {
            Some(text) => Look::Done(text),
            None => Look::NotYet(api.get::<Value>("/v1/plan")?.to_string()),
        })
    })?;
    let moved_ms = ms(wait::now());
    let mut now = BTreeMap::new();
    let after = wait::until("the load to be even", EVEN_WITHIN, || {
        now = measure(&lab, &mut io, &meters)?;
        let (hottest, mean) = hottest(&now);
        let is_even = hottest <= EVEN * mean;
        Ok(if is_even { Look::Done(hottest / cpus) } else { Look::NotYet(format!("{now:?}")) })
    })
    .with_context(|| format!("of {cpus} processors; moved: {:?}", moves(&api)))?;
    let even_ms = ms(wait::now());
    watch(&lab, &mut io)?;
    let mut violations = Vec::new();
    let all = moves(&api)?;
    if all.len() != 1 {
        violations.push(format!("{} moves within the rest of the first: {all:?}", all.len()));
    }
    let io = io.finish(&lab).with_context(|| format!("events: {:?}", others(&api)))?;
    violations.extend(io.violations);
    let before = hottest(&needed).0 / cpus;
    let relieved = Relieved { moved_ms, even_ms, before, after, violations, why };
    Ok((relieved, io.verified_bytes))
}

/// Processors that each server's programs use, over some seconds.
fn measure(
    lab: &Lab,
    io: &mut IoLoad,
    meters: &BTreeMap<String, Meter>,
) -> Result<BTreeMap<String, f64>> {
    let used = || -> Result<BTreeMap<String, f64>> {
        meters.iter().map(|(name, meter)| Ok((name.clone(), meter.processor_s()?))).collect()
    };
    let (before, began) = (used()?, wait::now());
    let mut pace = Pace::every(Duration::from_millis(100));
    while wait::now() - began < MEASURED_FOR {
        io.keep_going(lab)?;
        pace.beat();
    }
    let elapsed_s = (wait::now() - began).as_secs_f64();
    let rate = |(name, after): (String, f64)| {
        let rate = (after - before.get(&name).copied().unwrap_or(after)) / elapsed_s;
        (name, rate)
    };
    Ok(used()?.into_iter().map(rate).collect())
}

fn watch(lab: &Lab, io: &mut IoLoad) -> Result<()> {
    let began = wait::now();
    let mut pace = Pace::every(Duration::from_millis(100));
    while wait::now() - began < WATCHED_FOR {
        io.keep_going(lab)?;
        pace.beat();
    }
    Ok(())
}
