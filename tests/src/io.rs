//! Real I/O by real clients: fio with its NBD engine, verifying every block, and nbdcopy to compare
//! a whole disk with the file behind it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{Launch, Process, run_to_end};
use crate::wait::{self, Look};

/// Size of one I/O.
pub const BLOCK_BYTES: u64 = 16 * 1024;
/// I/Os in flight, usually.
pub const DEPTH: u32 = 8;
/// Blocks written before they are read back and checked, while writing goes on.
const BACKLOG_BLOCKS: u32 = 64;

/// What fio does with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Writes every block of the disk once, in random order, at most at this rate; reads back and
    /// checks each soon after it was written, and all of them once more at the end.
    WriteAndVerify {
        /// Bytes per second, or nothing to go as fast as it can.
        rate: Option<u64>,
    },
    /// Reads and checks the blocks whose writes were acknowledged to an earlier job of the same
    /// name and seed, also if it ended by an I/O error.
    VerifyAcknowledged,
}

/// A fio job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Name: of its log files and of the record of what was acknowledged.
    pub name: String,
    /// The disk.
    pub uri: String,
    /// Bytes of the disk.
    pub bytes: u64,
    /// Chooses order and content.
    pub seed: u64,
    /// I/Os in flight. With more than 1, what an earlier job had acknowledged when its connection
    /// broke is not known exactly: fio counts the I/Os that failed among those it issued.
    pub depth: u32,
    /// What to do.
    pub work: Work,
}

/// What fio prints for ever when its connection breaks while it waits for answers: its NBD engine
/// then never returns (seen with 3.33).
const HANGS: &str = "nothing to poll for in state DEAD";

/// Time for fio to note what was acknowledged, when it is told to.
const NOTE_WITHIN: Duration = Duration::from_secs(5);

/// A running fio.
#[derive(Debug)]
pub struct Fio {
    process: Process,
    result: PathBuf,
    /// Making this file makes fio write down what was acknowledged, to `acknowledged`.
    trigger: PathBuf,
    acknowledged: PathBuf,
}

/// What fio says it has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// errno of the I/O that failed (EILSEQ for a block with wrong content), 0 for none.
    pub error: u64,
    /// Bytes written and acknowledged; 0 when fio could not say (its connection broke).
    pub written_bytes: u64,
    /// Bytes read back and found right; 0 when fio could not say.
    pub verified_bytes: u64,
    /// fio's own words when something failed.
    pub log: String,
}

impl Fio {
    /// Starts a job in the launch's namespace (its name must be the job's).
    ///
    /// # Errors
    /// When fio (package fio) cannot be started.
    pub fn start(launch: &Launch, job: &Job) -> Result<Self> {
        let dir = &launch.keeping.log_dir;
        let result = dir.join(format!("{}-{}.json", launch.name, job.seed));
        let trigger = dir.join(format!("{}.trigger", launch.name));
        let acknowledged = dir.join(format!("local-{}-0-verify.state", job.name));
        let mut arguments = vec![
            format!("--name={}", job.name),
            "--ioengine=nbd".to_owned(),
            format!("--uri={}", job.uri),
            "--rw=randwrite".to_owned(),
            format!("--bs={BLOCK_BYTES}"),
            format!("--size={}", job.bytes),
            format!("--iodepth={}", job.depth),
            format!("--randseed={}", job.seed),
            "--verify=crc32c".to_owned(),
            "--verify_fatal=1".to_owned(),
            "--output-format=json".to_owned(),
            format!("--output={}", result.display()),
            format!("--aux-path={}", dir.display()),
            format!("--trigger-file={}", trigger.display()),
            "--trigger=true".to_owned(),
            // Without it the job would be a process in a session of its own.
            "--thread".to_owned(),
        ];
        match job.work {
            Work::WriteAndVerify { rate } => {
                arguments.push(format!("--verify_backlog={BACKLOG_BLOCKS}"));
                arguments.extend(rate.map(|rate| format!("--rate={rate}")));
            }
            Work::VerifyAcknowledged => {
                arguments.extend(["--verify_only".to_owned(), "--verify_state_load=1".to_owned()]);
            }
        }
        let process = launch.start(Path::new("fio"), &arguments)?;
        Ok(Self { process, result, trigger, acknowledged })
    }

    /// True while it runs.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// Waits for its end and reads what it says.
    ///
    /// # Errors
    /// When it does not end in time or says nothing readable. A failed I/O is an outcome, no error.
    pub fn finish(mut self, within: Duration) -> Result<Outcome> {
        let ended = wait::until("the end of fio", within, || {
            Ok(match self.process.try_wait()? {
                Some(status) => Look::Done(Some(status)),
                None if self.process.log().contains(HANGS) => Look::Done(None),
                None => {
                    Look::NotYet(format!("running; its log ends:\n{}", self.process.log_tail()))
                }
            })
        })?;
        let Some(status) = ended else { return self.give_up() };
        let text = fs::read_to_string(&self.result)
            .with_context(|| format!("fio ended with {status}: {}", self.process.log_tail()))?;
        outcome(&text, self.process.log_tail())
            .with_context(|| format!("fio ended with {status}; its report:\n{text}"))
    }

    /// Ends a fio that has lost its connection and does not notice.
    fn give_up(mut self) -> Result<Outcome> {
        File::create(&self.trigger).context("make fio's trigger file")?;
        wait::until("fio to note what was acknowledged", NOTE_WITHIN, || {
            let note = fs::read(&self.acknowledged).unwrap_or_default();
            Ok(match is_whole(&note) {
                true => Look::Done(()),
                false => Look::NotYet(format!("{} bytes of it", note.len())),
            })
        })?;
        self.process.kill()?;
        // fio removes it once it has noted everything, unless it was killed before it came to that.
        match fs::remove_file(&self.trigger) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context("remove fio's trigger file");
            }
            _ => {}
        }
        let log = "its connection broke".to_owned();
        let error = nix::errno::Errno::ENOTCONN as u64;
        Ok(Outcome { error, written_bytes: 0, verified_bytes: 0, log })
    }
}

