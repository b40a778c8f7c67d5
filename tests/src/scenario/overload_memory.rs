//! Sessions of two devices fill the memory of one server: its figures say so, the planner moves one
//! device, and with the clients' next connections the memory evens. No session is broken.
//!
//! The memory is real: pages that the server's program keeps for each connection, counted and
//! limited by the server's control group, as they are for servers that keep a process or buffers
//! for each session.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Outcome;
use super::relief::{
    self, EVEN, EVEN_WITHIN, MOVED_WITHIN, PATIENT, Relieved, SECTIONS, WATCHED_FOR, hottest,
    meters, moves, others,
};
use crate::device::Kind;
use crate::flows::{Flow, Flows};
use crate::groups::Meter;
use crate::lab::{Lab, Plan};
use crate::loads::{self, Loads, Processor};
use crate::wait::{self, Look, Pace};

/// Memory that a session costs its server.
const SESSION_BYTES: u64 = 6 << 20;
/// Sessions of each device.
const SESSIONS_LEN: usize = 8;
/// What a server has: all sessions, its program, and one more session while one takes the place of
/// another.
const MEMORY_BYTES: u64 = 112 << 20;
/// Processors that a server is taken to have: so many that they are not what it lacks.
const CPUS: f64 = 4.0;
/// One session ends and another begins so often.
const RENEW_INTERVAL: Duration = Duration::from_millis(200);
/// All sessions have their memory within this.
const FULL_WITHIN: Duration = Duration::from_secs(20);

/// Two echo services, both begun on s1, whose sessions cost memory, and two servers.
fn plan() -> Plan {
    let mut plan = Plan::standard(0);
    plan.servers_len = 2;
    plan.health = PATIENT;
    plan.session_bytes = SESSION_BYTES;
    plan.devices.retain(|device| device.kind == Kind::Echo);
    plan.devices.iter_mut().for_each(|device| device.server = "s1".to_owned());
    plan
}

/// Fills a server's memory `runs` times, each in a lab of its own.
///
/// # Errors
/// When a lab fails, or this machine counts no memory of groups. Broken promises are in the
/// outcome.
pub fn run(runs: u64) -> Result<Outcome> {
    relief::gather("overload_memory", runs, |_| run_once())
}

fn run_once() -> Result<Relieved> {
    let mut lab = Lab::build(plan())?;
    loads::configure(&lab, SECTIONS)?;
    for server in lab.servers.values() {
        server.group().limit_memory(MEMORY_BYTES)?;
    }
    let loads = Loads::start(&lab)?;
    lab.servers.keys().for_each(|server| loads.set(server, Processor::Used { cpus: CPUS }));
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let api = lab.api()?;
    let meters = meters(&lab);
    let mut sessions = Sessions::open(&lab)?;
    let full = SESSION_BYTES * 2 * SESSIONS_LEN as u64;
    let before = wait::until("the sessions to fill s1", FULL_WITHIN, || {
        let (most, _) = hottest(&used(&meters)?);
        let is_full = most >= full as f64;
        Ok(if is_full { Look::Done(most) } else { Look::NotYet(format!("{most} bytes")) })
    })?;
    let began = wait::now();
    let ms = |at: Instant| (at - began).as_secs_f64() * 1000.0;
    let why = wait::until("the planner to move a device", MOVED_WITHIN, || {
        sessions.go_on()?;
        Ok(match moves(&api)?.into_iter().next() {
            Some(text) => Look::Done(text),
            None => Look::NotYet(api.get::<Value>("/v1/plan")?.to_string()),
        })
    })?;
    let moved_ms = ms(wait::now());
    let after = wait::until("the memory to be even", EVEN_WITHIN, || {
        sessions.go_on()?;
        let now = used(&meters)?;
        let (most, mean) = hottest(&now);
        Ok(if most <= EVEN * mean { Look::Done(most) } else { Look::NotYet(format!("{now:?}")) })
    })?;
    let even_ms = ms(wait::now());
    let mut pace = Pace::every(RENEW_INTERVAL);
    while ms(wait::now()) - even_ms < WATCHED_FOR.as_secs_f64() * 1000.0 {
        sessions.go_on()?;
        pace.beat();
    }
    let mut violations = Vec::new();
    let all = moves(&api)?;
    if all.len() != 1 {
        violations.push(format!("{} moves within the rest of the first: {all:?}", all.len()));
    }
    if !why.contains("of its memory") {
        violations.push(format!("not for its memory: {why}"));
    }
    violations.extend(sessions.close().iter().flat_map(Flow::violations));
    if !violations.is_empty() {
        violations.push(format!("events: {:?}", others(&api)));
    }
    let share = |bytes: f64| bytes / MEMORY_BYTES as f64;
    let (before, after) = (share(before), share(after));
    Ok(Relieved { moved_ms, even_ms, before, after, violations, why })
}

/// Memory of each server, in bytes.
fn used(meters: &BTreeMap<String, Meter>) -> Result<BTreeMap<String, f64>> {
    let used =
        |(name, meter): (&String, &Meter)| Ok((name.clone(), meter.memory()?.used_bytes as f64));
    meters.iter().map(used).collect()
}

/// Open sessions of both devices, the oldest of which end one by one while others begin.
struct Sessions {
    flows: Flows,
    open: VecDeque<Flow>,
    renewed_at: Instant,
}

impl Sessions {
    fn open(lab: &Lab) -> Result<Self> {
        let flows = Flows::from(lab.client("c1")?)?;
        let mut open = VecDeque::new();
        for _ in 0..SESSIONS_LEN {
            for device in &lab.plan().devices {
                open.push_back(flows.open(device.service())?);
            }
        }
        Ok(Self { flows, open, renewed_at: wait::now() })
    }

    /// Renews the oldest session, if it is time.
    fn go_on(&mut self) -> Result<()> {
        if wait::now() - self.renewed_at < RENEW_INTERVAL {
            return Ok(());
        }
        self.renewed_at = wait::now();
        let oldest = self.open.pop_front().context("there are sessions")?;
        self.flows.give_up(&oldest);
        self.open.push_back(self.flows.open(oldest.address)?);
        Ok(())
    }

    fn close(self) -> Vec<Flow> {
        self.flows.close()
    }
}
