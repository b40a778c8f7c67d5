//! Whatever the daemon is killed in the middle of, it comes back as it was or was being told to be.

use anyhow::{Context, Result};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::scenario::{crash_loop, image};

#[test]
fn a_daemon_killed_in_a_stream_of_changes_comes_back_with_an_acknowledged_state() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    crash_loop::run(&mut lab, 5, 3)?.expect_no_violation()
}

#[test]
fn a_state_that_does_not_fit_the_tables_is_found() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let spec = lab.state()?.spec;
    assert_eq!(image::differences(&lab.pins(), &spec)?, Vec::<String>::new());
    let mut other = spec.clone();
    other.devices.get_mut("echo-a").context("the device")?.association.epoch += 1;
    assert_eq!(image::differences(&lab.pins(), &other)?.len(), 1);
    let mut other = spec.clone();
    other.servers.get_mut("s2").context("the server")?.incarnation += 1;
    assert_eq!(image::differences(&lab.pins(), &other)?.len(), 1);
    let mut other = spec.clone();
    other.devices.remove("echo-b").context("the device")?;
    assert!(!image::differences(&lab.pins(), &other)?.is_empty());
    Ok(())
}
