//! The identity of one lab: a name that nobody else has, and its directory.
//!
//! Every namespace, directory and mount of a lab begins with `rdr-<pid>-<n>-`: the process that
//! made it and a count within that process. A lock in the directory, which the kernel releases when
//! that process ends in whatever way, tells `leftovers` a dead lab from a living one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};

use crate::cleanup::{self, Guard, Undo};

/// What every name of ours begins with.
pub const NAME_PREFIX: &str = "rdr-";

/// What the directory's name ends with.
pub const DIR_SUFFIX: &str = "-lab";

/// Name of the lock in the directory.
const LOCK: &str = "lock";

/// One lab's name and directory. The directory goes when this is dropped.
#[derive(Debug)]
pub struct Run {
    prefix: String,
    dir: PathBuf,
    _guard: Guard,
    _lock: Flock<File>,
}

/// Takes the lock of a lab's directory, which its owner holds for life.
///
/// # Errors
/// When the owner lives, or the directory cannot be read.
pub fn lock(dir: &Path) -> Result<Flock<File>> {
    let file = File::create(dir.join(LOCK)).context("make the lock of a lab")?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| anyhow!("lock {}: {error}", dir.display()))
}

impl Run {
    /// Takes a new name and makes the directory.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{NAME_PREFIX}{}-{count}-", process::id());
        let dir =
            std::env::temp_dir().join(format!("{}{DIR_SUFFIX}", prefix.trim_end_matches('-')));
        let ((), guard) = cleanup::make(|| {
            fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
            Ok(((), Undo::RemoveDir(dir.clone())))
        })?;
        let lock = lock(&dir)?;
        Ok(Self { prefix, dir, _guard: guard, _lock: lock })
    }

    /// The lab's name for `role`, such as `rdr-4711-0-client1`.
    pub fn name(&self, role: &str) -> String {
        format!("{}{role}", self.prefix)
    }

    /// What all names of this lab begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The lab's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a directory inside the lab's directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn subdir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        // Not its parents: a lab's directory that has been removed stays so.
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }
}
