//! HAProxy in the place of the redirector, to die beside: the same networks, servers, clients and
//! deaths, one service address, two servers of which the second stands by.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Outcome;
use super::failover::{self, Case, DEATHS, DEVICE, Load};
use super::gate::Gate;
use crate::lab::{Lab, Plan};
use crate::process::Process;
use crate::topology::{GATEWAY_CLIENT_SIDE, server_address};
use crate::wait::{self, Look};

/// From the start to an answer on the statistics socket, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(10);
/// From repair to a server that is up, at two checks of two seconds each and some patience.
const UP_WITHIN: Duration = Duration::from_secs(30);
/// The server that has the device, and the one that stands by.
const SERVERS: [(&str, u8); 2] = [("s1", 1), ("s2", 2)];

/// How it is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    /// `check` as it comes, with the time-outs of Debian's own file.
    Default,
    /// As fast as its documentation allows without agents.
    Tuned,
}

impl Tuning {
    /// Name of the row.
    pub fn row(self) -> &'static str {
        match self {
            Self::Default => "haproxy_default",
            Self::Tuned => "haproxy_tuned",
        }
    }

    /// Its lines of the configuration.
    fn lines(self) -> &'static str {
        match self {
            Self::Default => {
                "    timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n"
            }
            // A refused or unanswered connection marks the server down by itself, and is tried
            // again at the other one; a server that is marked down has its sessions ended.
            Self::Tuned => {
                "    timeout connect 20ms\n    timeout check 20ms\n    timeout client 50s\n    \
                 timeout server 50s\n    retries 3\n    option redispatch 1\n    default-server \
                 inter 20ms fastinter 10ms downinter 20ms fall 1 rise 2 observe layer4 \
                 error-limit 1 on-error mark-down on-marked-down shutdown-sessions\n"
            }
        }
    }
}

/// A running HAProxy.
pub struct HaProxy {
    _process: Process,
    socket: PathBuf,
}

impl HaProxy {
    /// Starts it on the lab's gateway, for [`DEVICE`].
    ///
    /// # Errors
    /// When it does not come up (package haproxy).
    pub fn start(lab: &Lab, tuning: Tuning) -> Result<Self> {
        let dir = lab.run().dir();
        let socket = dir.join(format!("{}.sock", tuning.row()));
        let device = lab.device(DEVICE)?;
        let gateway = lab.network.host("gateway")?;
        gateway.ip(&[format!("address add {}/32 dev {GATEWAY_CLIENT_SIDE}", device.address)])?;
        let mut config = format!(
            "global\n    stats socket {} mode 600\n\ndefaults\n    mode tcp\n{}\n\
             listen {DEVICE}\n    bind {}\n",
            socket.display(),
            tuning.lines(),
            device.service()
        );
        for ((name, number), stands_by) in SERVERS.iter().zip(["", " backup"]) {
            let (address, port) = (server_address(*number), device.server_port);
            config += &format!("    server {name} {address}:{port} check{stands_by}\n");
        }
        let path = dir.join(format!("{}.cfg", tuning.row()));
        fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        let launch = lab.on_gateway(tuning.row())?;
        let arguments = ["-db", "-f", &path.to_string_lossy()];
        let mut process = launch.start(Path::new("haproxy"), &arguments)?;
        process.wait_ready(START_WITHIN, || status_of(&socket, "s1").map(drop))?;
        Ok(Self { _process: process, socket })
    }

    fn wait_until(&self, server: &str, status: &str, within: Duration) -> Result<()> {
        wait::until(&format!("{server} to be {status}"), within, || {
            let seen = status_of(&self.socket, server)?;
            Ok(if seen == status { Look::Done(()) } else { Look::NotYet(seen) })
        })
    }
}

impl Gate for HaProxy {
    fn server(&self, _: &Lab) -> Result<String> {
        // It fails back by itself.
        self.wait_until("s2", "UP", UP_WITHIN)?;
        self.wait_until("s1", "UP", UP_WITHIN)?;
        Ok("s1".to_owned())
    }

    fn wait_until_away_from(&self, _: &Lab, victim: &str, within: Duration) -> Result<()> {
        self.wait_until(victim, "DOWN", within)
    }

    fn confirm(&self, _: &Lab, survivor: &str) -> Result<()> {
        ensure!(survivor == "s2", "{survivor} serves, which was given to nobody");
        Ok(())
    }

    fn wait_until_well(&self, _: &Lab, server: &str) -> Result<()> {
        self.wait_until(server, "UP", UP_WITHIN)
    }

    fn tells_clients(&self) -> bool {
        false
    }
}

/// What it says of a server: `UP`, `DOWN`, or one of these on the way to the other.
fn status_of(socket: &Path, server: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("connect to HAProxy at {}", socket.display()))?;
    stream.set_read_timeout(Some(START_WITHIN))?;
    stream.write_all(b"show stat\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default().trim_start_matches("# ");
    let column = |name| header.split(',').position(|known| known == name);
    let (Some(name_at), Some(status_at)) = (column("svname"), column("status")) else {
        bail!("HAProxy's statistics have other columns: {header}");
    };
    let fields = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mut rows = lines.map(fields).filter(|row| row.get(name_at).is_some_and(|n| n == server));
    let row = rows.next().with_context(|| format!("HAProxy does not know {server}"))?;
    row.get(status_at).cloned().context("HAProxy's statistics are cut off")
}

/// Deaths of a busy server in front of which HAProxy stands, as often as `runs` in each way.
///
/// # Errors
/// When the lab itself fails, or HAProxy is not installed (package haproxy).
pub fn run(tuning: Tuning, runs: u64, plan: Plan) -> Result<Outcome> {
    let mut lab = Lab::build(plan)?;
    let haproxy = HaProxy::start(&lab, tuning)?;
    let case = Case { row: tuning.row(), faults: &DEATHS, load: Load::Busy };
    let mut outcome = failover::run(&mut lab, &haproxy, case, runs)?;
    // It is no promise of ours: what it does not serve in time is told, not held against us.
    outcome.notes.append(&mut outcome.violations);
    outcome.rows.iter_mut().for_each(|row| row.violations = None);
    Ok(outcome)
}
