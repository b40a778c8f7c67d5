//! A whole lab: networks, storage, servers, devices, and the redirector between clients and
//! servers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use redirector_common::wire::ABI_VERSION;
use redirector_ctl::platform::store::{self, State};

use crate::api::Api;
use crate::data_path::Version;
use crate::device::{Device, Kind};
use crate::groups::Group;
use crate::io::BLOCK_BYTES;
use crate::netns::{Connection, Namespace};
use crate::process::{Keeping, Launch, Life};
use crate::redirector::{Bpffs, Health, Redirector, config_text};
use crate::run::Run;
use crate::servers::Server;
use crate::storage::Storage;
use crate::topology::{Network, Topology, is_gateway};
use crate::wait::{self, Look};

/// From starting a client's program to its first I/O.
const CONNECTED_WITHIN: Duration = Duration::from_secs(15);

/// What a lab is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Clients c1, c2, ..
    pub clients_len: u8,
    /// Servers s1, s2, ..
    pub servers_len: u8,
    /// The devices.
    pub devices: Vec<Device>,
    /// Health checks.
    pub health: Health,
    /// Memory that an echo server keeps for each connection that has asked something.
    pub session_bytes: u64,
    /// Whether its programs may outlive the harness.
    pub life: Life,
}

impl Plan {
    /// Two clients, three servers, two disks of `disk_bytes` and two echo services.
    pub fn standard(disk_bytes: u64) -> Self {
        Self {
            clients_len: 2,
            servers_len: 3,
            devices: Device::standard_set(disk_bytes),
            health: Health::default(),
            session_bytes: 0,
            life: Life::WithHarness,
        }
    }
}

/// A lab that exists. Dropping it removes all of it: fields are dropped from first to last,
/// programs before the groups and namespaces they are in, mounts before the directory they are in.
#[derive(Debug)]
pub struct Lab {
    /// The redirector.
    pub redirector: Redirector,
    /// The servers by name.
    pub servers: BTreeMap<String, Server>,
    storage: Storage,
    /// The networks.
    pub network: Network,
    bpffs: Bpffs,
    keeping: Keeping,
    plan: Plan,
    run: Run,
    _turn: MutexGuard<'static, ()>,
}

/// One lab at a time in a process: tests run in parallel threads, and figures of labs that share
/// two cores would say nothing.
static TURN: Mutex<()> = Mutex::new(());

impl Lab {
    /// Builds the networks and starts storage and servers; the redirector is configured, not
    /// started.
    ///
    /// # Errors
    /// When a part does not come up. What was made until then goes.
    pub fn build(plan: Plan) -> Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let run = Run::new()?;
        let keeping = Keeping { log_dir: run.subdir("logs")?, life: plan.life };
        let bpffs = Bpffs::mount(&run)?;
        let mut topology = Topology::standard(plan.clients_len, plan.servers_len);
        if plan.devices.iter().any(|device| device.version == Version::V6) {
            topology.speaks = Version::V6;
        }
        let network = topology.build(&run)?;
        let gateway = topology.hosts.iter().find(|host| host.forwards);
        let gateway = gateway.context("a topology without a gateway")?;
        network.make_xdp_peers(gateway, bpffs.dir())?;

