//! The service manager: it hears when the daemon is ready, that its loop turns, and that it ends;
//! its unit is valid, and worth what SECURITY.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::supervisor::Supervisor;
use redirector_tests::wait::{self, Look};
use reqwest::Method;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// The daemon speaks up in half of it.
const WATCHDOG: Duration = Duration::from_millis(400);
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// The loop looks at the tables several times a second.
const HANGS_WITHIN: Duration = Duration::from_secs(20);
/// The kernel verifies the program a second time, and everything is traced.
const EXPLAINED_WITHIN: Duration = Duration::from_secs(120);
/// The exposure, in tenths, that SECURITY.md records. Less is better.
const EXPOSURE_MAX: u32 = 19;

/// A tracer that holds each `bpf` call of a process.
struct Held(Child);

impl Held {
    fn start(pid: u32) -> Result<Self> {
        let held_us = HANGS_WITHIN.as_micros();
        let inject = format!("inject=bpf:delay_enter={held_us}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=bpf", "-e", &inject, "-o", "/dev/null", "-p"]);
        strace.arg(pid.to_string());
        Ok(Self(strace.spawn().context("strace (package strace)")?))
    }

    /// Lets the process go on.
    fn end(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn unit() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/redirector.service"))
}

#[test]
fn a_supervisor_hears_of_the_start_of_a_stuck_loop_and_of_the_end() -> Result<()> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let supervisor = Supervisor::listen(lab.run().dir())?;
    lab.redirector.set_starter(supervisor.starter(WATCHDOG));
    lab.start_redirector()?;
    supervisor.expect("READY=1", READY_WITHIN)?;
    for _ in 0..3 {
        supervisor.expect("WATCHDOG=1", ALIVE_WITHIN)?;
    }
    lab.redirector.wait_until_all_healthy()?;

    // A disk that hangs, which holds up whoever asks for a change, and not the loop: the journal is
    // gone, so a state file has to be written, and is a pipe that nobody reads.
    let state_dir = lab.run().dir().join("state");
    std::fs::remove_file(state_dir.join("state.journal")).context("the journal")?;
    let journal = state_dir.join("state.json.new");
    nix::unistd::mkfifo(&journal, Mode::from_bits_truncate(0o600)).context("a pipe")?;
    let api = lab.api()?;
    let stuck = std::thread::spawn(move || api.move_device("echo-a", "s3"));
    for _ in 0..4 {
        supervisor.expect("WATCHDOG=1", ALIVE_WITHIN)?;
    }
    let is_held_up = !stuck.is_finished();
    // Whatever was heard: the disk works again.
    let reader = File::open(&journal)?;
    std::fs::remove_file(&journal)?;
    let moved = stuck.join().expect("no panic");
    ensure!(is_held_up && moved.is_err(), "a move that is not on disk was confirmed");
    drop(reader);

    // A loop that hangs: its first look at the tables is held for longer than it may say nothing.
    let mut held = Held::start(lab.redirector.pid()?)?;
    let quiet = || supervisor.told(3 * WATCHDOG);
    let silence = wait::until("the loop to hang", HANGS_WITHIN, || {
        Ok(quiet()?.map_or(Look::Done(()), Look::NotYet))
    });
    held.end()?;
    silence?;
    supervisor.expect("WATCHDOG=1", ALIVE_WITHIN)?;

    // A reload is not an end, also where there are no files to read anew.
    lab.redirector.signal(Signal::SIGHUP)?;
    supervisor.expect("WATCHDOG=1", ALIVE_WITHIN)?;
    lab.redirector.stop()?;
    supervisor.expect("STOPPING=1", ALIVE_WITHIN)?;
    Ok(())
}

