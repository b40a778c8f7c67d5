//! Control groups, one a server of a lab: what its programs use, by the kernel's own count.
//!
//! Processor time and waiting for input and output are counted in every group of cgroup v2,
//! whatever its controllers. Memory is counted where its controller is: in v2 below a group that
//! hands it down, or, on a machine that still mounts it by itself, in the hierarchy of v1. No
//! controller is switched on for it: that would be another's group, and the machine's.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cleanup::{self, Guard, Undo};
use crate::run::Run;
use crate::wait;

/// From kill -9 of the last program in a group to a group that can be removed.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);
/// How deep below a hierarchy's root groups of labs are looked for.
const DEPTH_MAX: u32 = 8;
/// A limit beyond this is what a hierarchy of v1 says instead of "none".
const LIMIT_MAX: u64 = i64::MAX as u64 / 2;

/// Groups of one server. They go when this is dropped, after the programs in them.
#[derive(Debug)]
pub struct Group {
    meter: Meter,
    _guards: Vec<Guard>,
}

/// Reads a server's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Its group in cgroup v2.
    unified: PathBuf,
    memory: Memory,
}

/// Where a server's memory is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Memory {
    /// In the same group.
    Unified,
    /// In this group of v1.
    Legacy(PathBuf),
    /// Nowhere: v2 has the controller and does not hand it down to us.
    Nowhere,
}

/// Memory of a server, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// In use and not to be had back by dropping caches of files.
    pub used_bytes: u64,
    /// The limit, if there is one.
    pub limit_bytes: Option<u64>,
}

/// A mounted hierarchy: its root, and the harness's own group there.
struct Hierarchy {
    root: PathBuf,
    own: PathBuf,
}

impl Group {
    /// Makes the groups of a server, empty and without a limit.
    ///
    /// # Errors
    /// When no cgroup v2 is mounted, or the kernel refuses (needs root).
    pub fn new(run: &Run, server: &str) -> Result<Self> {
        let name = run.name(server);
        let unified = Hierarchy::unified()?;
        let (parent, handed_down) = unified.parent_with_memory();
        let (unified, guard) = make(&parent, &name)?;
        let (mut memory, mut guards) = (Memory::Unified, vec![guard]);
        if !handed_down {
            memory = Memory::Nowhere;
            if let Some(legacy) = Hierarchy::legacy_memory()? {
                let (path, guard) = make(&legacy.own, &name)?;
                memory = Memory::Legacy(path);
                guards.push(guard);
            }
        }
        Ok(Self { meter: Meter { unified, memory }, _guards: guards })
    }

    /// Who reads it.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The files to which a program writes 0 to join; the same one twice where there is one.
    pub(crate) fn doors(&self) -> [PathBuf; 2] {
        let Meter { unified, memory } = &self.meter;
        let second = if let Memory::Legacy(path) = memory { path } else { unified };
        [unified, second].map(|path| path.join("cgroup.procs"))
    }

    /// Gives the server so much memory and no more.
    ///
    /// # Errors
    /// When its memory is not counted on this machine.
    pub fn limit_memory(&self, bytes: u64) -> Result<()> {
        let path = match &self.meter.memory {
            Memory::Unified => self.meter.unified.join("memory.max"),
            Memory::Legacy(path) => path.join("memory.limit_in_bytes"),
            Memory::Nowhere => bail!(nowhere()),
        };
        fs::write(&path, bytes.to_string()).with_context(|| format!("write {}", path.display()))
    }
}

impl Meter {
    /// Processor time that programs in the group have used, in seconds.
    ///
    /// # Errors
    /// When the group is gone.
    pub fn processor_s(&self) -> Result<f64> {
        let usec = keyed(&read(&self.unified.join("cpu.stat"))?, "usage_usec");
        Ok(usec.context("cpu.stat without usage_usec")? as f64 / 1e6)
    }

    /// Time in which some program of the group waited for input or output, in seconds; None where
    /// the kernel does not tell (psi=0).
    pub fn waiting_s(&self) -> Option<f64> {
        let text = fs::read_to_string(self.unified.join("io.pressure")).ok()?;
        let some = text.lines().find(|line| line.starts_with("some "))?;
        let total = some.split(' ').find_map(|word| word.strip_prefix("total="))?;
        Some(total.parse::<u64>().ok()? as f64 / 1e6)
    }

    /// Memory of the programs in the group.
    ///
    /// # Errors
    /// When it is not counted on this machine, or the group is gone.
    pub fn memory(&self) -> Result<MemoryUse> {
        let (dir, used, limit) = match &self.memory {
            Memory::Unified => (&self.unified, "memory.current", "memory.max"),
            Memory::Legacy(path) => (path, "memory.usage_in_bytes", "memory.limit_in_bytes"),
            Memory::Nowhere => bail!(nowhere()),
        };
        let used_bytes: u64 = read(&dir.join(used))?.trim().parse().context(used)?;
        let limit_bytes = read(&dir.join(limit))?.trim().parse().ok();
        let stat = read(&dir.join("memory.stat"))?;
        let cached = ["inactive_file", "active_file"].iter().filter_map(|key| keyed(&stat, key));
        Ok(MemoryUse {
            used_bytes: used_bytes.saturating_sub(cached.sum()),
            limit_bytes: limit_bytes.filter(|limit| *limit < LIMIT_MAX),
        })
    }
}