        let sizes: Vec<(&str, u64)> = plan
            .devices
            .iter()
            .filter_map(|device| match device.kind {
                Kind::Disk { bytes } => Some((device.name.as_str(), bytes)),
                Kind::Echo => None,
            })
            .collect();
        let storage =
            Storage::start(network.host("storage")?, run.subdir("disks")?, &sizes, &keeping)?;
        let mut servers = BTreeMap::new();
        for number in 1..=plan.servers_len {
            let name = format!("s{number}");
            let mut server = Server::new(&name, Group::new(&run, &name)?);
            server.start(network.host(&name)?, &plan, &keeping)?;
            servers.insert(name, server);
        }
        let config =
            config_text(run.dir(), bpffs.dir(), plan.servers_len, &plan.devices, plan.health);
        let redirector = Redirector::new(run.dir(), &config, &keeping)?;
        Ok(Self { redirector, servers, storage, network, bpffs, keeping, plan, run, _turn: turn })
    }

    /// Builds a lab and starts its redirector; returns when every server is measured healthy.
    ///
    /// # Errors
    /// As [`Lab::build`], or when the daemon does not come up.
    pub fn start(plan: Plan) -> Result<Self> {
        let mut lab = Self::build(plan)?;
        lab.start_redirector()?;
        lab.redirector.wait_until_all_healthy()?;
        Ok(lab)
    }

    /// Starts the daemon in the gateway.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_redirector(&mut self) -> Result<()> {
        self.redirector.start(self.network.host("gateway")?)
    }

    /// A client of the daemon's API.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn api(&self) -> Result<Api> {
        self.redirector.api()
    }

    /// The device called `name`.
    ///
    /// # Errors
    /// When the plan has none.
    pub fn device(&self, name: &str) -> Result<&Device> {
        let mut devices = self.plan.devices.iter();
        devices.find(|device| device.name == name).with_context(|| format!("no device {name}"))
    }

    /// The server called `name`.
    ///
    /// # Errors
    /// When the plan has none.
    pub fn server(&mut self, name: &str) -> Result<&mut Server> {
        self.servers.get_mut(name).with_context(|| format!("no server {name}"))
    }

    /// Starts the programs of a server that was killed.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn restart_server(&mut self, name: &str) -> Result<()> {
        let server = self.servers.get_mut(name).with_context(|| format!("no server {name}"))?;
        server.start(self.network.host(name)?, &self.plan, &self.keeping)
    }

    /// A launch of a program called `name` on a client.
    ///
    /// # Errors
    /// When there is no such client.
    pub fn on_client<'a>(&'a self, client: &str, name: &'a str) -> Result<Launch<'a>> {
        Ok(self.keeping.launch(name, self.network.host(client)?))
    }

    /// A launch of a program called `name` on the gateway.
    ///
    /// # Errors
    /// When the lab has no gateway.
    pub fn on_gateway<'a>(&'a self, name: &'a str) -> Result<Launch<'a>> {
        Ok(self.keeping.launch(name, self.network.host("gateway")?))
    }

    /// A client's namespace.
    ///
    /// # Errors
    /// When there is no such client.
    pub fn client(&self, name: &str) -> Result<&Namespace> {
        self.network.host(name)
    }

    /// The open connections of a device at one server, by the server's own kernel: the clients'
    /// ends.
    ///
    /// # Errors
    /// When there is no such server or device, or `ss` fails.
    pub fn connections(&self, server: &str, device: &str) -> Result<Vec<Connection>> {
        let port = self.device(device)?.server_port;
        let mut connections = self.network.host(server)?.connections_at(port)?;
        connections.retain(|connection| {
            let from = connection.remote.ip();
            !is_gateway(from) && !from.is_loopback()
        });
        Ok(connections)
    }

    /// The connection of a client's program that has begun to work through a device, and the server
    /// that has it, whatever the redirector says.
    ///
    /// # Errors
    /// When none is found in time.
    pub fn working_connection(&self, device: &str) -> Result<(String, Connection)> {
        wait::until(&format!("a client's I/O on {device}"), CONNECTED_WITHIN, || {
            let mut seen = Vec::new();
            for server in self.servers.keys() {
                let connections = self.connections(server, device)?;
                // A client may first open a connection that only asks for the disk's size.
                let mut working =
                    connections.iter().filter(|one| one.received_bytes >= BLOCK_BYTES);
                if let Some(connection) = working.next() {
                    return Ok(Look::Done((server.clone(), *connection)));
                }
                seen.push((server, connections));
            }
            Ok(Look::NotYet(format!("{seen:?}")))
        })
    }

    /// The file behind a disk.
    pub fn backing_file(&self, disk: &str) -> PathBuf {
        self.storage.backing_file(disk)
    }

    /// What it is made of.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its name and directory.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The directory of the pinned tables.
    pub fn pins(&self) -> PathBuf {
        self.bpffs.dir().join("redirector").join(format!("abi-{ABI_VERSION}"))
    }

    /// What the daemon has on disk: its desired state.
    ///
    /// # Errors
    /// When there is no such state, or it is damaged.
    pub fn state(&self) -> Result<State> {
        let dir = self.run.dir().join("state");
        // The daemon may put a new state file in its place between the looks at the two files.
        let read = || store::read(&dir).with_context(|| format!("the state in {}", dir.display()));
        read().or_else(|_| read())?.with_context(|| format!("no state in {}", dir.display()))
    }

    /// Its bpffs.
    pub fn bpffs(&self) -> &Bpffs {
        &self.bpffs
    }
}
