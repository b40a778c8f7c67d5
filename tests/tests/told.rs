//! Clients of a server that hangs are told by the redirector, at the first try.

use anyhow::Result;
use redirector_tests::flows::Manner;
use redirector_tests::scenario::told::{self, Speech};

#[test]
fn clients_that_ask_are_reset_in_both_families_with_and_without_timestamps() -> Result<()> {
    told::run(Manner::Asks, &Speech::ALL, 1)?.expect_no_violation()
}

#[test]
fn clients_that_only_wait_are_reset_in_both_families_with_and_without_timestamps() -> Result<()> {
    told::run(Manner::Waits, &Speech::ALL, 1)?.expect_no_violation()
}
