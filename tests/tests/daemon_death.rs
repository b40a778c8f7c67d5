//! The daemon goes and comes; packets do not care.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::scenario::{daemon_kill, io_load};
use redirector_tests::wait::{self, Look};

#[test]
fn flows_tables_and_io_survive_a_killed_daemon() -> Result<()> {
    let away = Duration::from_secs(3);
    let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
    daemon_kill::run(&mut lab, 1, away, 11)?.expect_no_violation()
}

#[test]
fn a_move_made_over_the_api_survives_an_orderly_restart_with_its_open_flows() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let address = lab.device("echo-a")?.service();
    let flows = Flows::from(lab.client("c1")?)?;
    let old = flows.open(address)?;
    ensure!(old.server_name() == "s1", "it began on {}", old.server);
    lab.api()?.move_device("echo-a", "s3")?;
    lab.redirector.stop()?;
    let without_daemon = flows.open(address)?;
    assert_eq!(without_daemon.server_name(), "s3");
    lab.start_redirector()?;
    let after = flows.open(address)?;
    assert_eq!(after.server_name(), "s3");
    assert_eq!(lab.api()?.device("echo-a")?.association.server, "s3");
    for flow in flows.close() {
        assert_eq!(flow.violations(), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn detach_takes_the_program_and_its_tables_away() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let pins = lab.bpffs().dir().join("redirector");
    lab.redirector.stop()?;
    ensure!(pins.is_dir(), "an orderly stop leaves the program at work");
    let gateway = lab.network.host("gateway")?;
    let announced = || -> Result<String> {
        let words = ["-4", "route", "show", "table", "local", "proto", "114"];
        let output = gateway.command("ip").args(words).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ensure!(!announced()?.is_empty(), "and what is announced stays announced");
    let mut detach = gateway.command(lab.redirector.program());
    let output = detach.args(["detach", "--config"]).arg(lab.redirector.config()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The kernel frees a link some time after its last pin is gone.
    wait::until("the program to be gone", Duration::from_secs(10), || {
        let output = gateway.command("ip").args(["link", "show", "clients0"]).output()?;
        let link = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(if link.contains("prog/xdp") { Look::NotYet(link) } else { Look::Done(()) })
    })?;
    let left = std::fs::read_dir(&pins).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(left, 0, "pins are left in {}", pins.display());
    assert_eq!(announced()?, "", "nobody answers for service addresses any more");
    Flows::from(lab.client("c1")?)?.open(lab.device("echo-a")?.service()).err().context(
        "without the program nothing redirects, so the flow that opened was no flow of ours",
    )?;
    Ok(())
}
