//! The unit in `deploy/systemd` at work: a systemd that boots starts the daemon as a user of its
//! own within the unit's walls, and starts it anew whatever ends it or has it hang. Flows go on
//! meanwhile.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::api::Api;
use redirector_tests::flows::{Flow, Flows};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::own_user;
use redirector_tests::redirector::config_text;
use redirector_tests::systemd::Systemd;
use redirector_tests::wait::{self, Look};

const UNIT: &str = "redirector.service";
/// The program is loaded, on a busy machine; the unit allows 120 s for one try.
const ACTIVE_WITHIN: Duration = Duration::from_secs(180);
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// Some answers to every flow.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// The unit has 10 s of silence, and a second before the next start.
const STUCK_MAX: Duration = Duration::from_secs(60);
/// Units with the daemon's walls around a program that chooses its processor: one with the filter
/// of system calls, which denies that, and one without.
const CONFINED: &str = "confined.service";
const UNFILTERED: &str = "unfiltered.service";

/// A lab whose gateway has a systemd, which started the daemon when it booted. Fields are dropped
/// from first to last.
struct Booted {
    systemd: Systemd,
    lab: Lab,
}

fn deployed(name: &str) -> Result<String> {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd"));
    std::fs::read_to_string(dir.join(name)).with_context(|| format!("read {name}"))
}

/// The unit around another program, which has nothing to say to systemd. It leaves the daemon's
/// directory in /run alone, which would go with it.
fn probe(keeps: impl Fn(&str) -> bool) -> Result<String> {
    let daemons = ["ExecStart", "Type=", "Restart", "WatchdogSec", "RuntimeDirectory"];
    let unit = deployed("redirector.service")?;
    let lines = unit.lines().filter(|line| !daemons.iter().any(|word| line.starts_with(word)));
    let lines: Vec<&str> = lines.filter(|line| keeps(line)).collect();
    let program = "[Service]\nType=oneshot\nExecStart=/usr/bin/taskset 1 /bin/true";
    Ok(lines.join("\n").replace("[Service]", program))
}

impl Booted {
    fn start() -> Result<Self> {
        let lab = Lab::build(Plan::standard(1 << 20))?;
        let plan = lab.plan();
        let (run_dir, bpffs) = (Path::new("/run/redirector"), Path::new("/sys/fs/bpf"));
        let config = config_text(run_dir, bpffs, plan.servers_len, &plan.devices, plan.health);
        let config = config.replace("/run/redirector/state", "/var/lib/redirector");
        let filters = |line: &str| line.starts_with("SystemCallFilter=");
        let files = [
            ("usr/lib/systemd/system/confined.service", probe(|_| true)?),
            ("usr/lib/systemd/system/unfiltered.service", probe(|line| !filters(line))?),
            ("usr/lib/systemd/system/redirector.service", deployed("redirector.service")?),
            ("usr/lib/sysusers.d/redirector.conf", deployed("redirector.sysusers")?),
            ("usr/lib/tmpfiles.d/redirector.conf", deployed("redirector.tmpfiles")?),
            ("etc/redirector/redirector.toml", config),
        ];
        let launch = lab.on_gateway("systemd")?;
        let systemd = Systemd::boot(lab.run(), &launch, &files, lab.redirector.program())?;
        let booted = Self { systemd, lab };
        booted.wait_until_active("")?;
        Ok(booted)
    }

    /// Waits until the daemon has said that it is ready, as another process than before, and until
    /// everybody is healthy. Gives its process id, as systemd has it.
    fn wait_until_active(&self, before: &str) -> Result<String> {
        let pid = wait::until("the unit to be active", ACTIVE_WITHIN, || {
            let [state, pid] = ["SubState", "MainPID"].map(|of| self.systemd.property(UNIT, of));
            let (state, pid) = (state?, pid?);
            let is_new = state == "running" && pid != "0" && pid != before;
            Ok(if is_new { Look::Done(pid) } else { Look::NotYet(self.systemd.journal(UNIT)) })
        })?;
        let api = self.api()?;
        wait::until_ok("every server to be healthy", HEALTHY_WITHIN, || {
            let servers = api.servers()?;
            let all = servers.iter().all(|of| of.health == "healthy" && of.next_hop.is_some());
            ensure!(all && !servers.is_empty(), "{servers:?}");
            Ok(())
        })?;
        Ok(pid)
    }

