//! A stand-in for the service manager's end of sd_notify(3): a datagram socket, and what the daemon
//! has told it.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

/// The socket. A daemon reaches it in any network namespace: its name is a file.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Supervisor {
    /// Listens in `dir`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(dir: &Path) -> Result<Self> {
        let path = dir.join("notify.sock");
        let socket = UnixDatagram::bind(&path).context("make the supervisor's socket")?;
        Ok(Self { socket, path })
    }

    /// A program and its arguments that start what comes after them under this supervisor, which
    /// wants to hear of it within `watchdog`.
    pub fn starter(&self, watchdog: Duration) -> Vec<String> {
        let socket = format!("NOTIFY_SOCKET={}", self.path.display());
        vec!["env".to_owned(), socket, format!("WATCHDOG_USEC={}", watchdog.as_micros())]
    }

    /// The next thing that it is told; None when nothing comes for so long.
    ///
    /// # Errors
    /// When the socket fails otherwise.
    pub fn told(&self, within: Duration) -> Result<Option<String>> {
        self.socket.set_read_timeout(Some(within))?;
        let mut buffer = [0; 512];
        match self.socket.recv(&mut buffer) {
            Ok(len) => Ok(Some(String::from_utf8_lossy(&buffer[..len]).into_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it is told `line`, and gives what it was told before.
    ///
    /// # Errors
    /// When it is not told in time.
    pub fn expect(&self, line: &str, within: Duration) -> Result<Vec<String>> {
        let (mut before, began) = (Vec::new(), wait::now());
        while let Some(left) = within.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            let Some(told) = self.told(left)? else { break };
            if told.lines().any(|one| one == line) {
                return Ok(before);
            }
            before.push(told);
        }
        anyhow::bail!("the supervisor was not told {line} within {within:?}, but {before:?}")
    }

    /// Takes away what it was told and not yet asked for.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn forget(&self) -> Result<()> {
        while self.told(Duration::from_millis(1))?.is_some() {}
        Ok(())
    }
}
