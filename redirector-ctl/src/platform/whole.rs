//! Files that are whole at any moment: written beside their place, synced, and renamed into it. The
//! rename survives a loss of power once the directory is synced too, see [`sync_dir`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What the file system refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// What was attempted.
    pub(super) attempt: &'static str,
    /// On which path.
    pub(super) path: PathBuf,
    /// The cause.
    pub(super) source: io::Error,
}

/// Puts `content` at `path`, by way of `new`, which is on the same file system and is made with
/// `mode`.
///
/// # Errors
/// When the file system refuses; what was at `path` is still there.
pub(super) fn replace(path: &Path, new: &Path, mode: u32, content: &[u8]) -> Result<(), Refused> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(new).map_err(failed("make", new))?;
    file.write_all(content).map_err(failed("write", new))?;
    file.sync_all().map_err(failed("sync", new))?;
    fs::rename(new, path).map_err(failed("replace", path))
}

/// Makes renames in a directory survive a loss of power.
///
/// # Errors
/// When the file system refuses.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Refused {
    let path = path.to_owned();
    move |source| Refused { attempt, path, source }
}
