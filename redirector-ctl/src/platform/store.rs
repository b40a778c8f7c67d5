//! The state file: the desired state on disk, always whole.
//!
//! It is written beside the old one, synced, and put in its place by a rename, which is synced too.
//! So a crash at any moment leaves the old state or the new one. A file that cannot be read is an
//! error that says what to do, never an empty state.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::whole::{self, Refused, sync_dir};
use crate::core::seed::Seed;
use crate::core::shared::Shared;
use crate::core::spec::Spec;

/// Version of the file's format. Another one is refused, not guessed at.
const FORMAT: u32 = 1;
const STATE_FILE: &str = "state.json";
const TEMPORARY_FILE: &str = "state.json.new";
const LOCK_FILE: &str = "lock";
/// Less the umask.
const MODE: u32 = 0o666;

/// What is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Version of the format.
    format: u32,
    /// The configuration's servers and devices from which the spec began.
    pub seed: Shared<Seed>,
    /// The desired state.
    pub spec: Spec,
    /// Service addresses that the daemon itself may have added to interfaces, as `interface
    /// address`.
    #[serde(default)]
    pub announced: Shared<Vec<String>>,
}

impl State {
    /// A state in the present format.
    #[must_use]
    pub fn new(seed: Shared<Seed>, spec: Spec, announced: Shared<Vec<String>>) -> Self {
        Self { format: FORMAT, seed, spec, announced }
    }
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {attempt} {path}: {source}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The new state is in place, but a loss of power may bring the old one back.
    #[error("{dir} is written, but not known to survive a loss of power: cannot sync it: {source}")]
    Unsynced {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another daemon uses the directory.
    #[error(
        "{0} is in use by another redirector: stop that one, or give this one a \
         redirector.state_dir of its own"
    )]
    Locked(PathBuf),
    /// The file is there, but is not a state.
    #[error(
        "{path} is damaged: {detail}. Put back a copy of it, or move it away to start from the \
         configuration, without the changes made over the API since"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file was written by another version.
    #[error("{path} has format {found}, not {FORMAT}: use the version of redirector that wrote it")]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
}

/// The directory of the state file, locked for this daemon.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Makes a rename in a directory survive a loss of power.
    sync_dir: fn(&Path) -> io::Result<()>,
    /// Holds the lock for as long as the store lives.
    _lock: File,
}

impl Store {
    /// Takes the directory, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or another daemon has it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(failed("make directory", dir))?;
        let path = dir.join(LOCK_FILE);
        let lock = File::create(&path).map_err(failed("make", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), sync_dir, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// Reads the state; None when there is none yet.
    ///
    /// # Errors
    /// When the file is there but cannot be read as a state.
    pub fn load(&self) -> Result<Option<State>, StoreError> {
        let path = self.dir.join(STATE_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("read", &path)(source)),
        };
        parse(&path, &text).map(Some)
    }

    /// Writes the state. When this returns it survives a loss of power.
    ///
    /// # Errors
    /// [`StoreError::Unsynced`] when the new state is there but may be lost again; otherwise the
    /// old state is still there.
    pub fn save(&self, state: &State) -> Result<(), StoreError> {
        let (path, new) = (self.dir.join(STATE_FILE), self.dir.join(TEMPORARY_FILE));
        let text = serde_json::to_vec(state)
            .map_err(|error| failed("encode", &path)(io::Error::other(error)))?;
        whole::replace(&path, &new, MODE, &text)?;
        let unsynced = |source| StoreError::Unsynced { dir: self.dir.clone(), source };
        (self.sync_dir)(&self.dir).map_err(unsynced)
    }

    /// The same store on a file system whose directories are synced in this way.
    #[cfg(test)]
    pub(crate) fn syncing(self, sync_dir: fn(&Path) -> io::Result<()>) -> Self {
        Self { sync_dir, ..self }
    }
}

impl From<Refused> for StoreError {
    fn from(Refused { attempt, path, source }: Refused) -> Self {
        Self::Io { attempt, path, source }
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<State, StoreError> {
    let damaged = |detail: String| StoreError::Damaged { path: path.to_owned(), detail };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(damaged("it is empty".to_owned()));
    }
    // The format first: a later version may have other fields.
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    let found = value.get("format").and_then(serde_json::Value::as_u64);
    let Some(found) = found else { return Err(damaged("it names no format".to_owned())) };
    if found != u64::from(FORMAT) {
        return Err(StoreError::OtherFormat { path: path.to_owned(), found });
    }
    serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { attempt, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(generation: u64) -> State {
        let spec = Spec { generation, ..Spec::default() };
        State::new(Seed::default().into(), spec, vec!["clients0 10.0.1.100".into()].into())
    }

    fn written() -> (tempfile::TempDir, Store, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.save(&state(7)).unwrap();
        let path = dir.path().join(STATE_FILE);
        (dir, store, path)
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let (_dir, store, _) = written();
        assert_eq!(store.load().unwrap(), Some(state(7)));
        store.save(&state(8)).unwrap();
        assert_eq!(store.load().unwrap(), Some(state(8)));
    }

    #[test]
    fn without_a_file_there_is_no_state() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().load().unwrap(), None);
    }

    #[test]
    fn a_file_cut_at_any_length_is_an_error_that_names_it() {
        let (_dir, store, path) = written();
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let error = store.load().unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "cut at {len}: {error}");
            assert!(error.to_string().contains("state.json is damaged"), "cut at {len}: {error}");
        }
    }

    #[test]
    fn garbage_and_unknown_fields_are_errors() {
        let (_dir, store, path) = written();
        for text in ["\0\0\0", "[]", "{\"format\":1}", "{\"format\":1,\"spec\":{},\"x\":1}"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(store.load(), Err(StoreError::Damaged { .. })), "{text:?}");
        }
    }

    #[test]
    fn another_format_is_refused_with_its_number() {
        let (_dir, store, path) = written();
        fs::write(&path, "{\"format\":2,\"spec\":{}}").unwrap();
        let error = store.load().unwrap_err();
        assert!(matches!(error, StoreError::OtherFormat { found: 2, .. }), "{error}");
    }

    #[test]
    fn a_left_over_temporary_file_is_no_state() {
        let (dir, store, _) = written();
        fs::write(dir.path().join(TEMPORARY_FILE), "half a sta").unwrap();
        assert_eq!(store.load().unwrap(), Some(state(7)));
        store.save(&state(8)).unwrap();
        assert_eq!(store.load().unwrap(), Some(state(8)));
    }

    #[test]
    fn a_directory_that_cannot_be_synced_is_told_apart_from_a_state_that_was_not_saved() {
        let (_dir, store, _) = written();
        let store = store.syncing(|_| Err(io::Error::other("an error of the disk")));
        let error = store.save(&state(8)).unwrap_err();
        assert!(matches!(error, StoreError::Unsynced { .. }), "{error}");
        assert_eq!(store.load().unwrap(), Some(state(8)), "the new state is there");
    }

    #[test]
    fn two_daemons_cannot_share_a_directory() {
        let (dir, _store, _) = written();
        assert!(matches!(Store::open(dir.path()), Err(StoreError::Locked(_))));
    }
}
