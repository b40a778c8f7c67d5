//! The peer beside which the redirector's failover is measured works as it should in the harness.

use anyhow::Result;
use redirector_tests::lab::Plan;
use redirector_tests::scenario::haproxy::{self, Tuning};

#[test]
#[ignore = "needs haproxy, which `cargo xtask lab haproxy-tuned` installs"]
fn behind_haproxy_new_flows_are_served_by_the_server_that_stands_by() -> Result<()> {
    let outcome = haproxy::run(Tuning::Tuned, 1, Plan::standard(1 << 20))?;
    let row = outcome.rows.iter().find(|row| row.name == "haproxy_tuned");
    assert_eq!(row.and_then(|row| row.runs), Some(4), "{outcome:?}");
    Ok(())
}
