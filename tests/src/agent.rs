//! Agents that say how much a server can take: a program in the server's namespace gives one line
//! to whoever connects, and ends the connection (HAProxy's configuration manual, section 5.2,
//! `agent-check`).

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::process::{Keeping, Life, Process};
use crate::{loads, programs, storage};

/// Port of every server's agent.
const PORT: u16 = 9777;
/// Longest start of an agent on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(10);

/// A server's agent.
#[derive(Debug)]
pub struct Agent {
    _program: Process,
    file: PathBuf,
}

/// Adds to the lab's configuration where its agents are, and these lines.
///
/// # Errors
/// When the file cannot be written.
pub fn configure(lab: &Lab, lines: &str) -> Result<()> {
    loads::add_to_servers(lab, lines, |address| format!("agent_address = \"{address}:{PORT}\""))
}

impl Agent {
    /// Starts the agent of a server, which says `line` from now on.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(lab: &Lab, server: &str, line: &str) -> Result<Self> {
        let name = format!("{server}-agent");
        let dir = lab.run().subdir(&name)?;
        let keeping = Keeping { log_dir: dir.clone(), life: Life::WithHarness };
        let file = dir.join("line");
        replace(&file, line)?;
        let namespace = lab.network.host(server)?;
        let port = PORT.to_string();
        let arguments = ["agent", "--port", &port, "--file", &file.to_string_lossy()];
        let launch = keeping.launch(&name, namespace);
        let mut program = launch.start(&programs::lab()?, &arguments)?;
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, PORT);
        program.wait_ready(START_WITHIN, || storage::answers(namespace, at.into()))?;
        Ok(Self { _program: program, file })
    }

    /// Lets it say another line from now on.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn say(&self, line: &str) -> Result<()> {
        replace(&self.file, line)
    }
}

/// Renamed into place, so that nobody is given half a line.
fn replace(file: &Path, line: &str) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, format!("{line}\n")).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("replace {}", file.display()))
}

/// Serves until killed. The body of the hidden subcommand `agent`.
///
/// # Errors
/// When the port is taken or the file cannot be read.
pub fn serve(port: u16, file: &Path) -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .with_context(|| format!("listen on port {port}"))?;
    for stream in listener.incoming() {
        let line = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        // Who asked may have gone.
        let _ = stream.and_then(|mut stream| stream.write_all(&line));
    }
    Ok(())
}