    fn api(&self) -> Result<Api> {
        Api::new(&self.systemd.path("/run/redirector/api.sock"))
    }

    /// Facts of /proc/PID/status of all threads of a process that systemd started.
    fn of_threads(&self, pid: &str, name: &str) -> Result<Vec<String>> {
        own_user::facts(&self.systemd.path(&format!("/proc/{pid}/task")), name)
    }

    fn flows(&self) -> Result<Flows> {
        let flows = Flows::from(self.lab.client("c1")?)?;
        for device in ["echo-a", "echo-b", "echo-a"] {
            flows.open(self.lab.device(device)?.service())?;
        }
        Ok(flows)
    }
}

/// Each flow is answered once more and then some; none has ended or strayed.
fn expect_answers(flows: &Flows) -> Result<()> {
    let before = flows.look();
    wait::until("answers to every flow", ANSWERED_WITHIN, || {
        let now = flows.look();
        let is_answered = |(then, now): (&Flow, &Flow)| now.answers > then.answers + 2;
        let all = before.iter().zip(&now).all(is_answered);
        Ok(if all { Look::Done(()) } else { Look::NotYet(format!("{now:?}")) })
    })?;
    let violations: Vec<String> = flows.look().iter().flat_map(Flow::violations).collect();
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(())
}

/// Every thread is the user's and has what the daemon needs.
fn expect_privileges(booted: &Booted, pid: &str, user: &str) -> Result<()> {
    let (mask, none) = (own_user::mask(), format!("{:016x}", 0));
    for (name, expected) in [
        ("Uid", user),
        ("CapEff", &mask),
        ("CapPrm", &mask),
        ("CapBnd", &mask),
        ("CapInh", &none),
        ("CapAmb", &none),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let facts = booted.of_threads(pid, name)?;
        ensure!(facts.len() > 2, "a daemon has several threads: {facts:?}");
        assert!(facts.iter().all(|fact| fact == expected), "{name}: {facts:?}, not {expected}");
    }
    Ok(())
}

/// What the daemon's own filter allows and the unit's does not is refused around another program,
/// and by nothing else than that filter.
fn expect_filter(systemd: &Systemd) -> Result<()> {
    systemd.control(&["start", UNFILTERED]).context("without the filter")?;
    ensure!(systemd.control(&["start", CONFINED]).is_err(), "the filter lets everything pass");
    let said = systemd.journal(CONFINED);
    ensure!(said.contains("affinity: Operation not permitted"), "not by the filter: {said}");
    Ok(())
}

/// The directories are the user's, and nobody else's but for the group where that is meant.
fn expect_directories(booted: &Booted, user: &str) -> Result<()> {
    for (path, mode) in [
        ("/sys/fs/bpf/redirector", 0o700),
        ("/var/lib/redirector", 0o700),
        ("/run/redirector", 0o750),
        ("/run/redirector/api.sock", 0o660),
    ] {
        let facts = booted.systemd.path(path).metadata().with_context(|| path.to_owned())?;
        assert_eq!(
            (facts.uid().to_string(), facts.mode() & 0o777),
            (user.to_owned(), mode),
            "{path}"
        );
    }
    Ok(())
}