/// Whether fio has written all of its note: a header of version, length and checksum, 8 bytes each,
/// then as many bytes as it says (fio's `verify-state.h`).
fn is_whole(note: &[u8]) -> bool {
    const HEADER_LEN: u64 = 24;
    let len = note.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    len.is_some_and(|len| note.len() as u64 >= HEADER_LEN.saturating_add(len))
}

/// Reads fio's JSON. Its log may precede the object, when an error was printed to the same file.
fn outcome(text: &str, log: String) -> Result<Outcome> {
    let start = text.find('{').context("no JSON in fio's report")?;
    let report: Value = serde_json::from_str(&text[start..]).context("fio's report as JSON")?;
    let job = &report["jobs"][0];
    let number = |value: &Value| value.as_u64().context("a number missing in fio's report");
    Ok(Outcome {
        error: number(&job["error"])?,
        written_bytes: number(&job["write"]["io_bytes"])?,
        verified_bytes: number(&job["read"]["io_bytes"])?,
        log: if log.is_empty() { text[..start].to_owned() } else { log },
    })
}

/// Result of comparing a disk, read through its service address, with the file behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Bytes compared.
    pub bytes: u64,
    /// Bytes that differ.
    pub differing: u64,
    /// Blocks of [`BLOCK_BYTES`] that are all zero on both sides: fio writes none, so never
    /// written.
    pub empty_blocks: u64,
}

/// Copies the whole disk out through `uri` and compares it with `backing`.
///
/// # Errors
/// When nbdcopy (package libnbd-bin) fails or sizes differ.
pub fn compare(launch: &Launch, uri: &str, backing: &Path) -> Result<Comparison> {
    let copy = launch.keeping.log_dir.join(format!("{}.copy", launch.name));
    let copy_text = copy.to_string_lossy().into_owned();
    run_to_end(launch, &["nbdcopy", uri, &copy_text], Duration::from_secs(60))?
        .success(&format!("nbdcopy of {uri}"))?;
    let result = compare_files(&copy, backing);
    fs::remove_file(&copy).with_context(|| format!("remove {}", copy.display()))?;
    result
}

fn compare_files(left: &Path, right: &Path) -> Result<Comparison> {
    let open = |path: &Path| {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let bytes = file.metadata()?.len();
        anyhow::Ok((BufReader::with_capacity(1 << 20, file), bytes))
    };
    let (mut left, left_bytes) = open(left)?;
    let (mut right, right_bytes) = open(right)?;
    anyhow::ensure!(left_bytes == right_bytes, "{left_bytes} bytes came out of {right_bytes}");
    let mut comparison = Comparison { bytes: left_bytes, differing: 0, empty_blocks: 0 };
    let (mut a, mut b) = (vec![0; BLOCK_BYTES as usize], vec![0; BLOCK_BYTES as usize]);
    let mut remaining = left_bytes;
    while remaining > 0 {
        let len = usize::try_from(remaining).unwrap_or(usize::MAX).min(a.len());
        left.read_exact(&mut a[..len])?;
        right.read_exact(&mut b[..len])?;
        let differing = a[..len].iter().zip(&b[..len]).filter(|(a, b)| a != b).count();
        let is_empty = differing == 0 && a[..len].iter().all(|byte| *byte == 0);
        comparison.differing += differing as u64;
        comparison.empty_blocks += u64::from(is_empty);
        remaining -= len as u64;
    }
    Ok(comparison)
}

/// Size of the disk at `uri`, by a client that connects, negotiates and leaves.
///
/// # Errors
/// When nbdinfo (package libnbd-bin) fails.
pub fn disk_bytes(launch: &Launch, uri: &str) -> Result<u64> {
    let text = run_to_end(launch, &["nbdinfo", "--size", uri], Duration::from_secs(20))?
        .success(&format!("nbdinfo of {uri}"))?;
    // The output file grows over calls under one name: the last line is this call's.
    let line = text.lines().last().unwrap_or_default();
    line.trim().parse().with_context(|| format!("the size in {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_bytes_and_empty_blocks_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (left, right) = (dir.path().join("left"), dir.path().join("right"));
        let empty = vec![0; BLOCK_BYTES as usize];
        fs::write(&left, [&empty[..], &[0, 1, 2, 0]].concat()).unwrap();
        fs::write(&right, [&empty[..], &[0, 1, 3, 4]].concat()).unwrap();
        let comparison = compare_files(&left, &right).unwrap();
        let bytes = BLOCK_BYTES + 4;
        assert_eq!(comparison, Comparison { bytes, differing: 2, empty_blocks: 1 });
    }

    #[test]
    fn a_note_is_whole_when_it_has_the_length_it_states() {
        let mut note = [3_u64, 10, 0].map(u64::to_le_bytes).concat();
        assert!(!is_whole(&[]) && !is_whole(&note));
        note.extend([0; 10]);
        assert!(is_whole(&note) && !is_whole(&note[..33]));
    }

    #[test]
    fn an_error_line_before_the_report_is_kept_as_its_log() {
        let text = r#"fio: io_u error {"jobs":[{"error":107,"write":{"io_bytes":16384},
            "read":{"io_bytes":0}}]}"#;
        let outcome = outcome(text, String::new()).unwrap();
        assert_eq!((outcome.error, outcome.written_bytes), (107, 16384));
        assert!(outcome.log.contains("io_u error"));
    }
}
