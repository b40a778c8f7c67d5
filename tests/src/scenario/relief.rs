//! What the scenarios of an overloaded server share: the planner that relieves it, how long that
//! may take, and what is gathered of the runs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Outcome;
use crate::api::Api;
use crate::groups::Meter;
use crate::lab::Lab;
use crate::redirector::Health;
use crate::report::Row;

/// Even: no server carries more than this much over the mean of both.
pub(super) const EVEN: f64 = 1.3;
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

/// What one run has found.
#[derive(Debug)]
pub(super) struct Relieved {
    /// From the moment that the figures say overload to the move, and to even figures.
    pub(super) moved_ms: f64,
    pub(super) even_ms: f64,
    /// Share of the fullest server, before the move and after it.
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) violations: Vec<String>,
    /// The planner's reason.
    pub(super) why: String,
}

/// Runs a scenario `runs` times; its rows begin with `name`.
///
/// # Errors
/// When a run fails.
pub(super) fn gather(
    name: &str,
    runs: u64,
    mut once: impl FnMut(u64) -> Result<Relieved>,
) -> Result<Outcome> {
    let (mut outcome, mut all) = (Outcome::default(), Vec::new());
    for number in 0..runs {
        let found = once(number).with_context(|| format!("{name}, run {number}"))?;
        let violations = found.violations.iter();
        outcome.violations.extend(violations.map(|text| format!("run {number}: {text}")));
        all.push(found);
    }
    outcome.notes.extend(all.first().map(|first| first.why.clone()));
    let broken = all.iter().filter(|one| !one.violations.is_empty()).count() as u64;
    let row = |of: &str, unit: &str, value: fn(&Relieved) -> f64| {
        let values: Vec<f64> = all.iter().map(value).collect();
        Row::samples(&format!("{name}_{of}"), unit, &values)
    };
    outcome.rows = vec![
        Row::promise(name, "runs", runs, broken),
        row("moved", "ms", |one| one.moved_ms),
        row("even", "ms", |one| one.even_ms),
        row("hottest_before", "%", |one| 100.0 * one.before),
        row("hottest_after", "%", |one| 100.0 * one.after),
    ];
    Ok(outcome)
}

/// What reads each server's group.
pub(super) fn meters(lab: &Lab) -> BTreeMap<String, Meter> {
    let servers = lab.servers.iter();
    servers.map(|(name, server)| (name.clone(), server.group().meter().clone())).collect()
}

/// The most that a server needs, and the mean.
pub(super) fn hottest(needed: &BTreeMap<String, f64>) -> (f64, f64) {
    let sum: f64 = needed.values().sum();
    (needed.values().copied().fold(0.0, f64::max), sum / needed.len().max(1) as f64)
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
