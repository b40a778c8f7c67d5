//! How long a change takes until packets see it: from the call that makes it to the first packet
//! that goes elsewhere.
//!
//! One thread changes tables, another runs packets without pause and notes when one went elsewhere.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use redirector_common::tcp::SYN;
use redirector_ctl::core::op::{AssociationWord, Op, ServerState};
use redirector_ctl::platform::bpf::TableLimits;
use redirector_ctl::platform::tables::Tables;

use super::Arguments;
use crate::data_path::packets::from_client;
use crate::data_path::program::{Program, Runner};
use crate::data_path::{SERVICE_PORT, TCP, device_address, on, server_state, topology};
use crate::report::{Report, Row};
use crate::wait::{Look, now, until};

/// Devices of one commit.
const DEVICES: u32 = 10_000;
/// Changes of one kind in a round.
const CHANGES: u64 = 20;
/// How long a change may take.
const WITHIN: Duration = Duration::from_secs(5);

/// A kind of change: a row, the unit of a second, and the op for the `n`th change.
type Kind = (&'static str, &'static str, f64, fn(u64) -> Op);

const KINDS: [Kind; 3] = [
    ("move_visible_us", "us", 1e6, moved),
    ("death_visible_us", "us", 1e6, died),
    ("commit_10k_visible_ms", "ms", 1e3, committed),
];

fn server_of(n: u64) -> u16 {
    1 + (n % 2) as u16
}

fn moved(n: u64) -> Op {
    Op::CommitAssociations { words: vec![(0, on(server_of(n)))] }
}

/// Server 1 is the device's own and server 2 its backup: the packets change with each turn of 1.
fn died(n: u64) -> Op {
    let state = if server_of(n) == 1 { ServerState::Alive } else { ServerState::Dead };
    server_state(1, state)
}

fn committed(n: u64) -> Op {
    let words = (0..DEVICES).map(|id| (id, on(server_of(n)))).collect();
    Op::CommitAssociations { words }
}

/// Measures the rows that are asked for.
///
/// # Errors
///
/// When the kernel refuses, or a change is never seen.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    if !KINDS.iter().any(|(name, ..)| arguments.wants(name)) {
        return Ok(());
    }
    let limits = TableLimits { devices_max: 16_384, ..TableLimits::default() };
    let mut program = Program::load_here(&limits)?;
    program.apply(&topology(2, 1, TCP))?;
    let changes = CHANGES * u64::from(arguments.rounds());
    for (name, unit, per_second, change) in KINDS {
        if !arguments.wants(name) {
            continue;
        }
        let first = AssociationWord { backup: 2, ..on(1) };
        let word = if name.starts_with("death") { first } else { on(1) };
        program.apply(&[Op::CommitAssociations { words: vec![(0, word)] }])?;
        let (tables, runner) = program.split();
        let took = watch(tables, runner, changes, change)?;
        let samples: Vec<f64> = took.iter().map(|t| t.as_secs_f64() * per_second).collect();
        report.rows.push(Row::samples(name, unit, &samples));
    }
    Ok(())
}

fn watch(
    tables: &mut Tables,
    runner: &Runner,
    changes: u64,
    change: fn(u64) -> Op,
) -> Result<Vec<Duration>> {
    let done = AtomicBool::new(false);
    let seen: Mutex<(u8, Instant)> = Mutex::new((1, now()));
    std::thread::scope(|scope| {
        let packets = scope.spawn(|| {
            let result = look(runner, &seen, &done);
            done.store(true, Ordering::Relaxed);
            result
        });
        let took = make(tables, changes, change, &seen);
        done.store(true, Ordering::Relaxed);
        packets.join().map_err(|_| anyhow::anyhow!("the thread of packets panicked"))??;
        took
    })
}

/// Runs packets; notes which server the last change of servers was to, and when the first packet
/// went there.
fn look(runner: &Runner, seen: &Mutex<(u8, Instant)>, done: &AtomicBool) -> Result<()> {
    let client = (std::net::Ipv4Addr::new(10, 1, 9, 1), 40_000);
    let frame = from_client(client, (device_address(0), SERVICE_PORT), SYN, (1, 0)).bytes();
    let mut last = 1;
    while !done.load(Ordering::Relaxed) {
        let outcome = runner.run(&frame)?;
        let server = *outcome.frame.get(33).context("a frame with an IP header")?;
        if server != last {
            last = server;
            *seen.lock().map_err(|_| anyhow::anyhow!("the other thread panicked"))? =
                (server, now());
        }
    }
    Ok(())
}

fn make(
    tables: &mut Tables,
    changes: u64,
    change: fn(u64) -> Op,
    seen: &Mutex<(u8, Instant)>,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for n in 1..=changes {
        let op = change(n);
        let wanted = server_of(n) as u8;
        let before = now();
        tables.apply(&op)?;
        let at = until("a packet that sees the change", WITHIN, || {
            let (server, at) =
                *seen.lock().map_err(|_| anyhow::anyhow!("the other thread panicked"))?;
            Ok(if server == wanted {
                Look::Done(at)
            } else {
                Look::NotYet(format!("packets go to server {server}"))
            })
        })?;
        took.push(at.saturating_duration_since(before));
    }
    // The last change is undone, so that the next kind begins as this one did.
    tables.apply(&change(0))?;
    Ok(took)
}
