//! Programs of a lab: each leads a process group of its own, writes its words to a log file, dies
//! with the harness and is killed and reaped when its value is dropped.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cleanup::{self, Guard, Undo};
use crate::groups::Group;
use crate::netns::Namespace;
use crate::wait::{self, Look};

/// Lines of a log that an error quotes.
const LOG_TAIL_LINES: usize = 12;

/// How a program relates to the life of the harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It is killed when the harness ends, however it ends (also by SIGKILL).
    WithHarness,
    /// It may be left running on purpose (`demo --keep`).
    MayOutlive,
}

/// How all programs of a lab are kept.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// Directory of the log files `<name>.out` and `<name>.log`.
    pub log_dir: PathBuf,
    /// Whether programs may outlive the harness.
    pub life: Life,
}

impl Keeping {
    /// The launch of a program called `name` in `namespace`.
    pub fn launch<'a>(&'a self, name: &'a str, namespace: &'a Namespace) -> Launch<'a> {
        Launch { name, namespace, keeping: self, group: None }
    }
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    log: PathBuf,
    guard: Guard,
}

/// Where a program is to start, and under which name.
pub struct Launch<'a> {
    /// Name in messages and of the log files.
    pub name: &'a str,
    /// Namespace to run in.
    pub namespace: &'a Namespace,
    /// How it is kept.
    pub keeping: &'a Keeping,
    /// Where what it uses is counted.
    pub group: Option<&'a Group>,
}

/// Joins the group whose doors are $1 and $2 and becomes the program behind them.
const JOIN: &str = "echo 0 > \"$1\" && echo 0 > \"$2\" && shift 2 && exec \"$@\"";

impl<'a> Launch<'a> {
    /// The same inside a server's group.
    pub fn inside(self, group: &'a Group) -> Self {
        Self { group: Some(group), ..self }
    }

    /// Starts `program` with `arguments`.
    ///
    /// # Errors
    /// When the log files cannot be made or the program cannot be started. That the program does
    /// not exist shows only as its early end: it is `nsenter` or another that looks for it.
    pub fn start<S: AsRef<OsStr>>(&self, program: &Path, arguments: &[S]) -> Result<Process> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(group) = self.group {
            // The program joins before it is the program, so that no page of it is counted
            // elsewhere.
            words.extend(["sh", "-c", JOIN, "join"].map(OsString::from));
            words.extend(group.doors().map(OsString::from));
        }
        if self.keeping.life == Life::WithHarness {
            words.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(OsString::from));
        }
        words.push(program.into());
        words.extend(arguments.iter().map(|word| word.as_ref().to_owned()));
        let mut command = self.namespace.command(&words[0]);
        command.args(&words[1..]);
        Process::spawn(command, self.name, &self.keeping.log_dir)
    }
}

impl Process {
    /// Starts a command as the leader of its own process group.
    ///
    /// # Errors
    /// When the log files cannot be made or the command cannot be started.
    pub fn spawn(mut command: Command, name: &str, log_dir: &Path) -> Result<Self> {
        let out = log_dir.join(format!("{name}.out"));
        let log = log_dir.join(format!("{name}.log"));
        let append = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("open {}", path.display()))
        };
        command.process_group(0).stdin(Stdio::null());
        command.stdout(append(&out)?).stderr(append(&log)?);
        let (child, guard) = cleanup::make(|| {
            let child =
                spawn_from_lasting_thread(command).with_context(|| format!("start {name}"))?;
            let group = Pid::from_raw(i32::try_from(child.id()).context("a pid beyond i32")?);
            Ok((child, Undo::KillGroup(group)))
        })?;
        Ok(Self { name: name.to_owned(), child, out, log, guard })
    }

    /// Name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id, which is also the id of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed to standard output so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn output(&self) -> Result<String> {
        let bytes = fs::read(&self.out).with_context(|| format!("read {}", self.out.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What it has printed to standard error so far.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("wait for {}", self.name))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it has not ended within `within`; it then still runs.
    pub fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        wait::until(&format!("the end of {name}"), within, || {
            Ok(match self.try_wait()? {
                Some(status) => Look::Done(status),
                None => Look::NotYet(format!("running; its log ends:\n{}", self.log_tail())),
            })
        })
    }

    /// Waits until `ready` holds, and fails at once when the program ends instead.
    ///
    /// # Errors
    /// When it ends early or the deadline passes; with the end of its log.
    pub fn wait_ready(
        &mut self,
        within: Duration,
        mut ready: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let what = format!("{} to be ready", self.name);
        wait::until(&what, within, || {
            if let Some(status) = self.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log_tail());
            }
            Ok(match ready() {
                Ok(()) => Look::Done(()),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
    }

    /// Sends a signal to its whole group.
    ///
    /// # Errors
    /// When the kernel refuses; a group that has ended is no error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let group = Pid::from_raw(i32::try_from(self.id()).context("a pid beyond i32")?);
        match killpg(group, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(anyhow!("send {signal} to {}: {error}", self.name)),
        }
    }

    /// Kills its group with SIGKILL and reaps it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().with_context(|| format!("reap {}", self.name))?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !cleanup::is_pending(&self.guard) {
            return; // Kept on purpose.
        }
        if let Err(error) = self.kill() {
            eprintln!("clean-up: {error:#}");
        }
    }
}

/// Runs a program in a namespace to its end.
///
/// # Errors
/// When it cannot be started or does not end within `within` (it is killed then). Its exit status
/// is the caller's to judge.
pub fn run_to_end(launch: &Launch, command: &[&str], within: Duration) -> Result<Ended> {
    let (program, arguments) = command.split_first().context("an empty command")?;
    let mut process = launch.start(Path::new(program), arguments)?;
    let status = process.wait_exit(within)?;
    Ok(Ended { status, output: process.output()?, log: process.log() })
}

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// All of its standard output.
    pub output: String,
    /// All of its standard error.
    pub log: String,
}

impl Ended {
    /// Its standard output, if it succeeded.
    ///
    /// # Errors
    /// When it did not; with its words.
    pub fn success(self, what: &str) -> Result<String> {
        if !self.status.success() {
            bail!("{what} ended with {}:\n{}{}", self.status, self.output, self.log);
        }
        Ok(self.output)
    }
}

type SpawnRequest = (Command, Sender<io::Result<Child>>);

/// Spawns from a thread that lives as long as the harness. "Dies with its parent" means the parent
/// THREAD in Linux: a child started by a test's or a scoped thread would be killed when that ends.
fn spawn_from_lasting_thread(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<SpawnRequest>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox) = channel::<SpawnRequest>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // A requester that has gone has no use for the answer.
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(requests)
    });
    let (reply, answer) = channel();
    spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply))
        .map_err(|_| anyhow!("the thread that starts programs has ended"))?;
    Ok(answer.recv().context("the thread that starts programs has ended")??)
}
