//! The machine's own systemd, booted as the first process of namespaces of its own: what the files
//! of `deploy/systemd` are for, without a machine whose service manager is ours to play with.
//!
//! It shares the kernel with the machine and sees its files, but what it writes is kept in memory.
//! It starts nothing that the machine would, can neither load modules nor set clocks, and ends with
//! all that it has started when its value is dropped. `systemd/boot.sh` is what becomes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

use crate::cleanup::{self, Guard, Undo};
use crate::netns::run_quietly;
use crate::process::{Launch, Process};
use crate::run::Run;

const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/systemd/boot.sh");
/// Until it takes commands, on a busy machine.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// A running systemd. Dropping it ends it and all that it has started: fields are dropped from
/// first to last.
#[derive(Debug)]
pub struct Systemd {
    process: Process,
    pid: u32,
    _groups: [Guard; 2],
}

impl Systemd {
    /// Boots one where `launch` says, with these files (paths without the leading slash, and
    /// contents) over those of the machine, and with `program` as `/usr/bin/redirector`. Returns
    /// when it takes commands; what it starts may still be starting.
    ///
    /// # Errors
    /// When the machine has no systemd, overlays or control groups of version 2, or it does not
    /// come up.
    pub fn boot(
        run: &Run,
        launch: &Launch,
        files: &[(&str, String)],
        program: &Path,
    ) -> Result<Self> {
        let dir = run.subdir("systemd")?;
        for (path, content) in files {
            let path = dir.join("files").join(path);
            fs::create_dir_all(path.parent().context("a file without a directory")?)?;
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        }
        symlink(program, dir.join("program")).context("name the program")?;
        run.subdir("systemd/root")?;
        let (group, groups) = make_group(run)?;
        let words = [BOOT.as_ref(), "enter".as_ref(), group.as_os_str(), dir.as_os_str()];
        let mut process = launch.start(Path::new("sh"), &words)?;
        let (starter, mut first) = (process.id(), 0);
        process.wait_ready(UP_WITHIN, || {
            first = only_child(starter)?;
            run_quietly(inside(first, "systemctl").arg("list-jobs")).map(drop)
        })?;
        Ok(Self { process, pid: first, _groups: groups })
    }

    /// A command that will run `program` beside what it has started, as root.
    pub fn command(&self, program: &str) -> Command {
        inside(self.pid, program)
    }

    /// Runs `systemctl` to its end and gives what it prints.
    ///
    /// # Errors
    /// When it does not succeed; with its words.
    pub fn control(&self, words: &[&str]) -> Result<String> {
        run_quietly(self.command("systemctl").arg("--no-pager").args(words))
    }

    /// A property of a unit, as `systemctl show` has it.
    ///
    /// # Errors
    /// When `systemctl` fails.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let text = self.control(&["show", "--value", "--property", name, unit])?;
        Ok(text.trim_end().to_owned())
    }

    /// A file as what it has started sees it.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid)).join(path.trim_start_matches('/'))
    }

    /// What a unit has said, and what was said of it.
    pub fn journal(&self, unit: &str) -> String {
        let mut command = self.command("journalctl");
        command.args(["--no-pager", "--output", "short-monotonic", "--unit", unit]);
        run_quietly(&mut command).unwrap_or_else(|error| format!("{error:#}"))
    }

    /// The end of what it has said itself.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

/// A control group for it, in the hierarchy of version 2 wherever the machine has that, and how
/// both go: the group before the hierarchy is out of sight.
fn make_group(run: &Run) -> Result<(PathBuf, [Guard; 2])> {
    let at = run.subdir("systemd/groups")?;
    let ((), mounted) = cleanup::make(|| {
        mount(Some("cgroup2"), &at, Some("cgroup2"), MsFlags::empty(), None::<&str>)
            .context("mount the control groups of version 2 (needs root)")?;
        Ok(((), Undo::Unmount(at.clone())))
    })?;
    let group = at.join(run.name("systemd"));
    let ((), made) = cleanup::make(|| {
        fs::create_dir(&group).with_context(|| format!("make {}", group.display()))?;
        Ok(((), Undo::RemoveGroup(group.clone())))
    })?;
    Ok((group, [made, mounted]))
}

/// The one child of a process.
fn only_child(pid: u32) -> Result<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let mut children = text.split_whitespace();
    let first = children.next().context("it has not become systemd yet")?;
    ensure!(children.next().is_none(), "several children: {text}");
    first.parse().with_context(|| format!("a process id: {text}"))
}

fn inside(pid: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--all", "--root", "--wdns=/", "--target", &pid.to_string(), "--", program]);
    command
}
