//! A daemon with a user of its own, as the service manager starts it: these capabilities, and
//! directories that belong to the user.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{Context, Result};

use crate::lab::Lab;

/// A user that nobody is.
pub const UID: u32 = 64_321;
/// What the unit in deploy/systemd grants, in setpriv's words, and the numbers of capabilities(7).
pub const CAPABILITIES: [(&str, u32); 4] =
    [("bpf", 39), ("perfmon", 38), ("net_admin", 12), ("net_raw", 13)];

/// The capabilities as /proc shows a set of them.
pub fn mask() -> String {
    let bits = CAPABILITIES.iter().fold(0_u64, |bits, (_, number)| bits | 1 << number);
    format!("{bits:016x}")
}

/// A program and its arguments that start what comes after them as that user, with all of
/// [`CAPABILITIES`] but one.
pub fn starter(without: Option<&str>) -> Vec<String> {
    let names = CAPABILITIES.iter().map(|(name, _)| *name);
    let with: String =
        names.filter(|name| Some(*name) != without).map(|name| format!(",+{name}")).collect();
    let mut words = vec!["setpriv".to_owned(), "--clear-groups".to_owned()];
    words.extend(["reuid", "regid"].map(|what| format!("--{what}={UID}")));
    let sets = ["bounding-set", "inh-caps", "ambient-caps"];
    words.extend(sets.map(|set| format!("--{set}=-all{with}")));
    // What the harness had set before the user changed is gone by then.
    words.extend(["--pdeathsig", "KILL", "--no-new-privs", "--"].map(str::to_owned));
    words
}

/// Gives the user what the service manager gives it: its directories.
///
/// # Errors
/// When the kernel refuses.
pub fn give_directories(lab: &Lab) -> Result<()> {
    let dir = lab.run().dir();
    give(dir)?;
    give(&dir.join("state"))?;
    give(lab.bpffs().dir())
}

fn give(path: &Path) -> Result<()> {
    chown(path, Some(UID), Some(UID)).with_context(|| format!("give {} away", path.display()))
}

/// A fact of /proc/PID/status of each of a process's threads.
///
/// # Errors
/// When the process is gone or has no such fact.
pub fn of_threads(pid: u32, name: &str) -> Result<Vec<String>> {
    facts(Path::new(&format!("/proc/{pid}/task")), name)
}

/// The same, where the threads are in `tasks`.
///
/// # Errors
/// As [`of_threads`].
pub fn facts(tasks: &Path, name: &str) -> Result<Vec<String>> {
    let mut facts = Vec::new();
    for thread in fs::read_dir(tasks)? {
        let text = fs::read_to_string(thread?.path().join("status"))?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let fact = lines.find(|(key, _)| *key == name).with_context(|| format!("no {name}"))?;
        facts.push(fact.1.split_whitespace().next().unwrap_or_default().to_owned());
    }
    Ok(facts)
}
