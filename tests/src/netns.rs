//! Network namespaces that go when their value is dropped, and two ways in: a closure on a thread
//! of its own, or a program.
//!
//! Only the network namespace is entered. `ip netns exec` would also remount /sys and so hide every
//! bpffs from the program.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use crate::cleanup::{self, Guard, Undo};
use crate::run::Run;
use crate::wait::{self, Look};

/// Where iproute2 keeps named namespaces.
pub const NETNS_DIR: &str = "/run/netns";
/// How long an address may be taken that we want to listen on.
const FREE_WITHIN: Duration = Duration::from_secs(5);

/// A network namespace of ours.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    _guard: Guard,
}

impl Namespace {
    /// Makes a namespace named after the lab and `role`, with loopback up and IPv6 off (its
    /// neighbour and router chatter is noise in captures).
    ///
    /// # Errors
    /// When `ip netns add` fails, most likely because we are not root.
    pub fn new(run: &Run, role: &str) -> Result<Self> {
        let name = run.name(role);
        let ((), guard) = cleanup::make(|| {
            run_quietly(Command::new("ip").args(["netns", "add", &name]))
                .context("make a network namespace (needs root)")?;
            Ok(((), Undo::DeleteNamespace(name.clone())))
        })?;
        let namespace = Self { name, _guard: guard };
        namespace.ip(&["link set lo up"])?;
        namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        Ok(namespace)
    }

    /// The namespace's name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that names the namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(NETNS_DIR).join(&self.name)
    }

    /// Runs `work` on a thread that is inside the namespace, and waits for it. Sockets made there
    /// stay in the namespace wherever they are used afterwards.
    ///
    /// # Errors
    /// When the namespace cannot be entered, `work` fails or panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter_this_thread()?;
                work()
            });
            inside.join().map_err(|_| anyhow!("a thread inside {} panicked", self.name))?
        })
    }

    /// Moves the calling thread into the namespace for the rest of its life. For threads of one's
    /// own; use [`Namespace::enter`] otherwise.
    ///
    /// # Errors
    /// When the namespace is gone or we are not root.
    pub fn enter_this_thread(&self) -> Result<()> {
        enter_thread(&self.path())
    }

    /// A command that will run `program` inside the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs lines of `ip` (without the word `ip`) in the namespace, all in one process.
    ///
    /// # Errors
    /// The first line that fails, with what `ip` says.
    pub fn ip(&self, lines: &[impl AsRef<str>]) -> Result<()> {
        let batch: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start ip (package iproute2)")?;
        let mut stdin = child.stdin.take().context("ip has no standard input")?;
        stdin.write_all(batch.as_bytes()).context("write to ip")?;
        drop(stdin);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("ip in {}: {}\nthe lines were:\n{batch}", self.name, said.trim());
        }
        Ok(())
    }

    /// Sets a kernel parameter of the namespace; `key` with slashes, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the kernel has no such parameter or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = PathBuf::from("/proc/sys").join(key);
        self.enter(|| std::fs::write(&path, value).with_context(|| format!("set {key} to {value}")))
    }

    /// Listens inside the namespace.
    ///
    /// Another thread of ours may be between fork and exec: then its child still holds a listener
    /// that we have closed, and the address is taken for a moment.
    ///
    /// # Errors
    /// When the address stays taken or is not of this namespace.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        let bind = || match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                Ok(Look::NotYet(error.to_string()))
            }
            bound => Ok(Look::Done(bound?)),
        };
        let listening = format!("listen on {address}");
        self.enter(|| wait::until("the address to be free", FREE_WITHIN, bind).context(listening))
    }

    /// Established TCP connections of the namespace whose local port is `port`, as the kernel's own
    /// table (`ss`) has them, sorted by their remote ends.
    ///
    /// # Errors
    /// When `ss` fails or prints what cannot be read.
    pub fn connections_at(&self, port: u16) -> Result<Vec<Connection>> {
        let filter = format!("sport = :{port}");
        let mut ss = self.command("ss");
        ss.args(["--no-header", "--tcp", "--numeric", "--info", "--oneline"]);
        ss.args(["state", "established", &filter]);
        let text = run_quietly(&mut ss).context("list connections (package iproute2)")?;
        let mut connections = text
            .lines()
            .map(|line| {
                let connection = Connection::from_ss(line);
                connection.with_context(|| format!("ss printed what has no peer: {line:?}"))
            })
            .collect::<Result<Vec<_>>>()?;
        connections.sort();
        Ok(connections)
    }
}

/// An established connection, seen from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// The other end.
    pub remote: SocketAddr,
    /// Bytes of payload that came in.
    pub received_bytes: u64,
}

impl Connection {
    /// Reads a line `Recv-Q Send-Q Local Peer .. bytes_received:N ..`; that item is left out while
    /// N is 0.
    fn from_ss(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let remote: SocketAddr = words.nth(3)?.parse().ok()?;
        // A socket of both families has its IPv4 peers in IPv6's form.
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let received = words.find_map(|word| word.strip_prefix("bytes_received:"));
        let received_bytes = received.map_or(Some(0), |bytes| bytes.parse().ok())?;
        Some(Self { remote, received_bytes })
    }
}

/// Moves the calling thread into the namespace named by `path`.
///
/// # Errors
/// When the namespace is gone or we are not root.
pub fn enter_thread(path: &std::path::Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("enter the namespace {}", path.display()))
}

/// Runs a short command to its end and keeps its words for the error.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub fn run_quietly(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ss_tells_the_peer_and_what_came_from_it() {
        let line =
            "0 0 10.0.2.11:10901 10.0.1.11:4000 cubic rto:204 bytes_acked:5 bytes_received:77";
        let remote = "10.0.1.11:4000".parse().unwrap();
        assert_eq!(Connection::from_ss(line), Some(Connection { remote, received_bytes: 77 }));
        let fresh = "0 0 10.0.2.11:10901 10.0.1.11:4000 cubic rto:1000 cwnd:10";
        assert_eq!(Connection::from_ss(fresh), Some(Connection { remote, received_bytes: 0 }));
        assert_eq!(Connection::from_ss("0 0 somewhere"), None);
    }
}
