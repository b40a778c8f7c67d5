//! Metrics of what decides: the detector of deaths, and the planner for load.

use super::Page;
use super::family::flag;
use crate::config::PlanMode;
use crate::core::suspicion::Suspicion;
use crate::daemon::{DetectorCounts, PlanState, PlannerCounts, Snapshot};

/// Adds them.
pub(super) fn add(page: &mut Page, snapshot: &Snapshot) {
    detector(page, snapshot);
    plan(page, snapshot);
    planner(page, &snapshot.own.planner);
}

fn detector(page: &mut Page, snapshot: &Snapshot) {
    let DetectorCounts { suspicions, confirming, outages, syns_resent, wakes } =
        &snapshot.own.detector;
    let help = "Suspicions that packets raised against servers, by what they saw.";
    let mut family = page.counter("redirector_suspicions_total", help);
    for kind in Suspicion::NAMES {
        let len = suspicions.get(kind).copied().unwrap_or_default();
        family.add(&[("kind", kind)], len as f64);
    }
    drop(family);
    let help = "Checks that were made because of a suspicion, by what came of them.";
    let mut family = page.counter("redirector_confirming_checks_total", help);
    for (result, len) in confirming.by_result() {
        family.add(&[("result", result)], len as f64);
    }
    drop(family);
    let help = "1 while the server died a short time ago and is kept out however well it answers.";
    let mut family = page.gauge("redirector_server_held_down", help);
    for name in snapshot.spec.servers.keys() {
        family.add(&[("server", name)], flag(snapshot.held_down.contains(name)));
    }
    drop(family);
    let help = "How often all servers fell silent together and the fault was taken for our own.";
    page.counter("redirector_outages_total", help).only(*outages as f64);
    let help = "SYNs to servers that had died that were sent to their survivors.";
    page.counter("redirector_syns_resent_total", help).only(*syns_resent as f64);
    let help = "Segments sent to waiting clients of dead servers, so that they hear of it.";
    page.counter("redirector_client_wakes_total", help).only(*wakes as f64);
}

fn plan(page: &mut Page, snapshot: &Snapshot) {
    let plan = &snapshot.plan;
    let help = "Who moves devices for load: 1 for the mode that is configured.";
    let mut family = page.gauge("redirector_plan_mode", help);
    for mode in PlanMode::ALL {
        family.add(&[("mode", mode.name())], flag(mode == plan.mode));
    }
    drop(family);
    let help = "What has become of the last plan for load: 1 for the state that holds.";
    let mut family = page.gauge("redirector_plan_state", help);
    for state in PlanState::ALL {
        family.add(&[("state", state.name())], flag(state == plan.state));
    }
    drop(family);
    // The rest is about a plan that there is not before the first.
    let Some(made_at_ms) = plan.made_at_ms else { return };
    let help = "When the last plan was made, in seconds since the Unix epoch.";
    page.gauge("redirector_plan_made_timestamp_seconds", help).only(made_at_ms as f64 / 1000.0);
    let help = "Moves in the last plan.";
    page.gauge("redirector_plan_moves", help).only(plan.moves_len as f64);
    let help = "What the last plan says should be otherwise but stays.";
    page.gauge("redirector_plan_blocked", help).only(plan.blocked_len as f64);
    let help = "Servers that take nothing, by the last plan.";
    page.gauge("redirector_plan_refusing_servers", help).only(plan.refusals_len as f64);
    let help = "Load of the hottest server by the last plan, before and after its moves, as a \
                share of what it carries well.";
    let mut family = page.gauge("redirector_plan_hottest_ratio", help);
    for (moves, share) in [("before", plan.before), ("after", plan.after)] {
        family.add(&[("moves", moves)], share);
    }
    drop(family);
    let help = "Load that no association of the devices gets the hottest server below.";
    page.gauge("redirector_plan_bound_ratio", help).only(plan.bound);
}

fn planner(page: &mut Page, counts: &PlannerCounts) {
    let help = "How long it took to make a plan for load.";
    page.spans("redirector_plan_seconds", help, &counts.plans);
    let help = "Moves of all plans; one that is recommended again is counted again.";
    page.counter("redirector_plan_moves_proposed_total", help).only(counts.moves_proposed as f64);
    let help = "Plans with moves, by what became of them when somebody decided.";
    let mut family = page.counter("redirector_plan_outcomes_total", help);
    for (outcome, len) in
        [("applied", counts.applied), ("refused", counts.refused), ("discarded", counts.discarded)]
    {
        family.add(&[("outcome", outcome)], len as f64);
    }
}
