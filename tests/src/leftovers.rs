//! What dead labs have left behind: found by name, removed by id. Living labs are not touched.
//!
//! A lab cleans up after itself on every way out but SIGKILL, and but `demo --keep`, which leaves
//! it up on purpose. This is for those two.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cleanup::Undo;
use crate::groups;
use crate::netns::NETNS_DIR;
use crate::run::{self, DIR_SUFFIX, NAME_PREFIX};

/// Labs found on this machine.
#[derive(Debug, Default)]
pub struct Found {
    /// Labs whose owner lives, by the beginning of their names.
    pub living: Vec<String>,
    /// What dead labs have left, by the beginning of their names.
    pub dead: BTreeMap<String, Vec<Undo>>,
}

/// Looks for labs.
///
/// # Errors
/// When the directories of namespaces or temporary files cannot be read.
pub fn find() -> Result<Found> {
    let temp = std::env::temp_dir();
    let mut things: BTreeMap<String, Vec<Undo>> = BTreeMap::new();
    // In the order in which they must be undone: namespaces with what runs in them, control
    // groups, mounts, directories.
    for name in names_in(Path::new(NETNS_DIR))? {
        if let Some(lab) = lab_of(&name) {
            things.entry(lab).or_default().push(Undo::DeleteNamespace(name));
        }
    }
    for path in groups::left(|name| lab_of(name).is_some())? {
        let lab = path.file_name().and_then(|name| lab_of(&name.to_string_lossy()));
        if let Some(lab) = lab {
            things.entry(lab).or_default().push(Undo::RemoveGroup(path));
        }
    }
    for path in mounts()? {
        let lab = path.strip_prefix(&temp).ok().and_then(|path| path.iter().next());
        if let Some(lab) = lab.and_then(|name| lab_of(&name.to_string_lossy())) {
            things.entry(lab).or_default().push(Undo::Unmount(path));
        }
    }
    for name in names_in(&temp)? {
        if let Some(lab) = lab_of(&name) {
            things.entry(lab).or_default().push(Undo::RemoveDir(temp.join(name)));
        }
    }
    let mut found = Found::default();
    for (lab, undos) in things {
        if is_owner_alive(&lab, &temp) {
            found.living.push(lab);
        } else {
            found.dead.insert(lab, undos);
        }
    }
    Ok(found)
}

/// The lab that a name belongs to: `rdr-<pid>-<n>` of `rdr-<pid>-<n>-anything`.
fn lab_of(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(NAME_PREFIX)?.splitn(3, '-');
    let pid: u32 = parts.next()?.parse().ok()?;
    let count: u32 = parts.next()?.parse().ok()?;
    parts.next()?;
    Some(format!("{NAME_PREFIX}{pid}-{count}"))
}

/// Whether the process that made a lab still lives: it holds the lock in the lab's directory. Where
/// the directory is gone, a process with its id is taken for it.
fn is_owner_alive(lab: &str, temp: &Path) -> bool {
    let dir = temp.join(format!("{lab}{DIR_SUFFIX}"));
    if dir.is_dir() {
        return run::lock(&dir).is_err();
    }
    let pid = lab.trim_start_matches(NAME_PREFIX).split('-').next().unwrap_or_default();
    Path::new("/proc").join(pid).is_dir()
}

fn names_in(dir: &Path) -> Result<Vec<String>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .with_context(|| format!("read {}", dir.display()))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect(),
    }
}

/// Where something is mounted, and what kind of file system.
fn mounts() -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    Ok(text.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from).collect())
}

/// Removes what dead labs have left and says what it does.
///
/// # Errors
/// As [`find`]. What cannot be removed is told on standard error.
pub fn clean() -> Result<()> {
    let found = find()?;
    for lab in &found.living {
        println!("{lab}: in use, left alone");
    }
    for (lab, undos) in &found.dead {
        println!("{lab}: removing {} things", undos.len());
        undos.iter().for_each(Undo::run);
    }
    if found.dead.is_empty() {
        println!("nothing to clean up");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_made_by_a_lab_belong_to_one() {
        assert_eq!(lab_of("rdr-4711-0-client1"), Some("rdr-4711-0".to_owned()));
        assert_eq!(lab_of("rdr-4711-0-switch-clients"), Some("rdr-4711-0".to_owned()));
        assert_eq!(lab_of("rdr-4711-0-lab"), Some("rdr-4711-0".to_owned()));
        for other in ["rdr-4711-0", "rdr-x-0-lab", "rdr-4711-lab", "redirector", "abc-4711-0-lab"] {
            assert_eq!(lab_of(other), None, "{other}");
        }
    }
}
