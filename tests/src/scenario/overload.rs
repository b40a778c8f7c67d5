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
use crate::api::Api;
use crate::device::Kind;
use crate::groups::Meter;
use crate::lab::{Lab, Plan};
use crate::loads::{self, Loads, Processor};
use crate::redirector::Health;
use crate::report::Row;
use crate::wait::{self, Look, Pace};

/// How often, for figures.
pub const RUNS: u64 = 30;
/// How full the two devices make one server.
const FILL: f64 = 0.95;
/// Even: no server carries more than this much over the mean of both.
pub(super) const EVEN: f64 = 1.3;
/// Time over which the load is measured, before and after.
const MEASURED_FOR: Duration = Duration::from_secs(4);
pub(super) const MOVED_WITHIN: Duration = Duration::from_secs(30);
/// Some jobs of fio have to end and begin on the other server until then.
pub(super) const EVEN_WITHIN: Duration = Duration::from_secs(60);
/// How long a second move is waited for after the load is even; many of the planner's periods.
pub(super) const WATCHED_FOR: Duration = Duration::from_secs(8);

/// The planner of the scenario: fast, and held back by nothing but evenness and rest.
pub(super) const SECTIONS: &str = "[load]\ninterval_ms = 250\n\n[plan]\nmode = \"automatic\"\n\
                        interval_ms = 1000\nchurn_pct = 100\n";

/// Checks with time enough: the servers are busy on purpose, and this is not about their death.
pub(super) const PATIENT: Health =
    Health { interval_ms: 1000, timeout_ms: 1000, rise: 2, fall: 3, evidence_interval_ms: 0 };

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
    let mut outcome = Outcome::default();
    let (mut moved_ms, mut even_ms) = (Vec::new(), Vec::new());
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let (mut bytes, mut broken) = (0, 0);
    for number in 0..runs {
        let once = run_once(seed + number).with_context(|| format!("overload, run {number}"))?;
        moved_ms.push(once.moved_ms);
        even_ms.push(once.even_ms);
        before.push(100.0 * once.before);
        after.push(100.0 * once.after);
        bytes += once.bytes;
        broken += u64::from(!once.violations.is_empty());
        let violations = once.violations.into_iter();
        outcome.violations.extend(violations.map(|text| format!("run {number}: {text}")));
        outcome.notes.extend(Some(once.why).filter(|_| number == 0));
    }
    outcome.rows = vec![
        Row::promise("overload", "runs", runs, broken),
        Row::samples("overload_moved", "ms", &moved_ms),
        Row::samples("overload_even", "ms", &even_ms),
        Row::samples("overload_hottest_before", "%", &before),
        Row::samples("overload_hottest_after", "%", &after),
        Row::promise("overload_io", "MiB", bytes >> 20, broken),
    ];
    Ok(outcome)
}

struct Once {
    /// From the moment that the figures say overload to the move, and to even load.
    moved_ms: f64,
    even_ms: f64,
    /// Share of the hottest server.
    before: f64,
    after: f64,
    bytes: u64,
    violations: Vec<String>,
    /// The planner's reason.
    why: String,
}

fn run_once(seed: u64) -> Result<Once> {
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
    Ok(Once { moved_ms, even_ms, before, after, bytes: io.verified_bytes, violations, why })
}

/// What reads each server's group.
pub(super) fn meters(lab: &Lab) -> BTreeMap<String, Meter> {
    let servers = lab.servers.iter();
    servers.map(|(name, server)| (name.clone(), server.group().meter().clone())).collect()
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

/// The most that a server needs, and the mean.
pub(super) fn hottest(needed: &BTreeMap<String, f64>) -> (f64, f64) {
    let sum: f64 = needed.values().sum();
    (needed.values().copied().fold(0.0, f64::max), sum / needed.len().max(1) as f64)
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

/// What else has happened, to be told with a failure.
pub(super) fn others(api: &Api) -> Vec<String> {
    let events = api.events(0).unwrap_or_default().into_iter();
    let is_other = |kind: &str| !matches!(kind, "started" | "load" | "neighbour" | "link");
    events.filter(|event| is_other(&event.kind)).map(|event| event.text).collect()
}

/// What was moved because of load, in the words of its events.
pub(super) fn moves(api: &Api) -> Result<Vec<String>> {
    let events = api.events(0)?.into_iter();
    let for_load = events.filter(|event| event.cause.as_deref() == Some("overload"));
    Ok(for_load.filter(|event| event.kind == "move").map(|event| event.text).collect())
}
