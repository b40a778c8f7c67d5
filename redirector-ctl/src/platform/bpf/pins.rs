//! The files of the BPF file system that keep program and tables alive without a daemon.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};

use super::{AttachError, Interface};

/// Who writes a map. The other one only reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// The daemon: the map is intent, and means the same to every copy of the program.
    Daemon,
    /// The program. The daemon takes out what is over.
    Program,
}

/// Maps that outlive the daemon.
pub(super) const PINNED_MAPS: [(&str, Writer); 24] = [
    ("CONTROL", Writer::Daemon),
    ("INTERFACES", Writer::Daemon),
    ("VLANS", Writer::Daemon),
    ("MARKS", Writer::Daemon),
    ("LOCALS", Writer::Daemon),
    ("ASSOCIATIONS", Writer::Daemon),
    ("SERVERS", Writer::Daemon),
    ("DEVICES", Writer::Daemon),
    ("REASON_COUNT", Writer::Program),
    ("DEVICE_COUNT", Writer::Program),
    ("SERVER_COUNT", Writer::Program),
    ("RESPONSES", Writer::Program),
    ("SERVICES4", Writer::Daemon),
    ("ORIGINS4", Writer::Daemon),
    ("FLOWS4", Writer::Program),
    ("CANDIDATES4", Writer::Program),
    ("CLIENTS4", Writer::Program),
    ("PORTS4", Writer::Program),
    ("SERVICES6", Writer::Daemon),
    ("ORIGINS6", Writer::Daemon),
    ("FLOWS6", Writer::Program),
    ("CANDIDATES6", Writer::Program),
    ("CLIENTS6", Writer::Program),
    ("PORTS6", Writer::Program),
];

/// Removes the program from all interfaces, and all tables with their flows.
///
/// Returns what was removed, one line each.
///
/// # Errors
///
/// When a pinned file cannot be removed.
pub fn detach(bpffs_dir: &Path) -> Result<Vec<String>, AttachError> {
    let mut removed = Vec::new();
    let links_dir = bpffs_dir.join("links");
    // Links first: the program must be off the interfaces before its tables are gone.
    for dir in [vec![links_dir], directories(bpffs_dir)?].concat() {
        for name in files(&dir)? {
            let path = dir.join(&name);
            std::fs::remove_file(&path).map_err(pin_error("remove", &path))?;
            removed.push(path.display().to_string());
        }
        if dir.exists() {
            std::fs::remove_dir(&dir).map_err(pin_error("remove", &dir))?;
        }
    }
    if bpffs_dir.exists() {
        std::fs::remove_dir(bpffs_dir).map_err(pin_error("remove", bpffs_dir))?;
    }
    Ok(removed)
}

/// Makes the directories for tables and links, unless tables of another layout are there.
pub(super) fn make_directories(
    bpffs_dir: &Path,
    maps_dir: &Path,
    links_dir: &Path,
) -> Result<(), AttachError> {
    let parent = bpffs_dir.parent().unwrap_or(bpffs_dir);
    if !is_bpffs(parent) && !is_bpffs(bpffs_dir) {
        return Err(AttachError::NotBpffs(bpffs_dir.to_owned()));
    }
    for dir in directories(bpffs_dir)? {
        if dir != *maps_dir {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            let found = name.trim_start_matches("abi-").to_owned();
            return Err(AttachError::OtherAbi { dir, found });
        }
    }
    for dir in [maps_dir, links_dir] {
        std::fs::create_dir_all(dir).map_err(pin_error("make directory", dir))?;
    }
    Ok(())
}

/// Refuses what replacing the program through a pinned link cannot do: change its mode, or bring it
/// to another interface.
pub(super) fn check_links(links_dir: &Path, interfaces: &[Interface]) -> Result<(), AttachError> {
    for Interface { name, index, mode, in_force, .. } in interfaces {
        let Some(attached) = attached_index(&links_dir.join(name)) else { continue };
        let interface = name.clone();
        if attached != *index {
            return Err(AttachError::Elsewhere { interface, index: attached });
        }
        if let Some(in_force) = in_force.filter(|in_force| in_force != mode) {
            let (in_force, wanted) = (in_force.name(), mode.name());
            return Err(AttachError::OtherMode { interface, in_force, wanted });
        }
    }
    Ok(())
}

/// Index of the interface that a pinned link is attached to. None when there is no such link, or
/// its interface is gone.
#[must_use]
pub fn attached_index(path: &Path) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(path).ok()?);
    let id = link.info().ok()?.id().to_string();
    // The kernel tells the index in no other way that the library passes on.
    for file in std::fs::read_dir("/proc/self/fdinfo").ok()? {
        let Ok(text) = std::fs::read_to_string(file.ok()?.path()) else { continue };
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
        };
        if field("link_id").as_ref() == Some(&id) {
            return field("ifindex")?.parse().ok().filter(|index| *index != 0);
        }
    }
    None
}

/// Detaches what an earlier configuration attached and this one does not name.
pub(super) fn detach_others(links_dir: &Path, interfaces: &[Interface]) -> Result<(), AttachError> {
    for name in files(links_dir)? {
        if !interfaces.iter().any(|interface| interface.name.as_bytes() == name.as_bytes()) {
            let path = links_dir.join(&name);
            std::fs::remove_file(&path).map_err(pin_error("remove link", &path))?;
            tracing::info!(interface = %name.display(), "detached: no longer configured");
        }
    }
    Ok(())
}

/// Whether a path is on a BPF file system.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == BPF_FS_MAGIC)
}

fn files(dir: &Path) -> Result<Vec<OsString>, AttachError> {
    list(dir, |entry| !entry.path().is_dir()).map(|entries| {
        entries.into_iter().map(|path| path.file_name().unwrap_or_default().to_owned()).collect()
    })
}

/// Directories of pinned tables.
fn directories(bpffs_dir: &Path) -> Result<Vec<PathBuf>, AttachError> {
    list(bpffs_dir, |entry| entry.file_name().as_bytes().starts_with(b"abi-"))
}

fn list(
    dir: &Path,
    wanted: impl Fn(&std::fs::DirEntry) -> bool,
) -> Result<Vec<PathBuf>, AttachError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(pin_error("list", dir))? {
        let entry = entry.map_err(pin_error("list", dir))?;
        if wanted(&entry) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

pub(super) fn pin_error(
    attempt: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> AttachError {
    let path = path.to_owned();
    move |source| AttachError::Pin { attempt, path, source }
}
