//! Random moves of devices while they are in use: open flows stay, new flows follow, no I/O fails.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use super::io_load::IoLoad;
use super::{Outcome, ledger};
use crate::api::Api;
use crate::device::{Device, Kind};
use crate::flows::{Flow, Flows};
use crate::lab::Lab;
use crate::random::Random;
use crate::report::Row;
use crate::wait::{self, Pace};

/// Time from one move to the next, if the daemon is that fast.
const MOVE_INTERVAL: Duration = Duration::from_millis(120);
/// Flows opened on each echo device before the first move.
const FLOWS_BEFORE: u32 = 5;
/// The first bytes of an NBD server's greeting: NBDMAGIC, IHAVEOPT, flags.
const NBD_GREETING_LEN: usize = 18;
/// A client's patience with one connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What the moves are like.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Name of the row.
    pub row: &'static str,
    /// How many.
    pub moves: u64,
    /// Chooses devices, servers and contents.
    pub seed: u64,
    /// Every echo device drains from so many of its earlier moves at once, before the first move
    /// that counts and from then on. With 0 its flows stay open from the beginning to the end.
    pub drains_min: usize,
}

/// Moves a random device to a random other server again and again.
///
/// # Errors
/// When the lab itself fails. Broken promises are in the outcome.
pub fn run(lab: &mut Lab, course: Course) -> Result<Outcome> {
    let Course { row, moves, seed, .. } = course;
    let mut violations = Vec::new();
    let mut io = IoLoad::start(lab, seed)?;
    let mut mover = Mover::new(lab, course)?;
    mover.begin(lab)?;
    let mut pace = Pace::every(MOVE_INTERVAL);
    for number in 0..moves {
        let device = mover.random.choose(&lab.plan().devices).clone();
        let problem = mover.move_once(lab, &device)?;
        violations.extend(problem.map(|problem| format!("move {number}: {problem}")));
        mover.look_at_drains(lab)?;
        io.keep_going(lab)?;
        pace.beat();
    }

    let io = io.finish(lab)?;
    let Mover { clients, move_ms, disk_flows, drains_len, .. } = mover;
    let flows: Vec<Flow> = clients.into_iter().flat_map(Flows::close).collect();
    violations.extend(ledger::violations(lab, &flows)?);
    let answers: u64 = flows.iter().map(|flow| flow.answers).sum();
    let flow_violations = violations.len() as u64;
    let io_errors = io.violations.len() as u64;
    violations.extend(io.violations);
    let (flows_len, of) = (flows.len() as u64 + disk_flows, |what| format!("{row}_{what}"));
    let mut rows = vec![
        Row::promise(row, "moves", moves, violations.len() as u64),
        Row::promise(&of("flows"), "flows", flows_len, flow_violations),
        Row::promise(&of("io"), "MiB", io.verified_bytes >> 20, io_errors),
        Row::samples(if row == "moves" { "move" } else { "move_while_draining" }, "ms", &move_ms),
    ];
    rows.extend(Row::samples(&of("at_once"), "drains", &drains_len).of_something());
    let note = format!("{} flows gave {answers} answers during the moves", flows.len());
    Ok(Outcome { rows, violations, notes: vec![note] })
}

/// Who moves, and what was opened meanwhile.
struct Mover {
    course: Course,
    api: Api,
    random: Random,
    clients: [Flows; 2],
    /// Open flows of each echo device that are to be closed some day, oldest first: client, flow.
    kept: BTreeMap<String, VecDeque<(usize, Flow)>>,
    move_ms: Vec<f64>,
    disk_flows: u64,
    /// Drains of each echo device after each move.
    drains_len: Vec<f64>,
}

impl Mover {
    fn new(lab: &Lab, course: Course) -> Result<Self> {
        Ok(Self {
            course,
            api: lab.api()?,
            random: Random::new(course.seed),
            clients: [Flows::from(lab.client("c1")?)?, Flows::from(lab.client("c2")?)?],
            kept: BTreeMap::new(),
            move_ms: Vec::new(),
            disk_flows: 0,
            drains_len: Vec::new(),
        })
    }