fn nowhere() -> String {
    "this machine counts no memory for groups of ours: its cgroup v2 does not hand the memory \
     controller down; start the harness in a group whose parent has `memory` in \
     cgroup.subtree_control, as systemd's slices have"
        .to_owned()
}

impl Hierarchy {
    fn unified() -> Result<Self> {
        let found = Self::find("cgroup2", None)?;
        found.context("no cgroup v2 is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup")
    }

    fn legacy_memory() -> Result<Option<Self>> {
        Self::find("cgroup", Some("memory"))
    }

    /// The first mount of this type, and with this controller, if one is named.
    fn find(kind: &str, controller: Option<&str>) -> Result<Option<Self>> {
        let mounts = read(Path::new("/proc/self/mounts"))?;
        let Some(root) = mounted(&mounts, kind, controller) else { return Ok(None) };
        let groups = read(Path::new("/proc/self/cgroup"))?;
        let own = own_group(&groups, controller.unwrap_or_default()).unwrap_or("/");
        let own = root.join(own.trim_start_matches('/'));
        // A container may see its own group as the root, and its name as from outside.
        let own = if own.is_dir() { own } else { root.clone() };
        Ok(Some(Self { root, own }))
    }

    /// The nearest group, from our own upwards, whose children have the memory controller, and
    /// true; our own and false when there is none.
    fn parent_with_memory(&self) -> (PathBuf, bool) {
        let within = self.own.ancestors().take_while(|path| path.starts_with(&self.root));
        let hands_down = |path: &&Path| {
            let text = fs::read_to_string(path.join("cgroup.subtree_control")).unwrap_or_default();
            text.split_whitespace().any(|controller| controller == "memory")
        };
        match within.into_iter().find(hands_down) {
            Some(path) => (path.to_owned(), true),
            None => (self.own.clone(), false),
        }
    }
}

/// The mount point of the first mount of this type with this option.
fn mounted(mounts: &str, kind: &str, option: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, path, found, options, ..] = words[..] else { return None };
        let has = option.is_none_or(|option| options.split(',').any(|one| one == option));
        (found == kind && has).then(|| PathBuf::from(path))
    })
}

/// Our group in the hierarchy of a controller, or in that of v2, which names none.
fn own_group<'t>(groups: &'t str, controller: &str) -> Option<&'t str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let is_it = parts.next()?.split(',').any(|one| one == controller);
        is_it.then(|| parts.next()).flatten()
    })
}

fn make(parent: &Path, name: &str) -> Result<(PathBuf, Guard)> {
    let path = parent.join(name);
    cleanup::make(|| {
        fs::create_dir(&path)
            .with_context(|| format!("make the group {} (needs root)", path.display()))?;
        Ok((path.clone(), Undo::RemoveGroup(path.clone())))
    })
}

/// Kills what still runs in a group and in those in it, and removes them; one that is gone is no
/// failure.
pub(crate) fn remove(path: &Path) -> Result<()> {
    // All at once, where it is one of v2 and the kernel 5.14 or later.
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let emptied = || remove_all(path).map_err(Into::into);
    wait::until_ok("the end of a group's programs", EMPTY_WITHIN, emptied)
}

fn remove_all(path: &Path) -> io::Result<()> {
    let is_gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    match fs::read_dir(path) {
        Err(error) if is_gone(&error) => return Ok(()),
        entries => {
            for entry in entries? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    remove_all(&entry.path())?;
                }
            }
        }
    }
    let programs = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for id in programs.lines().filter_map(|line| line.parse().ok()) {
        // It may end by itself meanwhile.
        let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
    }
    match fs::remove_dir(path) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// All groups whose name `is_ours`, of whichever harness, living or dead.
///
/// # Errors
/// When the kernel does not say which hierarchies are mounted.
pub fn left(is_ours: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for hierarchy in [Hierarchy::find("cgroup2", None)?, Hierarchy::legacy_memory()?] {
        let Some(hierarchy) = hierarchy else { continue };
        look_below(&hierarchy.root, DEPTH_MAX, &is_ours, &mut found);
    }
    Ok(found)
}

fn look_below(dir: &Path, depth: u32, is_ours: &impl Fn(&str) -> bool, found: &mut Vec<PathBuf>) {
    // Groups come and go; one that is gone has nothing in it.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if is_ours(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        } else if depth > 0 {
            look_below(&entry.path(), depth - 1, is_ours, found);
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// The number after `key` in lines of `key number`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.into_iter().find(|(found, _)| *found == key)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_by_type_and_controller() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let at = |kind, controller| mounted(mounts, kind, controller);
        assert_eq!(at("cgroup2", None), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(at("cgroup", Some("memory")), Some("/sys/fs/cgroup/memory".into()));
        assert_eq!(at("cgroup", Some("pids")), None);
        let groups = "5:cpu,cpuacct:/a\n4:memory:/b:c\n0::/user.slice\n";
        assert_eq!(own_group(groups, "memory"), Some("/b:c"));
        assert_eq!(own_group(groups, "cpuacct"), Some("/a"));
        assert_eq!(own_group(groups, ""), Some("/user.slice"));
    }
}
