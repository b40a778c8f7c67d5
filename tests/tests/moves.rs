//! Devices move while they are in use.

use anyhow::Result;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::scenario::io_load;
use redirector_tests::scenario::moves::{self, Course};

#[test]
fn random_moves_disturb_no_open_flow_and_no_io_and_every_new_flow_follows() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
    let course = Course { row: "moves", moves: 20, seed: 7, drains_min: 0 };
    moves::run(&mut lab, course)?.expect_no_violation()
}

#[test]
fn nor_do_they_while_every_device_drains_from_eight_earlier_moves() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
    let course = Course { row: "moves_8_drains", moves: 20, seed: 11, drains_min: 8 };
    moves::run(&mut lab, course)?.expect_no_violation()
}