    /// Opens what is open before the first move that counts.
    fn begin(&mut self, lab: &Lab) -> Result<()> {
        for device in echo_devices(lab) {
            for _ in 0..FLOWS_BEFORE {
                for client in 0..self.clients.len() {
                    let flow = self.clients[client].open(device.service())?;
                    self.keep(&device.name, client, flow);
                }
            }
            for _ in 0..self.course.drains_min {
                let problem = self.move_once(lab, &device)?;
                anyhow::ensure!(problem.is_none(), "before the first move: {problem:?}");
            }
        }
        self.move_ms.clear();
        Ok(())
    }

    /// Moves a device and opens a flow, which must be on the target.
    fn move_once(&mut self, lab: &Lab, device: &Device) -> Result<Option<String>> {
        let target = other_server(lab, &self.api, device, &mut self.random)?;
        let began = wait::now();
        self.api.move_device(&device.name, &target)?;
        self.move_ms.push(began.elapsed().as_secs_f64() * 1000.0);
        let client = self.random.below(self.clients.len());
        match device.kind {
            Kind::Echo => {
                let flow = self.clients[client].open(device.service())?;
                let problem = elsewhere(device, &flow, &target);
                self.keep(&device.name, client, flow);
                Ok(problem)
            }
            Kind::Disk { .. } => {
                self.disk_flows += 1;
                new_disk_flow(lab, client, device, &target)
            }
        }
    }

    /// Notes an open flow. Of those that make a device drain only as many stay as are needed.
    fn keep(&mut self, device: &str, client: usize, flow: Flow) {
        if self.course.drains_min == 0 {
            return;
        }
        let kept = self.kept.entry(device.to_owned()).or_default();
        kept.push_back((client, flow));
        // One flow for each drain, and one of the present association.
        while kept.len() > self.course.drains_min + 1
            && let Some((client, flow)) = kept.pop_front()
        {
            self.clients[client].give_up(&flow);
        }
    }

    fn look_at_drains(&mut self, lab: &Lab) -> Result<()> {
        let wanted = self.course.drains_min;
        if wanted == 0 {
            return Ok(());
        }
        for device in echo_devices(lab) {
            let drains = self.api.device(&device.name)?.association.drains;
            let len = drains.len();
            let name = &device.name;
            anyhow::ensure!(len >= wanted, "{name} drains from {len} associations: {drains:?}");
            self.drains_len.push(len as f64);
        }
        Ok(())
    }
}

fn echo_devices(lab: &Lab) -> Vec<Device> {
    let devices = lab.plan().devices.iter();
    devices.filter(|device| device.kind == Kind::Echo).cloned().collect()
}

/// A server that the device is not on.
fn other_server(lab: &Lab, api: &Api, device: &Device, random: &mut Random) -> Result<String> {
    let current = api.device(&device.name)?.association.server;
    let others: Vec<&String> = lab.servers.keys().filter(|name| **name != current).collect();
    Ok((*random.choose(&others)).clone())
}

/// What is wrong if a new flow is not on `target`.
fn elsewhere(device: &Device, flow: &Flow, target: &str) -> Option<String> {
    let server = flow.server_name();
    (server != target).then(|| {
        format!("{}: the new flow {} is on {server}, not on {target}", device.name, flow.local)
    })
}

/// Opens a connection to a disk and looks for it in the table of the target's kernel.
fn new_disk_flow(
    lab: &Lab,
    client: usize,
    device: &Device,
    target: &str,
) -> Result<Option<String>> {
    let client = lab.client(&format!("c{}", client + 1))?;
    let stream = greeted(client, device.service())?;
    let local = stream.local_addr()?;
    let connections = lab.connections(target, &device.name)?;
    let is_there = connections.iter().any(|connection| connection.remote == local);
    Ok((!is_there).then(|| format!("{}: {target} does not have the new flow {local}", device.name)))
}

/// Connects to an NBD device and takes the server's greeting.
///
/// # Errors
/// When nothing answers in time, or something that is no NBD server.
pub fn greeted(client: &crate::netns::Namespace, address: SocketAddr) -> Result<TcpStream> {
    let mut stream = client.enter(|| {
        TcpStream::connect_timeout(&address, CONNECT_WITHIN)
            .with_context(|| format!("connect to {address}"))
    })?;
    stream.set_read_timeout(Some(CONNECT_WITHIN))?;
    let mut greeting = [0; NBD_GREETING_LEN];
    stream.read_exact(&mut greeting).with_context(|| format!("the greeting of {address}"))?;
    anyhow::ensure!(&greeting[..8] == b"NBDMAGIC", "{address} greets with {greeting:02x?}");
    Ok(stream)
}
