//! End to end: what an application gets through the attached program, against the kernel's own
//! forwarding between the same kind of namespaces, round by round.
//!
//! No offloads anywhere, with one exception: frames that a program sends over veth arrive only
//! where receiving is by NAPI, which is switched on there together with GRO. So the ends of the
//! redirected line have GRO, and the kernel's forwarding is measured twice, with and without it.
//! What redirecting over veth costs by itself is told by a third line, whose gateway does nothing
//! but hand frames on.
//!
//! The client has one CPU for itself and the server another, as far as there are two.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::Arguments;
use super::driver::{Driver, xdp};
use super::place::{GATEWAY_AT_CLIENT, GATEWAY_AT_SERVER, Place, Receiving, attach, link};
use crate::data_path::{Program, SERVICE_PORT, server_address, server_port};
use crate::report::{Report, Row};
use crate::run::Run;
use crate::wait::now;

/// Where the client works.
const CLIENT_CPU: usize = 0;
/// Where the server does.
const SERVER_CPU: usize = 1;
/// How long each kind of work is done in a round.
const WORK: Duration = Duration::from_millis(700);
/// Bytes of a request and of its answer.
const REQUEST_LEN: usize = 64;
/// Bytes written at a time in bulk.
const BULK_LEN: usize = 128 * 1024;
/// How long a read may take.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// What the client does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Sends as fast as it can: bytes.
    Bulk,
    /// One request after another on one connection: answers.
    Requests,
    /// Connects, asks once, closes: connections.
    Connections,
}

impl Work {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Bulk, "e2e_bulk"), (Self::Requests, "e2e_rr"), (Self::Connections, "e2e_crr")];

    /// First byte of a connection: what the server is to do with it.
    fn byte(self) -> u8 {
        match self {
            Self::Bulk => b'b',
            Self::Requests | Self::Connections => b'r',
        }
    }
}

/// Measures the rows that are asked for: ratios, and the rates that they are made of.
///
/// # Errors
///
/// When the kernel refuses, or a connection does.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    if !Work::ALL.iter().any(|(_, name)| arguments.wants(name)) {
        return Ok(());
    }
    let run = Run::new()?;
    let direct = Place::new(&run, "direct", Receiving::Plain)?;
    let direct_gro = Place::new(&run, "direct-gro", Receiving::Gro)?;
    let redirected = Place::new(&run, "redirected", Receiving::Gro)?;
    let _program = attached(&redirected)?;
    let at_server = SocketAddr::from((server_address(1), server_port(0)));
    let service = SocketAddr::from((redirected.service(), SERVICE_PORT));
    let bare = Place::new(&run, "bare", Receiving::Gro)?;
    let _handing_on = hand_on(&bare)?;
    let lines = [
        (&direct, at_server),
        (&direct_gro, at_server),
        (&bare, at_server),
        (&redirected, service),
    ];
    for (place, _) in lines {
        // Else the client's ports all wait out their time after some seconds of connecting, and
        // what is measured is its search for a free one.
        place.client.sysctl("net/ipv4/tcp_max_tw_buckets", "0")?;
    }
    let listeners = lines.iter().map(|(place, _)| place.server.listen(at_server));
    let listeners = listeners.collect::<Result<Vec<_>>>()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(|| stay_on(SERVER_CPU).map(|()| serve(listener, &done)));
        }
        let measured = rounds(arguments, report, lines);
        done.store(true, Ordering::Relaxed);
        // Wakes the listeners, who look whether all is done.
        for (place, to) in lines {
            let _ = place.client.enter(|| Ok(TcpStream::connect(to)?));
        }
        measured
    })
}

fn attached(place: &Place) -> Result<Program> {
    let mut program = place.load()?;
    for link in ["clients0", "servers0"] {
        attach(program.runner_mut().xdp_mut()?, &place.gateway, link)?;
    }
    Ok(program)
}

/// Lets the gateway hand on what comes from either end, unread, to the other one. The programs
/// live as long as what is given back.
fn hand_on(place: &Place) -> Result<[Driver; 2]> {
    let there = one_way(place, "clients0", "servers0")?;
    let back = one_way(place, "servers0", "clients0")?;
    // Each end takes the other one for its gateway.
    let ends = [
        (&place.client, GATEWAY_AT_CLIENT, &place.server),
        (&place.server, GATEWAY_AT_SERVER, &place.client),
    ];
    for (end, gateway, other) in ends {
        let (_, mac) = link(other, "eth0")?;
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        end.ip(&[format!("neighbour replace {gateway} lladdr {mac} dev eth0 nud permanent")])?;
    }
    Ok([there, back])
}

