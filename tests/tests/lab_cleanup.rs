//! A lab leaves nothing behind: not after its end, not after Ctrl-C, and after SIGKILL nothing that
//! `redirector-lab clean` would not find.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redirector_tests::cleanup::Undo;
use redirector_tests::groups;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::leftovers;
use redirector_tests::wait::{self, Look};

const DISK_BYTES: u64 = 1 << 20;
const WITHIN: Duration = Duration::from_secs(30);

/// What exists of the labs that process `pid` made, whether it lives or not.
fn things_of(pid: u32) -> Result<Vec<String>> {
    let prefix = format!("rdr-{pid}-");
    let found = leftovers::find()?;
    let mut things: Vec<String> =
        found.living.into_iter().filter(|lab| lab.starts_with(&prefix)).collect();
    for (lab, undos) in found.dead {
        if lab.starts_with(&prefix) {
            things.extend(undos.iter().map(|undo| format!("{undo:?}")));
        }
    }
    Ok(things)
}

#[test]
fn nothing_of_a_lab_is_left_after_its_end() -> Result<()> {
    let lab = Lab::build(Plan::standard(DISK_BYTES))?;
    let dir = lab.run().dir().to_owned();
    let namespace = lab.client("c1")?.path();
    let server = lab.network.host("s1")?.path();
    ensure!(dir.is_dir() && namespace.exists());
    let programs = processes_in(&server)?;
    ensure!(!programs.is_empty(), "a server without programs");
    let groups = groups_of(&lab)?;
    ensure!(!groups.is_empty(), "a lab without control groups");
    let mut counted = Vec::new();
    for group in groups.iter().filter(|path| path.ends_with(lab.run().name("s1"))) {
        let text = std::fs::read_to_string(group.join("cgroup.procs"))?;
        counted.push(text.lines().map(str::to_owned).collect::<BTreeSet<_>>());
    }
    let all: BTreeSet<String> = programs.into_iter().collect();
    ensure!(counted.iter().all(|some| *some == all), "{counted:?} are counted of {all:?}");
    drop(lab);
    for group in groups {
        assert!(!group.exists(), "{} is left", group.display());
    }
    assert!(!dir.exists(), "{} is left", dir.display());
    assert!(!namespace.exists(), "{} is left", namespace.display());
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    assert!(!mounts.contains(&*dir.to_string_lossy()), "a mount is left in {}", dir.display());
    Ok(())
}

/// The control groups of a lab that lives.
fn groups_of(lab: &Lab) -> Result<Vec<PathBuf>> {
    groups::left(|name| name.starts_with(lab.run().prefix()))
}

/// A harness of its own, in the middle of a scenario.
fn harness_at_work() -> Result<Child> {
    let child = Command::new(env!("CARGO_BIN_EXE_redirector-lab"))
        .args(["lab", "failover", "--runs", "1000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let namespace = namespace_of(&child, "s3");
    wait::until("a server's programs to run", WITHIN, || {
        let pids = if namespace.exists() { processes_in(&namespace)? } else { Vec::new() };
        Ok(match pids.len() {
            0 => Look::NotYet(format!("nothing in {}", namespace.display())),
            _ => Look::Done(()),
        })
    })?;
    Ok(child)
}

fn namespace_of(harness: &Child, host: &str) -> PathBuf {
    Path::new("/run/netns").join(format!("rdr-{}-0-{host}", harness.id()))
}

fn processes_in(namespace: &Path) -> Result<Vec<String>> {
    let name = namespace.file_name().context("a namespace without a name")?;
    let output = Command::new("ip").args(["netns", "pids"]).arg(name).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn send(harness: &Child, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(i32::try_from(harness.id())?), signal).context("signal the harness")
}

#[test]
fn nothing_is_left_after_ctrl_c() -> Result<()> {
    let mut harness = harness_at_work()?;
    send(&harness, Signal::SIGINT)?;
    let status = harness.wait()?;
    assert_eq!(status.code(), Some(130), "it ended with {status}");
    assert_eq!(things_of(harness.id())?, Vec::<String>::new());
    Ok(())
}

#[test]
fn after_a_sigkill_nothing_runs_on_and_clean_finds_the_rest() -> Result<()> {
    let mut harness = harness_at_work()?;
    let (living, namespace) = (things_of(harness.id())?, namespace_of(&harness, "s3"));
    assert_eq!(living.len(), 1, "a living lab is not for cleaning: {living:?}");
    send(&harness, Signal::SIGKILL)?;
    harness.wait()?;
    wait::until("its programs to die with it", WITHIN, || {
        let pids = processes_in(&namespace)?;
        Ok(match pids.is_empty() {
            true => Look::Done(()),
            false => Look::NotYet(format!("{pids:?} live")),
        })
    })?;
    for (lab, undos) in leftovers::find()?.dead {
        if lab.starts_with(&format!("rdr-{}-", harness.id())) {
            undos.iter().for_each(Undo::run);
        }
    }
    assert_eq!(things_of(harness.id())?, Vec::<String>::new());
    Ok(())
}
