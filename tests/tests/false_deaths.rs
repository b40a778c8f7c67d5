//! Busy processors, servers that stand still for a moment and lost packets accuse nobody.

use std::time::Duration;

use anyhow::Result;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::scenario::false_deaths;

#[test]
fn nobody_is_declared_dead_while_all_is_slow_and_some_is_lost() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    false_deaths::run(&mut lab, Duration::from_secs(15))?.expect_no_violation()
}
