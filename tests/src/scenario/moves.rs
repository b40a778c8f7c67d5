//! Random moves of devices while they are in use: open flows stay, new flows follow, no I/O fails.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use super::io_load::IoLoad;
use super::{Outcome, ledger};
use crate::api::Api;
use crate::device::{Device, Kind};
use crate::flows::Flows;
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

/// Moves a random device to a random other server `moves` times.
///
/// # Errors
/// When the lab itself fails. Broken promises are in the outcome.
pub fn run(lab: &mut Lab, moves: u64, seed: u64) -> Result<Outcome> {
    let api = lab.api()?;
    let mut random = Random::new(seed);
    let mut violations = Vec::new();
    let mut io = IoLoad::start(lab, seed)?;
    let clients = [Flows::from(lab.client("c1")?)?, Flows::from(lab.client("c2")?)?];
    for device in echo_devices(lab) {
        for _ in 0..FLOWS_BEFORE {
            clients.iter().try_for_each(|client| client.open(device.service()).map(drop))?;
        }
    }

    let (mut move_ms, mut disk_flows) = (Vec::new(), 0);
    let mut pace = Pace::every(MOVE_INTERVAL);
    for number in 0..moves {
        let device = random.choose(&lab.plan().devices).clone();
        let target = other_server(lab, &api, &device, &mut random)?;
        let began = wait::now();
        api.move_device(&device.name, &target)?;
        move_ms.push(began.elapsed().as_secs_f64() * 1000.0);
        let client = random.below(clients.len());
        let problem = match device.kind {
            Kind::Echo => new_echo_flow(&clients[client], &device, &target)?,
            Kind::Disk { .. } => {
                disk_flows += 1;
                new_disk_flow(lab, client, &device, &target)?
            }
        };
        violations.extend(problem.map(|problem| format!("move {number}: {problem}")));
        io.keep_going(lab)?;
        pace.beat();
    }

    let io = io.finish(lab)?;
    let mut flows = Vec::new();
    for client in clients {
        flows.extend(client.close());
    }
    violations.extend(flows.iter().flat_map(|flow| flow.violations()));
    violations.extend(ledger::differences(lab, &flows)?);
    let answers: u64 = flows.iter().map(|flow| flow.answers).sum();
    let flow_violations = violations.len() as u64;
    let io_errors = io.violations.len() as u64;
    violations.extend(io.violations);
    Ok(Outcome {
        rows: vec![
            Row::promise("moves", "moves", moves, violations.len() as u64),
            Row::promise("moves_flows", "flows", flows.len() as u64 + disk_flows, flow_violations),
            Row::promise("moves_io", "MiB", io.verified_bytes >> 20, io_errors),
            Row::samples("move", "ms", &move_ms),
        ],
        violations,
        notes: vec![format!("{} flows gave {answers} answers during the moves", flows.len())],
    })
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

/// Opens a flow that must be on `target`, and leaves it open.
fn new_echo_flow(client: &Flows, device: &Device, target: &str) -> Result<Option<String>> {
    let flow = client.open(device.service())?;
    let server = flow.server_name();
    Ok((server != target).then(|| {
        format!("{}: the new flow {} is on {server}, not on {target}", device.name, flow.local)
    }))
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