#[test]
fn a_boot_starts_the_daemon_as_its_own_user_with_the_units_privileges_and_no_more() -> Result<()> {
    let booted = Booted::start()?;
    let (systemd, pid) = (&booted.systemd, booted.systemd.property(UNIT, "MainPID")?);
    for (name, expected) in [("StatusText", "redirecting"), ("NRestarts", "0")] {
        assert_eq!(systemd.property(UNIT, name)?, expected, "{name}");
    }
    let user = systemd.command("id").args(["--user", "redirector"]).output()?;
    let user = String::from_utf8(user.stdout)?.trim().to_owned();
    ensure!(user.parse::<u32>().is_ok_and(|uid| uid != 0), "no user redirector: {user}");
    expect_privileges(&booted, &pid, &user)?;
    expect_filter(systemd)?;
    expect_directories(&booted, &user)?;
    // It sees nothing of others' homes, and writes nowhere else.
    let seen = systemd.path(&format!("/proc/{pid}/root"));
    ensure!(seen.join("root").read_dir()?.next().is_none(), "it sees root's home");
    let mounts = std::fs::read_to_string(systemd.path(&format!("/proc/{pid}/mounts")))?;
    let root =
        mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).context("no root")?;
    ensure!(root.contains(" ro,"), "it may write everywhere: {root}");

    let status = booted.api()?.status()?;
    let interfaces = status["interfaces"].as_array().context("interfaces")?;
    ensure!(
        interfaces.len() == 2 && interfaces.iter().all(|of| of["mode"] == "native"),
        "{status}"
    );
    let flows = booted.flows()?;
    booted.api()?.move_device("echo-a", "s3")?;
    let moved = flows.open(booted.lab.device("echo-a")?.service())?;
    assert_eq!(moved.server_name(), "s3");
    expect_answers(&flows)?;
    let journal = systemd.journal(UNIT);
    ensure!(!journal.contains("EPERM") && !journal.contains("not permitted"), "{journal}");
    Ok(())
}

#[test]
fn flows_go_on_while_it_is_reloaded_restarted_stopped_killed_and_stuck() -> Result<()> {
    let booted = Booted::start()?;
    let systemd = &booted.systemd;
    let flows = booted.flows()?;
    let first = systemd.property(UNIT, "MainPID")?;

    systemd.control(&["reload", UNIT])?;
    assert_eq!(booted.wait_until_active("")?, first, "a reload is no end");
    booted.api()?.move_device("echo-b", "s3")?;

    systemd.control(&["restart", UNIT])?;
    let second = booted.wait_until_active(&first)?;
    expect_answers(&flows)?;

    // Without the daemon new flows go where the last table says.
    systemd.control(&["stop", UNIT])?;
    assert_eq!(systemd.property(UNIT, "Result")?, "success", "{}", systemd.journal(UNIT));
    expect_answers(&flows)?;
    let alone = flows.open(booted.lab.device("echo-b")?.service())?;
    assert_eq!(alone.server_name(), "s3");
    systemd.control(&["start", UNIT])?;
    let third = booted.wait_until_active(&second)?;
    assert_eq!(booted.api()?.device("echo-b")?.association.server, "s3");

    systemd.control(&["kill", "--signal=KILL", UNIT])?;
    let fourth = booted.wait_until_active(&third)?;
    assert_eq!(systemd.property(UNIT, "NRestarts")?, "1");
    expect_answers(&flows)?;

    systemd.control(&["kill", "--signal=STOP", UNIT])?;
    let (began, pid) = (wait::now(), fourth.clone());
    wait::until("the watchdog", STUCK_MAX, || {
        let now = systemd.property(UNIT, "MainPID")?;
        Ok(if now == pid { Look::NotYet(systemd.journal(UNIT)) } else { Look::Done(()) })
    })?;
    let noticed = began.elapsed();
    booted.wait_until_active(&fourth)?;
    println!("stuck until noticed {noticed:?}, until ready again {:?}", began.elapsed());
    let journal = systemd.journal(UNIT);
    ensure!(journal.contains("Watchdog timeout"), "not the watchdog: {journal}");
    assert_eq!(systemd.property(UNIT, "NRestarts")?, "2");
    expect_answers(&flows)?;
    Ok(())
}
