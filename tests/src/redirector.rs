//! The redirector under test: its configuration file, its daemon in the gateway's namespace, its
//! command line, and its own bpffs, so that nothing of it outlives the lab.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use crate::api::Api;
use crate::cleanup::{self, Guard, Undo};
use crate::data_path::Version;
use crate::device::Device;
use crate::netns::Namespace;
use crate::process::{Ended, Keeping, Process, run_to_end};
use crate::programs;
use crate::run::Run;
use crate::topology::{GATEWAY_CLIENT_SIDE, GATEWAY_SERVER_SIDE, server_address, v6_beside};
use crate::wait::{self, Look};

/// Reading the configuration and loading the program, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(120);
/// From a running daemon to measured health of every server and known next hops.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Orderly end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Health checks of a lab, in the configuration's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Time between two checks of a server, in ms.
    pub interval_ms: u64,
    /// When a check counts as failed, in ms.
    pub timeout_ms: u64,
    /// Good checks until healthy.
    pub rise: u32,
    /// Bad checks until dead.
    pub fall: u32,
    /// How often the packets' evidence is read, in ms; 0 for never.
    pub evidence_interval_ms: u64,
}

impl Health {
    /// For servers whose death is to be known within 60 ms also while they are idle.
    pub const FAST: Self =
        Self { interval_ms: 10, timeout_ms: 10, rise: 2, fall: 2, evidence_interval_ms: 3 };
}

impl Default for Health {
    /// The product's defaults.
    fn default() -> Self {
        Self { interval_ms: 200, timeout_ms: 200, rise: 2, fall: 2, evidence_interval_ms: 3 }
    }
}

/// A private bpffs. Unmounted when dropped, which ends every program and map pinned in it.
#[derive(Debug)]
pub struct Bpffs {
    dir: PathBuf,
    _guard: Guard,
}

impl Bpffs {
    /// Mounts one in the lab's directory.
    ///
    /// # Errors
    /// When the kernel refuses (needs root).
    pub fn mount(run: &Run) -> Result<Self> {
        let dir = run.subdir("bpf")?;
        let ((), guard) = cleanup::make(|| {
            mount(Some("bpf"), &dir, Some("bpf"), MsFlags::empty(), None::<&str>)
                .with_context(|| format!("mount a bpffs on {} (needs root)", dir.display()))?;
            Ok(((), Undo::Unmount(dir.clone())))
        })?;
        Ok(Self { dir, _guard: guard })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The daemon's files, and the daemon while it runs.
#[derive(Debug)]
pub struct Redirector {
    process: Option<Process>,
    program: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    keeping: Keeping,
    /// A program and its arguments that start the daemon; none when it is started as it is.
    starter: Vec<String>,
}

/// The configuration file of a lab with servers s1, s2, .. and these devices, all of one family.
pub fn config_text(
    dir: &Path,
    bpffs: &Path,
    servers_len: u8,
    devices: &[Device],
    health: Health,
) -> String {
    let is_v6 = devices.iter().any(|device| device.version == Version::V6);
    let mut text = format!(
        "[redirector]\nstate_dir = {state:?}\nbpffs_dir = {bpffs:?}\n\n\
         [api]\nunix_socket = {socket:?}\n\n\
         [health]\ninterval_ms = {interval}\ntimeout_ms = {timeout}\n\
         rise = {rise}\nfall = {fall}\nevidence_interval_ms = {evidence}\n\n\
         [[interface]]\nname = {clients:?}\nmode = \"native\"\nannounce = true\n\n\
         [[interface]]\nname = {servers:?}\nmode = \"native\"\n",
        state = dir.join("state"),
        bpffs = bpffs.join("redirector"),
        socket = dir.join("api.sock"),
        interval = health.interval_ms,
        timeout = health.timeout_ms,
        rise = health.rise,
        fall = health.fall,
        evidence = health.evidence_interval_ms,
        clients = GATEWAY_CLIENT_SIDE,
        servers = GATEWAY_SERVER_SIDE,
    );
    let names: Vec<String> = (1..=servers_len).map(|number| format!("s{number}")).collect();
    for (name, number) in names.iter().zip(1..) {
        let address = server_address(number);
        let address: IpAddr = if is_v6 { v6_beside(address).into() } else { address.into() };
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[server]]\nname = {name:?}\naddress = \"{address}\"\n");
    }
    for device in devices {
        let Device { name, port, server_port, server, .. } = device;
        let address = device.ip();
        let _ = write!(
            text,
            "\n[[device]]\nname = {name:?}\naddress = \"{address}\"\nport = {port}\n\
             server_port = {server_port}\nservers = {names:?}\nserver = {server:?}\n\
             check = \"greeting\"\n"
        );
    }
    text
}

