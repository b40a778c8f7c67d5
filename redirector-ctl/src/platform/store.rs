//! The state on disk: the state file, always whole, and the journal of what has changed since.
//!
//! The state file is written beside the old one, synced, and put in its place by a rename, which is
//! synced too. So a crash at any moment leaves the old state or the new one. With very many devices
//! that takes long, so a change is a line of the journal; when the journal has become as long as
//! the state file, that is written anew. What cannot be read is an error that says what to do,
//! never an empty state.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::journal::{End, JOURNAL_FILE, Place};
use super::whole::{self, Refused};
use crate::core::seed::Seed;
use crate::core::shared::Shared;
use crate::core::spec::Spec;

mod journal;
#[cfg(test)]
mod tests;

/// Version of the files' format. A later one is refused, not guessed at; the first one has no
/// journal.
const FORMAT: u32 = 2;
const FORMAT_ALONE: u32 = 1;
const STATE_FILE: &str = "state.json";
const TEMPORARY_FILE: &str = "state.json.new";
const LOCK_FILE: &str = "lock";
/// Less the umask.
const MODE: u32 = 0o666;

/// A journal may be so long however short the state file is, in bytes.
const JOURNAL_LEN_MIN: u64 = 1 << 20;

/// What is kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The configuration's servers and devices from which the spec began.
    pub seed: Shared<Seed>,
    /// The desired state.
    pub spec: Spec,
    /// Service addresses that the daemon itself may have added to interfaces, as `interface
    /// address`.
    pub announced: Shared<Vec<String>>,
}

/// The same as the state file has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    format: u32,
    /// Grows with each state file of a directory; a journal names the one that it continues.
    #[serde(default)]
    serial: u64,
    seed: Shared<Seed>,
    spec: Spec,
    #[serde(default)]
    announced: Shared<Vec<String>>,
}

/// What is on disk for certain, so that the next write may be what differs from it. By default
/// nothing is known, and the next write is a whole one.
#[derive(Debug, Default)]
pub struct Last(Option<Written>);