fn one_way(place: &Place, from: &str, to: &str) -> Result<Driver> {
    let mut driver = Driver::load()?;
    let (egress, _) = link(&place.gateway, to)?;
    driver.send_by(egress)?;
    attach(xdp(&mut driver.ebpf, "bare_redirect")?, &place.gateway, from)?;
    Ok(driver)
}

type Path<'a> = (&'a Place, SocketAddr);

fn rounds(arguments: &Arguments, report: &mut Report, lines: [Path<'_>; 4]) -> Result<()> {
    let rounds = arguments.rounds().max(3);
    for (work, name) in Work::ALL {
        if !arguments.wants(name) {
            continue;
        }
        let (mut ratios, mut ratios_gro, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        let mut ratios_bare = Vec::new();
        for _ in 0..rounds {
            let [plain, gro, bare, through] = lines.map(|(place, to)| {
                let measured =
                    place.client.enter(|| stay_on(CLIENT_CPU).and_then(|()| rate(work, to)));
                measured.with_context(|| format!("{name} to {to}"))
            });
            let through = through?;
            ratios.push(through / plain?);
            ratios_gro.push(through / gro?);
            ratios_bare.push(through / bare?);
            rates.push(through);
        }
        report.rows.push(Row::samples(name, "of direct", &ratios));
        report.rows.push(Row::samples(&format!("{name}_gro"), "of direct", &ratios_gro));
        report.rows.push(Row::samples(&format!("{name}_bare"), "of redirect", &ratios_bare));
        let unit = if work == Work::Bulk { "Gbit/s" } else { "1/s" };
        report.rows.push(Row::samples(&format!("{name}_rate"), unit, &rates));
    }
    Ok(())
}

/// Keeps the calling thread on a CPU, if there is one for each end.
fn stay_on(cpu: usize) -> Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Ok(());
    }
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("stay on CPU {cpu}"))
}

fn connect(to: SocketAddr, work: Work) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, READ_WITHIN)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_WITHIN))?;
    stream.set_write_timeout(Some(READ_WITHIN))?;
    stream.write_all(&[work.byte()])?;
    Ok(stream)
}

/// Does work for a while; gives gigabits, answers or connections a second.
fn rate(work: Work, to: SocketAddr) -> Result<f64> {
    let mut bytes = vec![0; if work == Work::Bulk { BULK_LEN } else { REQUEST_LEN }];
    let mut open = None;
    let start = now();
    let mut times = 0_u64;
    while start.elapsed() < WORK {
        let mut stream = match open.take() {
            Some(stream) => stream,
            None => connect(to, work)?,
        };
        stream.write_all(&bytes)?;
        if work != Work::Bulk {
            stream.read_exact(&mut bytes)?;
        }
        times += 1;
        if work != Work::Connections {
            open = Some(stream);
        }
    }
    if let Some(mut stream) = open.filter(|_| work == Work::Bulk) {
        // What has been written has not arrived: the server says when it has seen the end.
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_exact(&mut [0])?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let unit = if work == Work::Bulk { BULK_LEN as f64 * 8.0 / 1e9 } else { 1.0 };
    Ok(times as f64 * unit / seconds)
}

/// Serves one connection after another.
fn serve(listener: &TcpListener, done: &AtomicBool) {
    let mut bytes = vec![0; BULK_LEN];
    while let Ok((stream, _)) = listener.accept() {
        if done.load(Ordering::Relaxed) {
            return;
        }
        // A client that goes away early has its own error to tell.
        let _ = converse(stream, &mut bytes);
    }
}

fn converse(mut stream: TcpStream, bytes: &mut [u8]) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_WITHIN))?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    if kind == *b"b" {
        while stream.read(bytes)? > 0 {}
        stream.write_all(&[0])?;
        return Ok(());
    }
    loop {
        stream.read_exact(&mut bytes[..REQUEST_LEN])?;
        stream.write_all(&bytes[..REQUEST_LEN])?;
    }
}