impl Redirector {
    /// Writes the configuration; starts nothing.
    ///
    /// # Errors
    /// When the program has not been built or the file cannot be written.
    pub fn new(dir: &Path, config: &str, keeping: &Keeping) -> Result<Self> {
        let program = programs::redirector()?;
        fs::create_dir(dir.join("state")).context("make the daemon's state directory")?;
        let path = dir.join("redirector.toml");
        fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        Ok(Self {
            process: None,
            program,
            config: path,
            socket: dir.join("api.sock"),
            keeping: keeping.clone(),
            starter: Vec::new(),
        })
    }

    /// Lets a program start the daemon from now on, which gets the daemon's own words after these.
    pub fn set_starter(&mut self, starter: Vec<String>) {
        self.starter = starter;
    }

    /// The whole command that runs the daemon on a configuration file.
    fn command(&self, config: &Path) -> Vec<String> {
        let mut words = self.starter.clone();
        words.extend([self.program.as_path(), config].map(|path| path.to_string_lossy().into()));
        let at = words.len() - 1;
        words.splice(at..at, ["run", "--config"].map(str::to_owned));
        words
    }

    /// Starts the daemon and waits until its API answers.
    ///
    /// # Errors
    /// When it runs already, ends instead, or does not answer in time; with its log's end.
    pub fn start(&mut self, gateway: &Namespace) -> Result<()> {
        ensure!(self.process.is_none(), "the daemon runs already");
        let command = self.command(&self.config);
        let (program, arguments) = command.split_first().context("an empty command")?;
        let launch = self.keeping.launch("redirector", gateway);
        let mut process = launch.start(Path::new(program), arguments)?;
        let api = self.api()?;
        process.wait_ready(START_WITHIN, || api.status().map(drop))?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until every server is measured healthy and its next hop is known.
    ///
    /// # Errors
    /// When that takes too long; with the servers as last seen.
    pub fn wait_until_all_healthy(&self) -> Result<()> {
        let api = self.api()?;
        wait::until("every server to be healthy", READY_WITHIN, || {
            let servers = api.servers()?;
            let all = servers.iter().all(|s| s.health == "healthy" && s.next_hop.is_some());
            Ok(if all { Look::Done(()) } else { Look::NotYet(format!("{servers:?}")) })
        })
    }

    /// kill -9 of the daemon. Its program and tables stay in the kernel.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the daemon does not run")?.kill()
    }

    /// Sends a signal to the daemon.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the daemon does not run")?.signal(signal)
    }

    /// SIGTERM, and waits for the orderly end.
    ///
    /// # Errors
    /// When it does not run, does not end in time, or ends with an error.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the daemon does not run")?;
        process.signal(Signal::SIGTERM)?;
        let status = process.wait_exit(STOP_WITHIN)?;
        if !status.success() {
            bail!("the daemon ended with {status}:\n{}", process.log_tail());
        }
        Ok(())
    }

    /// Whether the daemon still runs.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.process {
            Some(process) => Ok(process.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// The daemon's process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the daemon does not run")?.id())
    }

    /// The daemon's log since it was started last.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The end of the daemon's log.
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    /// A client of its API.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn api(&self) -> Result<Api> {
        Api::new(&self.socket)
    }

    /// Runs its command line against the daemon, to the end.
    ///
    /// # Errors
    /// When it cannot be started or hangs. Its exit status is the caller's to judge.
    pub fn cli(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let mut command = Command::new(&self.program);
        command.args(["--api", &format!("unix:{}", self.socket.display())]).args(arguments);
        command.output().with_context(|| format!("run {} {arguments:?}", self.program.display()))
    }

    /// Runs `redirector run` on another configuration file to its end, for tests of refusals.
    ///
    /// # Errors
    /// When it does not end.
    pub fn run_refused(&self, gateway: &Namespace, name: &str, config: &str) -> Result<Ended> {
        let path = self.config.with_file_name(format!("{name}.toml"));
        fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        let launch = self.keeping.launch(name, gateway);
        let command = self.command(&path);
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        run_to_end(&launch, &words, START_WITHIN)
    }

    /// Lets another copy of the program be what is started from now on.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its API's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}