#[derive(Debug)]
struct Written {
    state: State,
    serial: u64,
    /// Length of the state file, in bytes.
    whole_len: u64,
    /// Where the journal ends; None while there is none.
    journal: Option<Place>,
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
    #[error(
        "{path} is written, but not known to survive a loss of power: cannot sync it: {source}"
    )]
    Unsynced {
        /// The directory or file.
        path: PathBuf,
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
    /// The journal cannot be read to its end, or not after this state file.
    #[error(
        "{path} is damaged: {detail}. Put back copies of it and of {STATE_FILE} from one moment, \
         or move it away to start from {STATE_FILE} alone, without the changes that it holds"
    )]
    JournalDamaged {
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

/// The directory of the state file and its journal, locked for this daemon.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Makes a directory or file, which is open, survive a loss of power as it is.
    sync: fn(&File, &Path) -> io::Result<()>,
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
            Ok(()) => Ok(Self { dir: dir.to_owned(), sync, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// Reads the state, and what the next write may rest on; None when there is none yet.
    ///
    /// # Errors
    /// When the files are there but cannot be read as a state.
    pub fn load(&self) -> Result<Option<(State, Last)>, StoreError> {
        let Some((state, last)) = load(&self.dir)? else { return Ok(None) };
        // A daemon that was killed may not have come to it. What cannot be synced is written anew,
        // by which the cause is told.
        let last = if self.sync_all().is_ok() { last } else { Last::default() };
        Ok(Some((state, last)))
    }

    /// Writes the state: what differs from the `last` one, or all of it. When this returns it
    /// survives a loss of power.
    ///
    /// # Errors
    /// [`StoreError::Unsynced`] when the new state is there but may be lost again; otherwise the
    /// old state is still there. The next write is a whole one.
    pub fn save(&self, state: &State, last: &mut Last) -> Result<(), StoreError> {
        // Whatever fails, nothing is known for certain until the next write has succeeded.
        let Some(written) = last.0.take() else { return self.save_whole(state, None, last) };
        let serial = written.serial;
        let journal = match journal::addition(&written.state, state) {
            None => written.journal,
            Some(addition) => {
                let len_max = written.whole_len.max(JOURNAL_LEN_MIN);
                let end = journal::append(self, (serial, written.journal), addition, len_max)?;
                if end.is_none() {
                    return self.save_whole(state, Some(serial), last);
                }
                end
            }
        };
        last.0 = Some(Written { state: state.clone(), journal, ..written });
        Ok(())
    }

    fn save_whole(
        &self,
        state: &State,
        serial: Option<u64>,
        last: &mut Last,
    ) -> Result<(), StoreError> {
        let (path, new) = (self.dir.join(STATE_FILE), self.dir.join(TEMPORARY_FILE));
        let serial = serial.unwrap_or_else(|| serial_on_disk(&self.dir)).saturating_add(1);
        let State { seed, spec, announced } = state.clone();
        let text = serde_json::to_vec(&Whole { format: FORMAT, serial, seed, spec, announced })
            .map_err(|error| failed("encode", &path)(io::Error::other(error)))?;
        whole::replace(&path, &new, MODE, &text)?;
        self.sync_dir()?;
        // It is known by its serial to be an earlier one's, and only takes room.
        let _ = fs::remove_file(self.dir.join(JOURNAL_FILE));
        let whole_len = u64::try_from(text.len()).unwrap_or(u64::MAX);
        last.0 = Some(Written { state: state.clone(), serial, whole_len, journal: None });
        Ok(())
    }

    /// Makes all that is there survive a loss of power.
    fn sync_all(&self) -> Result<(), StoreError> {
        let path = self.dir.join(JOURNAL_FILE);
        match File::open(&path) {
            Ok(journal) => self.sync_file(&journal, &path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed("open", &path)(source)),
        }
        self.sync_dir()
    }

    /// Makes what was renamed survive a loss of power.
    fn sync_dir(&self) -> Result<(), StoreError> {
        let unsynced = |source| StoreError::Unsynced { path: self.dir.clone(), source };
        let dir = File::open(&self.dir).map_err(unsynced)?;
        self.sync_file(&dir, &self.dir)
    }

    /// Makes what was written survive a loss of power.
    fn sync_file(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        let unsynced = |source| StoreError::Unsynced { path: path.to_owned(), source };
        (self.sync)(file, path).map_err(unsynced)
    }

    /// The same store on a file system that syncs in this way.
    #[cfg(test)]
    pub(crate) fn syncing(self, sync: fn(&File, &Path) -> io::Result<()>) -> Self {
        Self { sync, ..self }
    }
}

impl From<Refused> for StoreError {
    fn from(Refused { attempt, path, source }: Refused) -> Self {
        Self::Io { attempt, path, source }
    }
}

/// Reads what a daemon has written down, also while it runs and holds the directory.
///
/// # Errors
/// As [`Store::load`]; while a daemon writes, a second look may be needed.
pub fn read(dir: &Path) -> Result<Option<State>, StoreError> {
    Ok(load(dir)?.map(|(state, _)| state))
}

fn load(dir: &Path) -> Result<Option<(State, Last)>, StoreError> {
    let path = dir.join(STATE_FILE);
    let Some(text) = read_file(&path)? else { return Ok(None) };
    let Whole { format, serial, seed, spec, announced } = parse(&path, &text)?;
    let mut state = State { seed, spec, announced };
    let journal = dir.join(JOURNAL_FILE);
    let lines = read_file(&journal)?;
    let end = match lines.filter(|_| format == FORMAT) {
        Some(lines) => journal::replay(&journal, &lines, serial, &mut state)?,
        None => End::Whole(None),
    };
    let End::Whole(journal) = end else { return Ok(Some((state, Last::default()))) };
    let whole_len = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let written = Written { state: state.clone(), serial, whole_len, journal };
    // What an earlier version wrote has no serial that a journal could name.
    Ok(Some((state, Last((format == FORMAT).then_some(written)))))
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path)(source)),
    }
}

/// What is looked at before anything else: a later version may have other fields.
#[derive(Deserialize)]
struct Head {
    format: Option<u64>,
    #[serde(default)]
    serial: u64,
}

fn parse(path: &Path, text: &[u8]) -> Result<Whole, StoreError> {
    let damaged = |detail: String| StoreError::Damaged { path: path.to_owned(), detail };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(damaged("it is empty".to_owned()));
    }
    let head: Head = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    let Some(found) = head.format else { return Err(damaged("it names no format".to_owned())) };
    if found != u64::from(FORMAT) && found != u64::from(FORMAT_ALONE) {
        return Err(StoreError::OtherFormat { path: path.to_owned(), found });
    }
    serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))
}

/// The largest serial that a file of the directory names, whatever else is wrong with it.
fn serial_on_disk(dir: &Path) -> u64 {
    let head = |text: Vec<u8>| serde_json::from_slice::<Head>(&text).ok();
    let whole = fs::read(dir.join(STATE_FILE)).ok().and_then(head).map(|head| head.serial);
    let journal = fs::read(dir.join(JOURNAL_FILE)).ok();
    let continued = journal.and_then(|lines| journal::serial(&lines));
    whole.max(continued).unwrap_or_default()
}

fn sync(file: &File, _: &Path) -> io::Result<()> {
    file.sync_all()
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { attempt, path, source }
}
