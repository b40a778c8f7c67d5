//! The death of a server: how long until a new connection through the service address is served by
//! the survivor, and until the client of an open flow learns.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Outcome;
use crate::fault::Fault;
use crate::flows::{End, Flows, first_served, server_name};
use crate::lab::Lab;
use crate::report::Row;
use crate::wait::{self, Look};

/// The device whose failover is timed.
const DEVICE: &str = "echo-a";
/// A failover that takes longer counts as none.
const SERVED_WITHIN: Duration = Duration::from_secs(15);
/// An open flow must break within this: detection and some retransmissions.
const BROKEN_WITHIN: Duration = Duration::from_secs(20);
/// From repair to measured health and a known next hop.
const HEALTHY_WITHIN: Duration = Duration::from_secs(30);

/// Why a stopped server's clients are not told: a reset answers a client's next segment, and a
/// client whose last question was acknowledged by the stopped server's kernel sends none.
const NOT_TOLD: &str = "the open flow's client, waiting for an answer, sends nothing a reset could \
                        answer, and is left to its own patience";

/// Lets the device's server die by `fault` and brings it back, `runs` times.
///
/// # Errors
/// When the lab itself fails. A device that does not fail over is a violation in the outcome.
pub fn run(lab: &mut Lab, fault: Fault, runs: u64) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let (mut served_ms, mut broken_ms) = (Vec::new(), Vec::new());
    for number in 0..runs {
        let once = run_once(lab, fault).with_context(|| format!("{fault}, run {number}"))?;
        match once.served_ms {
            Some(ms) => served_ms.push(ms),
            None => outcome.violations.push(format!("{fault}, run {number}: not failed over")),
        }
        match once.broken_ms {
            Some(ms) => broken_ms.push(ms),
            None if fault == Fault::Stop => {}
            None => outcome.violations.push(format!("{fault}, run {number}: the open flow hangs")),
        }
        outcome.notes.extend(once.notes.into_iter().filter(|_| number == 0));
    }
    let violations = outcome.violations.len() as u64;
    let name = format!("failover_{fault}");
    outcome.rows.push(Row::samples(&name, "ms", &served_ms).with_violations(violations));
    if broken_ms.is_empty() {
        outcome.notes.push(format!("{name}: {NOT_TOLD}"));
    } else {
        outcome.rows.push(Row::samples(&format!("{name}_open_flow"), "ms", &broken_ms));
    }
    outcome.notes.push(format!("{name}: {}", fault.what()));
    Ok(outcome)
}

struct Once {
    /// From the fault to the first answer of a survivor to a new connection.
    served_ms: Option<f64>,
    /// From the fault to the reset or end of a flow that was open on the victim; None when its
    /// client only ran out of patience.
    broken_ms: Option<f64>,
    notes: Vec<String>,
}

fn run_once(lab: &mut Lab, fault: Fault) -> Result<Once> {
    let api = lab.api()?;
    let address = lab.device(DEVICE)?.service();
    let victim = api.device(DEVICE)?.association.server;
    let flows = Flows::from(lab.client("c1")?)?;
    let open = flows.open(address)?;
    ensure!(open.server_name() == victim, "the flow before the fault is on {}", open.server);

    let began = fault.inject(lab, &victim)?;
    let ms = |at: std::time::Instant| (at - began).as_secs_f64() * 1000.0;
    let by_survivor = |greeting: &str| server_name(greeting) != victim;
    let served = first_served(lab.client("c2")?, address, by_survivor, SERVED_WITHIN);
    let broken = wait::until("the open flow to break", BROKEN_WITHIN, || {
        let flow = flows.look().into_iter().next().context("the open flow")?;
        Ok(match flow.end {
            Some((end, at)) => Look::Done((end, at)),
            None => Look::NotYet(format!("open after {} answers", flow.answers)),
        })
    });
    let mut notes = Vec::new();
    if let Ok(served) = &served {
        let survivor = server_name(&served.greeting);
        let view = api.device(DEVICE)?.association;
        ensure!(view.server == survivor, "{survivor} serves, the API says {}", view.server);
        ensure!(view.cause == "failure", "the cause is {}", view.cause);
    }
    if let Ok((end, _)) = &broken {
        notes.push(format!("{fault}: the open flow's client saw: {end:?}"));
    }
    fault.repair(lab, &victim)?;
    wait_until_healthy(lab, &victim)?;
    Ok(Once {
        served_ms: served.ok().map(|served| ms(served.at)),
        broken_ms: broken.ok().filter(|(end, _)| *end != End::Silent).map(|(_, at)| ms(at)),
        notes,
    })
}

/// Waits until a server that was repaired may take devices again.
fn wait_until_healthy(lab: &Lab, server: &str) -> Result<()> {
    let api = lab.api()?;
    wait::until(&format!("{server} to be healthy again"), HEALTHY_WITHIN, || {
        let servers = api.servers()?;
        let view = servers.into_iter().find(|view| view.name == server);
        let view = view.with_context(|| format!("the daemon does not know {server}"))?;
        Ok(match view.health == "healthy" && view.next_hop.is_some() {
            true => Look::Done(()),
            false => Look::NotYet(format!("{view:?}")),
        })
    })
}
