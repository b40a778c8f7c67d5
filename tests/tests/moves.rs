//! Devices move while they are in use.

use anyhow::Result;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::scenario::{io_load, moves};

#[test]
fn random_moves_disturb_no_open_flow_and_no_io_and_every_new_flow_follows() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
    moves::run(&mut lab, 20, 7)?.expect_no_violation()
}
