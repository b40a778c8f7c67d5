//! The death of a server: how long until a new connection through the service address is served by
//! the survivor, and until the clients of open flows learn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Outcome;
use super::gate::Gate;
use crate::fault::Fault;
use crate::flows::{End, Flows, first_served, server_name};
use crate::lab::Lab;
use crate::report::Row;
use crate::wait::{self, Look};

/// The device whose failover is timed.
pub const DEVICE: &str = "echo-a";
/// Deaths of a machine that nobody but the redirector can tell of, and the killed programs, whose
/// kernel tells of them itself.
pub const DEATHS: [Fault; 4] = [Fault::Kill, Fault::Freeze, Fault::Cut, Fault::Drop];
/// A failover that takes longer counts as none. HAProxy as it comes needs some 12 s.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// An open flow must break within this: detection and some retransmissions.
const BROKEN_WITHIN: Duration = Duration::from_secs(20);
/// Every flow of a load must be open, and on the server that is to die, within this.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// Flows that each client of a busy server keeps open.
const BUSY_FLOWS: u32 = 4;

/// Why a stopped server's clients are not told: a reset answers a client's next segment, and a
/// client whose last question was acknowledged by the stopped server's kernel sends none.
const NOT_TOLD: &str = "the open flow's client, waiting for an answer, sends nothing a reset could \
                        answer, and is left to its own patience";

/// What a server does when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// One flow is open and asks every 20 ms.
    OneFlow,
    /// Two clients have several such flows each.
    Busy,
    /// No flow is open, and none comes until it is said that the device has moved.
    Idle,
}

/// Deaths that make one row of the report.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Name of the row.
    pub row: &'a str,
    /// Ways to die, in turn.
    pub faults: &'a [Fault],
    /// What the server does meanwhile.
    pub load: Load,
}

/// Lets the device's server die and brings it back, `runs` times in each way. Several ways make a
/// row of all of them together, and one of each.
///
/// # Errors
/// When the lab itself fails. A device that does not fail over is a violation in the outcome.
pub fn run(lab: &mut Lab, gate: &dyn Gate, case: Case<'_>, runs: u64) -> Result<Outcome> {
    let Case { row, faults, load } = case;
    let mut outcome = Outcome::default();
    let mut all: Vec<(Fault, Once)> = Vec::new();
    let turns = (0..runs).flat_map(|number| faults.iter().map(move |fault| (number, *fault)));
    for (number, fault) in turns {
        let what = format!("{row}, run {number}, {fault}");
        let once = run_once(lab, gate, fault, load).context(what.clone())?;
        if once.served_ms.is_none() {
            outcome.violations.push(format!("{what}: not failed over"));
        }
        if once.hanging > 0 && gate.tells_clients() && fault != Fault::Stop {
            outcome.violations.push(format!("{what}: {} open flows hang", once.hanging));
        }
        outcome.notes.extend(once.note.clone().filter(|_| number == 0));
        all.push((fault, once));
    }
    let violations = outcome.violations.len() as u64;
    let [served, broken] = rows(row, all.iter().map(|(_, once)| once));
    outcome.rows.push(served.with_violations(violations));
    outcome.rows.extend(broken.of_something());
    for fault in faults {
        outcome.notes.push(format!("{row}: {fault} is {}", fault.what()));
        if faults.len() > 1 {
            let of = all.iter().filter(|(by, _)| by == fault).map(|(_, once)| once);
            let [served, broken] = rows(&format!("{row}_{fault}"), of);
            outcome.rows.push(served);
            outcome.rows.extend(broken.of_something());
        }
    }
    if load != Load::Idle && all.iter().all(|(_, once)| once.broken_ms.is_empty()) {
        outcome.notes.push(format!("{row}: {NOT_TOLD}"));
    }
    Ok(outcome)
}

