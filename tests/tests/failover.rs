//! A server dies in each of the ways we know; its devices are served by a survivor.

use anyhow::Result;
use redirector_tests::fault::Fault;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::redirector::Health;
use redirector_tests::scenario::failover::{self, Case, DEATHS, Load};
use redirector_tests::scenario::gate::Redirecting;

fn dies_by(fault: Fault) -> Result<()> {
    let case = Case { row: "failover", faults: &[fault], load: Load::OneFlow };
    dies(Plan::standard(1 << 20), case)
}

fn dies(plan: Plan, case: Case<'_>) -> Result<()> {
    let mut lab = Lab::start(plan)?;
    failover::run(&mut lab, &Redirecting, case, 1)?.expect_no_violation()
}

#[test]
fn the_clients_of_a_busy_server_are_served_by_another_and_told_whatever_it_dies_of() -> Result<()> {
    let case = Case { row: "death_busy", faults: &DEATHS, load: Load::Busy };
    dies(Plan::standard(1 << 20), case)
}

#[test]
fn the_death_of_a_server_without_traffic_is_found_by_checks_alone() -> Result<()> {
    let case = Case { row: "death_idle", faults: &[Fault::Freeze, Fault::Drop], load: Load::Idle };
    dies(Plan::standard(1 << 20), case)
}

#[test]
fn checks_may_be_many_times_as_fast_as_they_are_by_default() -> Result<()> {
    // Half as fast as those of the scenario, so that a busy machine accuses nobody here.
    let health = Health { interval_ms: 20, timeout_ms: 20, ..Health::FAST };
    let case = Case { row: "death_idle_fast", faults: &[Fault::Freeze], load: Load::Idle };
    dies(Plan { health, ..Plan::standard(1 << 20) }, case)
}

#[test]
fn a_device_fails_over_when_its_servers_programs_are_killed() -> Result<()> {
    dies_by(Fault::Kill)
}

#[test]
fn a_device_fails_over_when_its_servers_link_is_cut() -> Result<()> {
    dies_by(Fault::Cut)
}

#[test]
fn a_device_fails_over_when_its_server_freezes() -> Result<()> {
    dies_by(Fault::Freeze)
}

#[test]
fn a_device_fails_over_when_its_server_accepts_but_greets_nobody() -> Result<()> {
    dies_by(Fault::Stop)
}
