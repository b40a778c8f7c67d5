//! A program of this host that says whether a server serves a device: 0 is good, all else is not.
//!
//! It leads a process group of its own, which is killed when the program ends, when the time is
//! over and when the check is given up, so that nothing of it stays. Its surroundings are the same
//! each time: no input, the root directory, a plain PATH and four variables of ours.

use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::timeout;

use super::talk::quoted;
use super::{Path, Target};
use crate::core::health::CheckResult;
use crate::platform::clock::Stopwatch;

/// How much of a program's words is kept, in bytes. What is more is read and thrown away.
const OUTPUT_KEPT_MAX: usize = 1024;
/// How long a program's last words are waited for after its end.
const LAST_WORDS: Duration = Duration::from_millis(20);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the program once.
///
/// A failure is no answer: that a program says no proves nothing about our own side of the network.
pub(super) async fn check(
    target: &Target,
    path: &Path,
    command: &[String],
    limit: Duration,
) -> CheckResult {
    let watch = Stopwatch::start();
    let Some((program, arguments)) = command.split_first() else {
        return CheckResult::NotAsked("the command is empty".to_owned());
    };
    let mut group = match Group::start(program, arguments, &variables(target, path)) {
        Ok(group) => group,
        Err(error) => return CheckResult::NotAsked(format!("cannot run {program}: {error}")),
    };
    let mut words = Words::default();
    let ended = timeout(limit, group.end(&mut words)).await;
    let says = words.says();
    match ended {
        Ok(Ok(status)) if status.success() => super::check::answered(&watch),
        Ok(Ok(status)) => CheckResult::Failed(format!("{program} ended with {status}{says}")),
        Ok(Err(error)) => CheckResult::NotAsked(format!("cannot wait for {program}: {error}")),
        Err(_) => match unanswered(limit, &watch) {
            CheckResult::Silent(_) => CheckResult::Failed(format!(
                "{program} did not end within {} ms and was killed{says}",
                limit.as_millis()
            )),
            other => other,
        },
    }
}

/// No answer in time, unless our own timer came so late that an answer may have been waiting.
fn unanswered(limit: Duration, watch: &Stopwatch) -> CheckResult {
    let late = watch.elapsed().saturating_sub(limit);
    if late > limit / 2 {
        return CheckResult::NotAsked(format!("our own timer was {} ms late", late.as_millis()));
    }
    CheckResult::Silent(format!("no answer within {} ms", limit.as_millis()))
}

