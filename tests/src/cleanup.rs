//! What must be undone, in one list: whatever ends the harness (end of scope, a failure, a panic,
//! Ctrl-C), its processes, namespaces, mounts, groups and directories go, each by its own id.
//!
//! A resource registers its [`Undo`] before it can be lost and holds the [`Guard`]. Dropping the
//! guard undoes it; a signal undoes all that is left, newest first. [`keep_all`] lets everything
//! stay. A SIGKILL of the harness itself leaves namespaces and directories behind: see `leftovers`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use anyhow::Result;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::groups;

/// Exit status after Ctrl-C: 128 + SIGINT, as shells expect.
const EXIT_INTERRUPTED: i32 = 130;

/// One thing to undo, named by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// Kill a process group.
    KillGroup(Pid),
    /// Delete a network namespace.
    DeleteNamespace(String),
    /// Remove a control group with those in it, after the end of what runs there.
    RemoveGroup(PathBuf),
    /// Unmount a directory.
    Unmount(PathBuf),
    /// Remove a directory with all that is in it.
    RemoveDir(PathBuf),
}

impl Undo {
    /// Undoes it. What is gone already is no failure; what cannot be undone is told and left.
    pub fn run(&self) {
        let outcome = match self {
            // ESRCH: the group has ended by itself.
            Undo::KillGroup(group) => match killpg(*group, Signal::SIGKILL) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Undo::DeleteNamespace(name) => delete_namespace(name),
            Undo::RemoveGroup(path) => groups::remove(path).map_err(|error| format!("{error:#}")),
            Undo::Unmount(path) => {
                umount2(path, MntFlags::MNT_DETACH).map_err(|error| error.to_string())
            }
            Undo::RemoveDir(path) => remove_dir(path),
        };
        if let Err(error) = outcome {
            eprintln!("clean-up: {self:?}: {error}");
        }
    }
}

/// Removes a directory with all in it, however often another thread, about to learn that all is
/// being undone, puts a last file there.
fn remove_dir(path: &Path) -> Result<(), String> {
    const TRIES: u32 = 100;
    let mut last = String::new();
    for _ in 0..TRIES {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Deletes a namespace, and before that kills what still runs in it: a program may have left its
/// process group (`setsid`). Namespaces of ours hold only what we started.
fn delete_namespace(name: &str) -> Result<(), String> {
    let netns = |verb: &str| {
        let output = Command::new("ip").args(["netns", verb, name]).output();
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    };
    for pid in netns("pids")?.lines().filter_map(|line| line.trim().parse().ok()) {
        // It may end by itself meanwhile.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    netns("del").map(drop)
}

struct Registry {
    entries: Vec<(u64, Undo)>,
    next_id: u64,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { entries: Vec::new(), next_id: 0 });

fn registry() -> MutexGuard<'static, Registry> {
    // A panic elsewhere must not keep the clean-up from its list.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Undoes its registered thing when dropped.
#[derive(Debug)]
pub struct Guard {
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut registry = registry();
        if let Some(position) = registry.entries.iter().position(|(id, _)| *id == self.id) {
            registry.entries[position].1.run();
            registry.entries.remove(position);
        }
    }
}

/// Makes something and registers how to undo it, as one step. The first call also makes SIGINT,
/// SIGTERM and SIGHUP undo everything.
///
/// # Errors
/// When `create` fails; it must then have left nothing.
pub fn make<T>(create: impl FnOnce() -> Result<(T, Undo)>) -> Result<(T, Guard)> {
    catch_signals();
    let mut registry = registry();
    let (value, undo) = create()?;
    let id = registry.next_id;
    registry.next_id += 1;
    registry.entries.push((id, undo));
    Ok((value, Guard { id }))
}

/// Forgets everything registered, so that it stays when the harness ends. Used by `demo --keep`.
pub fn keep_all() {
    registry().entries.clear();
}

/// True while `guard` will still undo something.
pub fn is_pending(guard: &Guard) -> bool {
    registry().entries.iter().any(|(id, _)| *id == guard.id)
}

/// Undoes everything registered, newest first, and ends the process while nobody can make more.
fn undo_all_and_exit() -> ! {
    let registry = registry();
    for (_, undo) in registry.entries.iter().rev() {
        undo.run();
    }
    process::exit(EXIT_INTERRUPTED)
}

fn catch_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let watcher = thread::Builder::new().name("signals".into()).spawn(watch_signals);
        if let Err(error) = watcher {
            eprintln!("no clean-up after Ctrl-C: {error}");
        }
    });
}

/// Handlers rather than a blocked mask: children inherit masks, and a daemon that never sees
/// SIGTERM could not be stopped in an orderly way.
fn watch_signals() {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let mut hang_up = signal(SignalKind::hangup())?;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            Ok(())
        })
    });
    match outcome {
        Ok(()) => {
            eprintln!("\ninterrupted: cleaning up");
            undo_all_and_exit();
        }
        Err(error) => eprintln!("no clean-up after Ctrl-C: {error}"),
    }
}