/// The row of new connections and that of open flows.
fn rows<'a>(name: &str, all: impl Iterator<Item = &'a Once> + Clone) -> [Row; 2] {
    let served_ms: Vec<f64> = all.clone().filter_map(|once| once.served_ms).collect();
    let broken_ms: Vec<f64> = all.flat_map(|once| once.broken_ms.iter().copied()).collect();
    let open_flow = format!("{name}_open_flow");
    [Row::samples(name, "ms", &served_ms), Row::samples(&open_flow, "ms", &broken_ms)]
}

struct Once {
    /// From the fault to the first answer of a survivor to a new connection.
    served_ms: Option<f64>,
    /// From the fault to the reset or end of each flow that was open on the victim.
    broken_ms: Vec<f64>,
    /// Flows whose clients only ran out of patience.
    hanging: usize,
    /// What the first client saw.
    note: Option<String>,
}

fn run_once(lab: &mut Lab, gate: &dyn Gate, fault: Fault, load: Load) -> Result<Once> {
    let address = lab.device(DEVICE)?.service();
    let victim = gate.server(lab)?;
    let flows = open_on(lab, &victim, load)?;

    let began = fault.inject(lab, &victim)?;
    if load == Load::Idle {
        gate.wait_until_away_from(lab, &victim, SERVED_WITHIN)?;
    }
    let by_survivor = |greeting: &str| server_name(greeting) != victim;
    let served = first_served(lab.client("c2")?, address, by_survivor, SERVED_WITHIN);
    let ends = ends_of(&flows)?;
    if let Ok(served) = &served {
        gate.confirm(lab, server_name(&served.greeting))?;
    }
    fault.repair(lab, &victim)?;
    gate.wait_until_well(lab, &victim)?;

    let ms = |at: Instant| (at - began).as_secs_f64() * 1000.0;
    let note = ends.first().map(|(end, _)| match end {
        Some(end) => format!("{fault}: the open flow's client saw: {end:?}"),
        None => format!("{fault}: the open flow's client saw nothing"),
    });
    let told = |(end, _): &&(Option<End>, Instant)| !matches!(end, None | Some(End::Silent));
    let broken_ms: Vec<f64> = ends.iter().filter(told).map(|(_, at)| ms(*at)).collect();
    let hanging = ends.len() - broken_ms.len();
    Ok(Once { served_ms: served.ok().map(|served| ms(served.at)), broken_ms, hanging, note })
}

/// Opens the flows of a load, all of them on `victim`. Who has just come back may not have the
/// device at once: then all are opened anew.
fn open_on(lab: &Lab, victim: &str, load: Load) -> Result<Vec<Flows>> {
    let (clients, count): (&[&str], u32) = match load {
        Load::OneFlow => (&["c1"], 1),
        Load::Busy => (&["c1", "c2"], BUSY_FLOWS),
        Load::Idle => return Ok(Vec::new()),
    };
    let address = lab.device(DEVICE)?.service();
    wait::until(&format!("flows on {victim}"), OPEN_WITHIN, || {
        let mut all = Vec::new();
        for client in clients {
            let flows = Flows::from(lab.client(client)?)?;
            for _ in 0..count {
                let flow = flows.open(address)?;
                if flow.server_name() != victim {
                    return Ok(Look::NotYet(format!("a flow on {}", flow.server)));
                }
            }
            all.push(flows);
        }
        Ok(Look::Done(all))
    })
}

/// Waits for the ends of all flows. One that never ends is listed without one.
fn ends_of(flows: &[Flows]) -> Result<Vec<(Option<End>, Instant)>> {
    let look = || flows.iter().flat_map(Flows::look).map(|flow| flow.end);
    // Those that are left are judged by their missing end.
    let _ = wait::until("the open flows to end", BROKEN_WITHIN, || {
        let open = look().filter(Option::is_none).count();
        Ok(if open == 0 { Look::Done(()) } else { Look::NotYet(format!("{open} are open")) })
    });
    let never = wait::now();
    Ok(look().map(|end| end.map_or((None, never), |(end, at)| (Some(end), at))).collect())
}
