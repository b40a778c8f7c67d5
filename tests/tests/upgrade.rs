//! Daemon and program are replaced while they are in use.

use anyhow::Result;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::scenario::{io_load, upgrade};

#[test]
fn another_copy_takes_over_without_a_lost_flow_and_another_layout_is_refused() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
    upgrade::run(&mut lab, 2, 5)?.expect_no_violation()
}
