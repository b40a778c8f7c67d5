//! A disk that takes seconds holds up who asks for a change, and no failover.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::wait::{self, Look};

/// For so long strace holds each fsync of the daemon; a change, a line of the journal, makes one.
const FSYNC_US: u64 = 3_000_000;
/// The least time that a change takes.
const CHANGE: Duration = Duration::from_micros(FSYNC_US);
/// From a death to the failover in the state that the API shows. The change that is under way then
/// is answered later, which is what counts.
const FAILOVER_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_failover_does_not_wait_for_the_disk_that_a_change_waits_for() -> Result<()> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let trace = lab.run().dir().join("strace.txt");
    let inject = format!("inject=fsync:delay_enter={FSYNC_US}");
    let words = ["strace", "-f", "-qq", "-e", "trace=fsync", "-e", &inject, "-o"];
    let words = words.map(str::to_owned).into_iter().chain([trace.to_string_lossy().into()]);
    lab.redirector.set_starter(words.collect());
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let server_of = |device: &str| anyhow::Ok(lab.api()?.device(device)?.association.server);
    let (dying, kept) = (server_of("echo-a")?, server_of("echo-b")?);
    let other = lab.servers.keys().find(|name| **name != dying && **name != kept);
    let other = other.cloned().unwrap_or_else(|| kept.clone());

    let api = lab.api()?;
    let began = wait::now();
    let change = thread::spawn(move || {
        api.move_device("echo-b", &other)?;
        anyhow::Ok(wait::now())
    });
    lab.server(&dying)?.kill()?;
    let died = wait::now();
    wait::until("the failover", FAILOVER_WITHIN, || {
        let server = lab.api()?.device("echo-a")?.association.server;
        Ok(if server == dying { Look::NotYet(server) } else { Look::Done(()) })
    })?;
    let failed_over = wait::now();
    let changed = change.join().map_err(|_| anyhow!("whoever asks panicked"))??;
    println!(
        "failover shown after {:?}, the change answered after {:?}",
        failed_over - died,
        changed - began
    );
    ensure!(changed - began >= CHANGE, "the disk was not slow: {:?}", changed - began);
    ensure!(failed_over < changed, "the change was answered first");
    Ok(())
}