/// What the program may want to know.
fn variables(target: &Target, (server, device): &Path) -> [(&'static str, String); 5] {
    [
        ("PATH", PATH.to_owned()),
        ("REDIRECTOR_ADDRESS", target.address.ip().to_string()),
        ("REDIRECTOR_PORT", target.address.port().to_string()),
        ("REDIRECTOR_SERVER", server.clone()),
        ("REDIRECTOR_DEVICE", device.clone()),
    ]
}

/// What a program has said, each from its beginning.
#[derive(Debug, Default)]
struct Words {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Words {
    /// Of both, what it says of its errors tells more.
    fn says(&self) -> String {
        match [&self.err, &self.out].into_iter().find(|words| !words.is_empty()) {
            Some(words) => format!("; it says {}", quoted(words)),
            None => String::new(),
        }
    }
}

/// A program that runs, and all that it has started in its process group.
struct Group {
    child: Child,
    /// Id of the program and of its group. Until the program is reaped nobody else can have it.
    id: Pid,
    /// The kernel's word that some child has ended.
    endings: Signals,
}

impl Group {
    fn start(
        program: &str,
        arguments: &[String],
        variables: &[(&'static str, String)],
    ) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir("/").env_clear();
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let endings = signal(SignalKind::child())?;
        // Whoever is dropped unreaped is killed and reaped by tokio.
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let id = id.ok_or_else(|| std::io::Error::other("it has no process id"))?;
        Ok(Self { child, id, endings })
    }

    /// Waits for the end of the program, kills what it has left behind, and reaps it.
    async fn end(&mut self, words: &mut Words) -> std::io::Result<ExitStatus> {
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let mut heard = pin!(async {
            tokio::join!(listen(out, &mut words.out), listen(err, &mut words.err));
        });
        let heard_all = tokio::select! {
            ended = ended(self.id, &mut self.endings) => {
                ended?;
                false
            }
            () = &mut heard => true,
        };
        if heard_all {
            // Whoever has closed its outputs may still run.
            ended(self.id, &mut self.endings).await?;
        }
        self.kill();
        if !heard_all {
            // The rest of its words lies in the pipe. Whoever has left the group may hold that
            // open.
            let _ = timeout(LAST_WORDS, &mut heard).await;
        }
        self.child.wait().await
    }

    /// Kills the group. Only while the program has not been reaped: its id is the group's.
    fn kill(&self) {
        if self.child.id().is_some()
            && let Err(error) = kill_process_group(self.id, Signal::KILL)
        {
            tracing::debug!(%error, "a check's process group cannot be killed");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for the end of a child without reaping it, so that its id remains its own.
async fn ended(id: Pid, endings: &mut Signals) -> std::io::Result<()> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(id), look)?.is_none() {
        if endings.recv().await.is_none() {
            return Err(std::io::Error::other("no more signals of children"));
        }
    }
    Ok(())
}

/// Reads all of it and keeps the beginning.
async fn listen(from: Option<impl AsyncRead + Unpin>, words: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut some = [0; 1024];
    while let Ok(len @ 1..) = from.read(&mut some).await {
        let kept_len = len.min(OUTPUT_KEPT_MAX - words.len());
        words.extend_from_slice(&some[..kept_len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::check::{Check, CheckPace};
    use crate::core::spec::Protocol;

    const LONG: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(100);

    async fn run(script: &str, limit: Duration) -> CheckResult {
        let command: Vec<String> = ["/bin/sh", "-c", script].map(str::to_owned).into();
        let target = Target {
            address: "10.0.2.11:10901".parse().unwrap(),
            protocol: Protocol::Tcp,
            check: Check::Exec { command: command.clone() },
            pace: CheckPace::default(),
            service: None,
        };
        check(&target, &("s1".into(), "disk-a".into()), &command, limit).await
    }

    fn silent(result: CheckResult) -> String {
        match result {
            CheckResult::Failed(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_program_hears_of_the_path_and_ends_with_0() {
        let script = "test \"$REDIRECTOR_ADDRESS:$REDIRECTOR_PORT\" = 10.0.2.11:10901 && \
                      test \"$REDIRECTOR_SERVER/$REDIRECTOR_DEVICE\" = s1/disk-a && \
                      test \"$(pwd)\" = / && test -z \"$HOME$CARGO_MANIFEST_DIR\"";
        let result = run(script, LONG).await;
        assert!(matches!(result, CheckResult::Answered { .. }), "{result:?}");
    }

    #[tokio::test]
    async fn a_program_that_says_no_is_quoted() {
        let text = silent(run("echo fine; echo disk is gone >&2; exit 3", LONG).await);
        assert_eq!(text, "/bin/sh ended with exit status: 3; it says \"disk is gone\"");
    }

    #[tokio::test]
    async fn a_flood_of_words_is_read_and_not_kept() {
        let result = run("head -c 3000000 /dev/zero | tr '\\0' x; exit 1", LONG).await;
        let text = silent(result);
        assert!(text.len() < 300 && text.ends_with("xxx ..\""), "{text}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_all_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pid").display().to_string();
        let script = format!("sleep 1000 & echo $! > {note}; wait");
        let text = silent(run(&script, SHORT).await);
        assert!(text.starts_with("/bin/sh did not end within 100 ms and was killed"), "{text}");
        is_gone(&note).await;
    }

    #[tokio::test]
    async fn a_program_whose_check_is_given_up_is_killed_with_all_it_has_started() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pid").display().to_string();
        let script = format!("sleep 1000 & echo $! > {note}.new; mv {note}.new {note}; wait");
        let noted = async {
            while std::fs::metadata(&note).is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            result = run(&script, LONG) => panic!("{result:?}"),
            () = noted => {}
        }
        is_gone(&note).await;
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_is_killed_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pid").display().to_string();
        let result = run(&format!("sleep 1000 & echo $! > {note}"), LONG).await;
        assert!(matches!(result, CheckResult::Answered { took_us } if took_us < 1_000_000));
        is_gone(&note).await;
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_no_verdict() {
        let command = vec!["/nonexistent/check".to_owned()];
        let target = Target {
            address: "10.0.2.11:1".parse().unwrap(),
            protocol: Protocol::Tcp,
            check: Check::Connect,
            pace: CheckPace::default(),
            service: None,
        };
        let result = check(&target, &("s1".into(), "d".into()), &command, LONG).await;
        assert!(matches!(result, CheckResult::NotAsked(_)), "{result:?}");
    }

    /// Waits until the process whose id the file holds has ended: it may still be a zombie of init.
    async fn is_gone(note: &str) {
        let id = std::fs::read_to_string(note).unwrap();
        let stat = format!("/proc/{}/stat", id.trim());
        let gone = async {
            while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LONG, gone).await.unwrap();
    }
}