/// The unit with a program that is here, for `systemd-analyze`.
fn unit_of_this_machine(dir: &Path) -> Result<String> {
    let text = std::fs::read_to_string(unit())?.replace("/usr/bin/redirector ", "/bin/true ");
    let path = dir.join("redirector.service");
    std::fs::write(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}

#[test]
fn the_unit_is_valid_and_exposes_no_more_than_is_recorded() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = unit_of_this_machine(dir.path())?;
    let verified = Command::new("systemd-analyze").args(["verify", &path]).output()?;
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    ensure!(verified.status.success() && said.is_empty(), "{verified:?}");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let words = ["security", "--offline=true", "--no-pager", &threshold, &path];
    let judged = Command::new("systemd-analyze").args(words).output()?;
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    ensure!(judged.status.success(), "{said}");
    let figure = said.lines().last().context("a figure")?;
    println!("{figure}");
    let recorded = std::fs::read_to_string(unit().with_file_name("../../SECURITY.md"))?;
    let figure = format!("{}.{}", EXPOSURE_MAX / 10, EXPOSURE_MAX % 10);
    ensure!(recorded.contains(&figure), "SECURITY.md does not record {figure}");
    Ok(())
}

/// systemd's groups of system calls: each with its members, which may be groups.
fn groups() -> Result<BTreeMap<String, Vec<String>>> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager"]).output()?;
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut group = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let word = line.trim();
        if line.starts_with('@') {
            group = Some(word.to_owned());
        } else if let Some(group) = &group
            && line.starts_with("    ")
            && !word.starts_with('#')
        {
            groups.entry(group.clone()).or_default().push(word.to_owned());
        }
    }
    Ok(groups)
}

fn members(word: &str, groups: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    match groups.get(word) {
        Some(words) => words.iter().flat_map(|word| members(word, groups)).collect(),
        None => BTreeSet::from([word.to_owned()]),
    }
}

/// What the unit allows: its lines in their order, as systemd.exec(5) reads them.
fn allowed() -> Result<BTreeSet<String>> {
    let (text, groups) = (std::fs::read_to_string(unit())?, groups()?);
    ensure!(groups.len() > 20, "systemd knows few groups: {groups:?}");
    let mut allowed = members("@default", &groups);
    for line in text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let denies = line.starts_with('~');
        for word in line.trim_start_matches('~').split_whitespace() {
            for call in members(word, &groups) {
                if denies {
                    allowed.remove(&call)
                } else {
                    allowed.insert(call)
                };
            }
        }
    }
    Ok(allowed)
}

/// The system calls in what strace has written.
fn calls(trace: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(trace)?;
    let call = |line: &str| {
        let (_, rest) = line.split_once(' ')?;
        let name = rest.trim_start().split_once('(')?.0;
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| name.to_owned())
    };
    Ok(text.lines().filter_map(call).collect())
}

#[test]
fn the_unit_allows_every_system_call_that_a_daemon_makes() -> Result<()> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let trace = lab.run().dir().join("strace.txt");
    let words = ["strace", "-f", "-qq", "-e", "signal=none", "-o", &trace.to_string_lossy()];
    lab.redirector.set_starter(words.map(str::to_owned).to_vec());
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    lab.api()?.move_device("echo-a", "s3")?;
    let packet = serde_json::json!({"client": "10.0.1.11", "device": "echo-a"});
    let explain = || lab.api()?.send_json(Method::POST, "/v1/explain", &packet)?.accepted();
    wait::until_ok("an explanation", EXPLAINED_WITHIN, explain)?;
    lab.server("s3")?.kill()?;
    wait::until("the failover", EXPLAINED_WITHIN, || {
        let server = lab.api()?.device("echo-a")?.association.server;
        Ok(if server == "s3" { Look::NotYet(server) } else { Look::Done(()) })
    })?;
    lab.redirector.stop()?;
    let (made, allowed) = (calls(&trace)?, allowed()?);
    ensure!(made.contains("bpf") && made.contains("capset"), "strace saw little: {made:?}");
    let refused: Vec<_> = made.difference(&allowed).collect();
    println!("{} system calls", made.len());
    ensure!(refused.is_empty(), "the unit refuses {refused:?}");
    for call in ["mount", "ptrace", "setuid", "init_module", "reboot"] {
        ensure!(!allowed.contains(call), "the unit allows {call}");
    }
    Ok(())
}
