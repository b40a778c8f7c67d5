//! A disk that takes seconds holds up who asks for a change, and no failover; and who asks is
//! answered also when the daemon is told to stop meanwhile.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use redirector_ctl::platform::store::State;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::wait::{self, Look};
use serde_json::Value;

/// For so long strace holds each fsync of the daemon; a change, a line of the journal, makes one.
const FSYNC_US: u64 = 3_000_000;
/// The least time that a change takes.
const CHANGE: Duration = Duration::from_micros(FSYNC_US);
/// Until a change is a line of the journal, on disk or not.
const WRITTEN_WITHIN: Duration = Duration::from_secs(20);
/// From a death to the failover in the state that the API shows. The change that is under way then
/// is answered later, which is what counts.
const FAILOVER_WITHIN: Duration = Duration::from_secs(10);

/// A lab whose daemon has a slow disk. Signals reach the daemon itself: strace is its grandchild.
fn on_a_slow_disk() -> Result<Lab> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let trace = lab.run().dir().join("strace.txt");
    let inject = format!("inject=fsync:delay_enter={FSYNC_US}");
    let words = ["strace", "-D", "-f", "-qq", "-e", "trace=fsync", "-e", &inject, "-o"];
    let words = words.map(str::to_owned).into_iter().chain([trace.to_string_lossy().into()]);
    lab.redirector.set_starter(words.collect());
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    Ok(lab)
}

/// Whether a line of this journal puts echo-b on that server. A line is a checksum and JSON.
fn moves_echo_b(journal: &Path, server: &str) -> bool {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let mut lines = lines.filter_map(|(_, json)| serde_json::from_str::<Value>(json).ok());
    lines.any(|line| line["spec"]["devices"]["put"]["echo-b"]["association"]["server"] == *server)
}

#[test]
fn a_change_that_is_under_way_at_sigterm_is_on_disk_and_answered_before_the_daemon_ends()
-> Result<()> {
    let mut lab = on_a_slow_disk()?;
    let before = lab.api()?.device("echo-b")?.association.server;
    let mut servers = lab.servers.keys().cloned();
    let other = servers.find(|name| *name != before).context("another server")?;
    let is_there = |state: &State| {
        let device = state.spec.devices.get("echo-b");
        device.is_some_and(|device| device.association.server == other)
    };

    let (api, wanted) = (lab.api()?, other.clone());
    let change = thread::spawn(move || api.move_device("echo-b", &wanted));
    let state = lab.run().dir().join("state");
    wait::until("the change to be on its way to the disk", WRITTEN_WITHIN, || {
        let seen = ["state.journal", "state.journal.new"]
            .iter()
            .any(|name| moves_echo_b(&state.join(name), &other));
        Ok(if seen { Look::Done(()) } else { Look::NotYet("it is in no line".to_owned()) })
    })?;
    ensure!(!change.is_finished(), "the disk was not slow");
    lab.redirector.stop()?;
    let answer = change.join().map_err(|_| anyhow!("whoever asks panicked"))?;
    answer.context("the change that was under way")?;
    ensure!(is_there(&lab.state()?), "what was confirmed is not on disk");
    Ok(())
}

#[test]
fn a_failover_does_not_wait_for_the_disk_that_a_change_waits_for() -> Result<()> {
    let mut lab = on_a_slow_disk()?;
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
