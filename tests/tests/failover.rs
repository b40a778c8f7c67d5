//! A server dies in each of the ways we know; its devices are served by a survivor.

use anyhow::Result;
use redirector_tests::fault::Fault;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::scenario::failover;

fn dies_by(fault: Fault) -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    failover::run(&mut lab, fault, 1)?.expect_no_violation()
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
