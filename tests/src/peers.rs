//! Real servers of each storage protocol, for checks to talk to: alone in a namespace, on its
//! loopback, all their files in the lab's directory.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::{Namespace, run_quietly};
use crate::process::{Keeping, Life, Process};
use crate::run::Run;
use crate::storage::answers;

/// Longest start of a server on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A place for servers. Fields are dropped from first to last: programs before their namespace.
#[derive(Debug)]
pub struct Peers {
    processes: Vec<Process>,
    keeping: Keeping,
    dir: PathBuf,
    namespace: Namespace,
    _run: Run,
}

impl Peers {
    /// An empty place.
    ///
    /// # Errors
    /// When the namespace cannot be made (needs root).
    pub fn new() -> Result<Self> {
        let run = Run::new()?;
        let namespace = Namespace::new(&run, "peers")?;
        let keeping = Keeping { log_dir: run.subdir("logs")?, life: Life::WithHarness };
        let dir = run.dir().to_owned();
        Ok(Self { processes: Vec::new(), keeping, dir, namespace, _run: run })
    }

    /// Where the servers are.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The server that was started last.
    ///
    /// # Errors
    /// When none was.
    pub fn last(&mut self) -> Result<&mut Process> {
        self.processes.last_mut().context("no server has been started")
    }

    /// A qemu-nbd with one export of `bytes`.
    ///
    /// # Errors
    /// When it does not come up (package qemu-utils).
    pub fn qemu_nbd(&mut self, export: &str, bytes: u64) -> Result<SocketAddr> {
        let disk = self.disk(bytes)?;
        let port = "10809";
        self.start(
            "qemu-nbd",
            &["-x", export, "-p", port, "--persistent", "--shared=0", "-f", "raw", &disk],
        )?;
        self.ready(10809)
    }

    /// An nbdkit whose only export is the default one, of `bytes`.
    ///
    /// # Errors
    /// When it does not come up (package nbdkit).
    pub fn nbdkit(&mut self, bytes: u64) -> Result<SocketAddr> {
        self.start("nbdkit", &["-f", "-p", "10810", "memory", &bytes.to_string()])?;
        self.ready(10810)
    }

    /// A tgtd with a target that any initiator may log in to, and one that wants CHAP. Its log
    /// names the opcode of each request.
    ///
    /// # Errors
    /// When it does not come up (package tgt).
    pub fn tgtd(&mut self, open: &str, guarded: &str) -> Result<SocketAddr> {
        let control = self.tgt_control();
        let portal = "portal=127.0.0.1:3260";
        self.start("env", &[&control, "tgtd", "-f", "-d", "1", "--iscsi", portal])?;
        let at = self.ready(3260)?;
        let disk = self.disk(1 << 20)?;
        let lines = [
            format!("--op new --mode target --tid 1 -T {open}"),
            format!("--op new --mode logicalunit --tid 1 --lun 1 -b {disk}"),
            "--op bind --mode target --tid 1 -I ALL".to_owned(),
            format!("--op new --mode target --tid 2 -T {guarded}"),
            "--op bind --mode target --tid 2 -I ALL".to_owned(),
            "--op new --mode account --user check --password twelve-letters".to_owned(),
            "--op bind --mode account --tid 2 --user check".to_owned(),
        ];
        for line in lines {
            self.tgtadm(&line)?;
        }
        Ok(at)
    }

    /// What tgtadm says, given these words.
    ///
    /// # Errors
    /// When it fails.
    pub fn tgtadm(&self, words: &str) -> Result<String> {
        let mut tgtadm = self.namespace.command("env");
        tgtadm.args([&self.tgt_control(), "tgtadm", "--lld", "iscsi"]).args(words.split(' '));
        run_quietly(&mut tgtadm)
    }

    /// Where tgtd and tgtadm meet, as a variable of theirs.
    fn tgt_control(&self) -> String {
        format!("TGT_IPC_SOCKET={}", self.dir.join("tgt").display())
    }

