//! Dumps of the flight recorder on disk: whole files, bounded in number and bytes.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::whole::{self, Refused, sync_dir};

const SUFFIX: &str = ".pcapng";
const TEMPORARY_FILE: &str = "new";

/// A directory of dumps.
#[derive(Debug)]
pub struct Dumps {
    dir: PathBuf,
    len_max: usize,
    bytes_max: u64,
}

/// A dump on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpFile {
    /// Its name, which begins with its time, so that names sort as times do.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// The file system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {path}: {source}; see that redirector.state_dir has room and is ours")]
pub struct DumpsError {
    attempt: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Dumps {
    /// Those in `dir`, at most `len_max` of at most `bytes_max` together. It is made with the first
    /// one.
    #[must_use]
    pub fn new(dir: PathBuf, len_max: usize, bytes_max: u64) -> Self {
        Self { dir, len_max, bytes_max }
    }

    /// Most bytes of one.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Writes one, after the oldest have made room for it. Whoever reads meanwhile finds all of it
    /// or nothing.
    ///
    /// # Errors
    /// When the file system refuses; the newest of the others stay.
    pub fn write(&self, at_ms: u64, why: &str, content: &[u8]) -> Result<DumpFile, DumpsError> {
        let mut make = fs::DirBuilder::new();
        make.recursive(true).mode(0o700).create(&self.dir).map_err(failed("make", &self.dir))?;
        self.make_room(content.len() as u64)?;
        let name = self.free_name(at_ms, why);
        let new = self.dir.join(TEMPORARY_FILE);
        whole::replace(&self.dir.join(&name), &new, 0o600, content)?;
        sync_dir(&self.dir).map_err(failed("sync", &self.dir))?;
        Ok(DumpFile { name, bytes: content.len() as u64 })
    }

    /// All dumps, oldest first.
    ///
    /// # Errors
    /// When the directory cannot be read; that it is not there is none.
    pub fn list(&self) -> Result<Vec<DumpFile>, DumpsError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed("list", &self.dir)(source)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("list", &self.dir))?;
            let (Ok(name), Ok(facts)) = (entry.file_name().into_string(), entry.metadata()) else {
                continue;
            };
            if name.ends_with(SUFFIX) && facts.is_file() {
                found.push(DumpFile { name, bytes: facts.len() });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Reads one; `None` when there is none of this name.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DumpsError> {
        // Only what is listed: a name from outside is never a path.
        if !self.list()?.iter().any(|dump| dump.name == name) {
            return Ok(None);
        }
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("read", &path)(source)),
        }
    }

    /// Removes the oldest until one of so many bytes fits.
    fn make_room(&self, bytes: u64) -> Result<(), DumpsError> {
        let mut dumps = self.list()?;
        let mut sum: u64 = dumps.iter().map(|dump| dump.bytes).sum();
        while !dumps.is_empty()
            && (dumps.len() >= self.len_max || sum.saturating_add(bytes) > self.bytes_max)
        {
            let oldest = dumps.remove(0);
            let path = self.dir.join(&oldest.name);
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            sum = sum.saturating_sub(oldest.bytes);
        }
        Ok(())
    }

    fn free_name(&self, at_ms: u64, why: &str) -> String {
        let name = |ms: u64| {
            let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms));
            format!("{}-{why}{SUFFIX}", time.to_string().replace(':', "-"))
        };
        let mut ms = at_ms;
        while self.dir.join(name(ms)).exists() {
            ms += 1;
        }
        name(ms)
    }
}

impl From<Refused> for DumpsError {
    fn from(Refused { attempt, path, source }: Refused) -> Self {
        Self { attempt, path, source }
    }
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DumpsError {
    let path = path.to_owned();
    move |source| DumpsError { attempt, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_dumps_go_by_number_and_by_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let dumps = Dumps::new(dir.path().join("recorder"), 3, 100);
        assert_eq!(dumps.list().unwrap(), []);
        let mut names = Vec::new();
        for at_ms in 0..5 {
            names.push(dumps.write(at_ms, "request", &[0; 10]).unwrap().name);
        }
        let kept = |dumps: &Dumps| -> Vec<String> {
            dumps.list().unwrap().into_iter().map(|dump| dump.name).collect()
        };
        assert_eq!(kept(&dumps), names[2..]);
        let large = dumps.write(5, "failover", &[0; 85]).unwrap();
        assert_eq!(kept(&dumps), [names[4].clone(), large.name]);
    }

    #[test]
    fn two_dumps_of_one_moment_are_two_and_a_name_is_never_a_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret.pcapng"), "outside").unwrap();
        let dumps = Dumps::new(dir.path().join("recorder"), 3, 100);
        let first = dumps.write(7, "request", b"one").unwrap();
        let second = dumps.write(7, "request", b"two").unwrap();
        assert_eq!(dumps.read(&first.name).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(dumps.read(&second.name).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(dumps.read("../secret.pcapng").unwrap(), None);
    }
}
