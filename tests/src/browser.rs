//! A real browser that drives the dashboard, step by step: `ui/dashboard.js` knows the steps.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::netns::Namespace;

/// A step on a busy machine; the first one starts the browser.
const STEP_WITHIN: Duration = Duration::from_secs(120);

/// The browser and the program that drives it.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    steps: ChildStdin,
    answers: Receiver<String>,
}

impl Browser {
    /// Starts it in a namespace, for the page at `url`. Screenshots are left in
    /// `artefacts/dashboard`.
    ///
    /// # Errors
    /// When node, playwright or the browser is missing: `cargo xtask setup` installs them.
    pub fn start(at: &Namespace, url: &str) -> Result<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = tests.join("ui/dashboard.js");
        ensure!(
            tests.join("ui/node_modules/playwright-core").is_dir(),
            "playwright-core is not installed: cargo xtask setup installs it"
        );
        let pictures: PathBuf = tests.join("../artefacts/dashboard");
        fs::create_dir_all(&pictures).context("make the directory of the screenshots")?;
        let mut command = at.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "node"]).arg(script);
        command.arg(url).arg(pictures);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().context("start node (package nodejs)")?;
        let steps = child.stdin.take().context("node has no standard input")?;
        let output = child.stdout.take().context("node has no standard output")?;
        let (said, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, steps, answers })
    }

    /// Takes a step of `ui/dashboard.js`.
    ///
    /// # Errors
    /// When the step fails, with its words.
    pub fn step(&mut self, name: &str) -> Result<()> {
        self.step_with(name, "")
    }

    /// Takes a step that is about something.
    ///
    /// # Errors
    /// As [`Browser::step`].
    pub fn step_with(&mut self, name: &str, about: &str) -> Result<()> {
        writeln!(self.steps, "{name} {about}").context("the browser's program has ended")?;
        let answer = self.answers.recv_timeout(STEP_WITHIN);
        let answer = answer.with_context(|| format!("no word of the step {name}"))?;
        ensure!(answer == format!("done {name}"), "{answer}");
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends by itself when its program has gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