    /// An NFS-Ganesha with versions 3 and 4 over TCP and 3 over UDP, and an export in memory.
    ///
    /// It insists on registering version 3 with an rpcbind, whose socket is a file in /run: both
    /// see a /run of their own.
    ///
    /// # Errors
    /// When it does not come up (packages nfs-ganesha, nfs-ganesha-mem).
    pub fn ganesha(&mut self) -> Result<SocketAddr> {
        let script = "mount -t tmpfs tmpfs /run && exec rpcbind -f";
        self.start("unshare", &["--mount", "sh", "-c", script])?;
        self.ready(111)?;
        let mounts = format!("--mount=/proc/{}/ns/mnt", self.last()?.id());
        let dir = self.dir.join("ganesha");
        fs::create_dir(&dir).context("make Ganesha's directory")?;
        let config = format!(
            "NFS_CORE_PARAM {{ Protocols = 3, 4; Enable_NLM = false; Enable_RQUOTA = false; \
             Enable_UDP = true; }}\n\
             NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {dir:?}; }}\n\
             EXPORT {{ Export_Id = 1; Path = /mem; Pseudo = /mem; Access_Type = RW; \
             FSAL {{ Name = MEM; }} }}\n"
        );
        let path = self.file("ganesha.conf", &config)?;
        let pid = dir.join("pid").display().to_string();
        let ganesha = ["ganesha.nfsd", "-F", "-f", &path, "-L", "STDERR", "-p", &pid];
        let arguments: Vec<&str> = [mounts.as_str(), "--"].into_iter().chain(ganesha).collect();
        self.start("nsenter", &arguments)?;
        self.ready(2049)
    }

    /// A Samba file server with one share.
    ///
    /// # Errors
    /// When it does not come up (package samba).
    pub fn smbd(&mut self) -> Result<SocketAddr> {
        let dir = self.dir.join("samba");
        fs::create_dir(&dir).context("make Samba's directory")?;
        let mut config = "[global]\nserver role = standalone server\ninterfaces = lo\n\
                          bind interfaces only = yes\nsmb ports = 445\ndisable netbios = yes\n"
            .to_owned();
        for what in ["lock directory", "state directory", "cache directory"] {
            config.push_str(&format!("{what} = {}\n", dir.display()));
        }
        for what in ["private dir", "pid directory", "ncalrpc dir"] {
            config.push_str(&format!("{what} = {}\n", dir.display()));
        }
        config.push_str(&format!("[disk]\npath = {}\n", dir.display()));
        let path = self.file("smb.conf", &config)?;
        self.start("smbd", &["--foreground", "--no-process-group", "-s", &path, "--debug-stdout"])?;
        self.ready(445)
    }

    /// Python's HTTP server over a directory that holds one file, `health`.
    ///
    /// # Errors
    /// When it does not come up (package python3).
    pub fn http(&mut self) -> Result<SocketAddr> {
        let dir = self.dir.join("www");
        fs::create_dir(&dir).context("make a directory")?;
        fs::write(dir.join("health"), "well\n").context("make a file")?;
        let dir = dir.display().to_string();
        let module = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", &dir, "8080"];
        self.start("/usr/bin/python3", &module)?;
        self.ready(8080)
    }

    fn start(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        let name = format!("peer{}", self.processes.len());
        let launch = self.keeping.launch(&name, &self.namespace);
        self.processes.push(launch.start(Path::new(program), arguments)?);
        Ok(())
    }

    /// Waits until the server that was started last accepts connections.
    fn ready(&mut self, port: u16) -> Result<SocketAddr> {
        let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let namespace = &self.namespace;
        let process = self.processes.last_mut().context("no server has been started")?;
        process.wait_ready(START_WITHIN, || answers(namespace, at))?;
        Ok(at)
    }

    fn disk(&self, bytes: u64) -> Result<String> {
        let path = self.dir.join("disk");
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        file.set_len(bytes).with_context(|| format!("size {}", path.display()))?;
        Ok(path.display().to_string())
    }

    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }
}
