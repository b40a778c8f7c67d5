//! A program on a real terminal: `script` (util-linux) gives it a pty, and what it draws there is
//! read as a terminal would.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::run::Run;
use crate::wait::{self, Look};

/// Rows and columns.
const SIZE: (u16, u16) = (40, 120);

/// A program on a terminal. It is killed with its terminal when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    drawn: PathBuf,
}

impl Terminal {
    /// Starts a command of the shell on a terminal; after it the shell says how that is set.
    ///
    /// # Errors
    /// When there is no `script`.
    pub fn start(run: &Run, command: &str) -> Result<Self> {
        let drawn = run.dir().join("terminal.txt");
        let (rows, columns) = SIZE;
        let line = format!("stty rows {rows} cols {columns}; {command}; echo ended $?; stty -a");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--", "script", "-qfec", &line])
            .arg(&drawn)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("start script (package bsdutils)")?;
        Ok(Self { child, drawn })
    }

    /// Presses keys.
    ///
    /// # Errors
    /// When the program is gone.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("no standard input")?;
        stdin.write_all(keys.as_bytes())?;
        stdin.flush().context("press keys")
    }

    /// Everything that was written to the terminal.
    ///
    /// # Errors
    /// When there is nothing yet.
    pub fn written(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.drawn)?).into_owned())
    }

    /// What the terminal shows now.
    ///
    /// # Errors
    /// When nothing was written yet.
    pub fn shown(&self) -> Result<String> {
        let mut parser = vt100::Parser::new(SIZE.0, SIZE.1, 0);
        parser.process(&fs::read(&self.drawn)?);
        Ok(parser.screen().contents())
    }

    /// Waits until the terminal shows a line that holds all of `words`.
    ///
    /// # Errors
    /// When it does not within `within`; with what it shows.
    pub fn wait_for(&self, words: &[&str], within: Duration) -> Result<String> {
        wait::until(&format!("{words:?} on the terminal"), within, || {
            let shown = self.shown().unwrap_or_default();
            let mut lines = shown.lines();
            let found = lines.find(|line| words.iter().all(|word| line.contains(word)));
            Ok(found
                .map_or_else(|| Look::NotYet(shown.clone()), |line| Look::Done(line.to_owned())))
        })
    }

    /// Waits until the program has ended and the shell has said how the terminal is set.
    ///
    /// # Errors
    /// When it does not end within `within`.
    pub fn wait_end(&mut self, within: Duration) -> Result<String> {
        let status = wait::until("the end of the terminal", within, || {
            Ok(match self.child.try_wait()? {
                Some(status) => Look::Done(status),
                None => Look::NotYet(self.shown().unwrap_or_default()),
            })
        })?;
        ensure!(status.success(), "script ended with {status}");
        self.written()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended already, or ended here; there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
