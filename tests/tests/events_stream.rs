//! `redirector events --follow` over moves, a stop and a start of the daemon.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::process::{Keeping, Process};
use redirector_tests::wait::{self, Look};

const TOLD_WITHIN: Duration = Duration::from_secs(10);

fn wait_for(process: &Process, what: &str, said: impl Fn(&str, &str) -> bool) -> Result<()> {
    wait::until(what, TOLD_WITHIN, || {
        let (out, log) = (process.output()?, process.log());
        let done = said(&out, &log);
        Ok(if done { Look::Done(()) } else { Look::NotYet(format!("{out}\n{log}")) })
    })
}

fn follow(program: &Path, lab: &Lab) -> Result<Process> {
    let keeping = Keeping { log_dir: lab.run().dir().to_owned(), life: lab.plan().life };
    let api = format!("unix:{}", lab.redirector.socket().display());
    let launch = keeping.launch("follow", lab.network.host("gateway")?);
    launch.start(program, &["--api", &api, "events", "--follow"])
}

#[test]
fn events_are_followed_as_they_happen_and_over_a_restart_of_the_daemon() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let process = follow(lab.redirector.program(), &lab)?;
    wait_for(&process, "what there was", |out, _| out.contains("started at generation"))?;
    lab.api()?.move_device("echo-a", "s3")?;
    let moved = "device echo-a moved from s1 to s3";
    wait_for(&process, "the move", |out, _| out.contains(moved))?;
    lab.redirector.stop()?;
    wait_for(&process, "the farewell", |_, log| log.contains("stopping: the daemon is stopping"))?;
    lab.start_redirector()?;
    wait_for(&process, "the new beginning", |out, log| {
        out.matches("started at generation").count() == 2 && log.contains("started anew")
    })?;
    lab.api()?.move_device("echo-a", "s2")?;
    wait_for(&process, "the second move", |out, _| out.contains("moved from s3 to s2"))?;
    ensure!(process.output()?.matches(moved).count() == 1, "an event was told twice");
    Ok(())
}
