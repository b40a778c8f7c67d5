//! The journal: what has changed since the state file was written, a line for each write.
//!
//! A line is its checksum, the first 16 hexadecimal digits of the SHA-256 of what follows, a blank,
//! JSON, and a line feed. The first line names the state file by its serial, so that the journal of
//! an earlier one is known to be over. A last line that is not whole was being written when the
//! power went: nobody was told that it is on disk, so it is left out. Any other that is not whole
//! is damage.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{FORMAT, MODE, State, Store, StoreError, failed};
use crate::core::delta::Delta;
use crate::core::seed::Seed;
use crate::core::shared::Shared;
use crate::platform::whole;

pub(super) const JOURNAL_FILE: &str = "state.journal";
const TEMPORARY_FILE: &str = "state.journal.new";
/// Hexadecimal digits of a checksum.
const SUM_LEN: usize = 16;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    /// The state file that is continued.
    continues: u64,
}

/// One write.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Addition {
    /// Counts the lines after the first one, from 1 on. Filled in when it is written.
    number: u64,
    spec: Delta,
    /// The configuration, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<Shared<Seed>>,
    /// Announced addresses that came, and that went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    announced: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withdrawn: Vec<String>,
}

/// Where a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Length in bytes.
    len: u64,
    /// Lines after the first one.
    number: u64,
}

/// How a journal ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole line, or it is an earlier state file's: there is none for this one yet.
    Whole(Option<Place>),
    /// With a line that is not whole: nothing may be appended to it.
    Torn,
}

/// What leads from one state to the other; None if they are the same.
pub(super) fn addition(before: &State, after: &State) -> Option<Addition> {
    let spec = Delta::between(&before.spec, &after.spec);
    let seed = (before.seed != after.seed).then(|| after.seed.clone());
    let (announced, withdrawn) = if before.announced == after.announced {
        (Vec::new(), Vec::new())
    } else {
        (missing(&after.announced, &before.announced), missing(&before.announced, &after.announced))
    };
    let addition = Addition { number: 0, spec, seed, announced, withdrawn };
    let is_same = before.spec == after.spec
        && addition.seed.is_none()
        && addition.announced.is_empty()
        && addition.withdrawn.is_empty();
    (!is_same).then_some(addition)
}

/// What `those` have and the others have not.
fn missing(those: &[String], others: &[String]) -> Vec<String> {
    let others: BTreeSet<&String> = others.iter().collect();
    those.iter().filter(|text| !others.contains(text)).cloned().collect()
}

impl Addition {
    fn apply_to(self, state: &mut State) {
        self.spec.apply_to(&mut state.spec);
        if let Some(seed) = self.seed {
            state.seed = seed;
        }
        if !self.withdrawn.is_empty() {
            let gone: BTreeSet<String> = self.withdrawn.into_iter().collect();
            state.announced.retain(|text| !gone.contains(text));
        }
        if !self.announced.is_empty() {
            state.announced.extend(self.announced);
        }
    }
}

/// Appends to the journal of the state file with this serial, which begins with that if there is no
/// `place` yet. Says where it ends then; None if it would be longer than `len_max`, or is not as it
/// was left: then a whole state has to be written.
///
/// # Errors
/// As [`Store::save`].
pub(super) fn append(
    store: &Store,
    (serial, place): (u64, Option<Place>),
    addition: Addition,
    len_max: u64,
) -> Result<Option<Place>, StoreError> {
    let path = store.dir.join(JOURNAL_FILE);
    let number = place.map_or(0, |place| place.number) + 1;
    let mut text = Vec::new();
    if place.is_none() {
        add_line(&path, &mut text, &Head { format: FORMAT, continues: serial })?;
    }
    add_line(&path, &mut text, &Addition { number, ..addition })?;
    let added = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let len = place.map_or(0, |place| place.len).saturating_add(added);
    if len > len_max {
        return Ok(None);
    }
    match place {
        None => {
            whole::replace(&path, &store.dir.join(TEMPORARY_FILE), MODE, &text)?;
            store.sync_dir()?;
        }
        Some(place) if is_of(&path, place.len) => write(store, &path, place.len, &text)?,
        Some(_) => return Ok(None),
    }
    Ok(Some(Place { len, number }))
}

/// Whether the file is still as long as it was left. Somebody may have moved it away.
fn is_of(path: &Path, len: u64) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.len() == len)
}

fn write(store: &Store, path: &Path, len: u64, text: &[u8]) -> Result<(), StoreError> {
    let mut file = OpenOptions::new().append(true).open(path).map_err(failed("open", path))?;
    if let Err(source) = file.write_all(text) {
        // A part of a line would be left out by whoever reads it; without it nobody has to.
        let _ = file.set_len(len);
        return Err(failed("write", path)(source));
    }
    // What is in the file is what a start finds, whether or not it survives a loss of power.
    store.sync_file(&file, path)
}

fn add_line(path: &Path, text: &mut Vec<u8>, value: &impl Serialize) -> Result<(), StoreError> {
    let json = serde_json::to_vec(value)
        .map_err(|error| failed("encode", path)(std::io::Error::other(error)))?;
    text.extend(sum(&json).bytes());
    text.push(b' ');
    text.extend(json);
    text.push(b'\n');
    Ok(())
}

fn sum(json: &[u8]) -> String {
    let digest = Sha256::digest(json);
    digest.iter().take(SUM_LEN / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// What a line holds; None when it is not whole.
fn content(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (known, json) = line.split_at_checked(SUM_LEN)?;
    let json = json.strip_prefix(b" ")?;
    (sum(json).as_bytes() == known).then_some(json)
}

/// The serial of the state file that a journal continues, if its first line says so.
pub(super) fn serial(text: &[u8]) -> Option<u64> {
    let json = content(text.split_inclusive(|byte| *byte == b'\n').next()?)?;
    serde_json::from_slice::<Head>(json).ok().map(|head| head.continues)
}

/// Brings the state of the state file with this serial to where the journal ends.
///
/// # Errors
/// When the journal is damaged, or continues a later state file.
pub(super) fn replay(
    path: &Path,
    text: &[u8],
    serial: u64,
    state: &mut State,
) -> Result<End, StoreError> {
    let damaged = |detail: String| StoreError::JournalDamaged { path: path.to_owned(), detail };
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').peekable();
    let head = lines.next().and_then(content);
    let head = head.ok_or_else(|| damaged("its first line is not whole".to_owned()))?;
    let head: Head = serde_json::from_slice(head).map_err(|error| damaged(error.to_string()))?;
    if head.format != FORMAT {
        let (path, found) = (path.to_owned(), u64::from(head.format));
        return Err(StoreError::OtherFormat { path, found });
    }
    if head.continues > serial {
        let later = head.continues;
        return Err(damaged(format!("it continues state file {later}, and this one is {serial}")));
    }
    if head.continues < serial {
        return Ok(End::Whole(None));
    }
    let mut number = 0;
    while let Some(line) = lines.next() {
        let Some(json) = content(line) else {
            if lines.peek().is_none() {
                return Ok(End::Torn);
            }
            return Err(damaged(format!("line {} is not what was written", number + 2)));
        };
        let addition: Addition = serde_json::from_slice(json)
            .map_err(|error| damaged(format!("line {}: {error}", number + 2)))?;
        number += 1;
        if addition.number != number {
            let found = addition.number;
            return Err(damaged(format!("line {} has number {found}, not {number}", number + 1)));
        }
        addition.apply_to(state);
    }
    let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
    Ok(End::Whole(Some(Place { len, number })))
}
