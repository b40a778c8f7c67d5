//! G1 under test: one CPU commits the associations of many devices, another runs the program over
//! them.
//!
//! Generation g puts every device on server 1 + g mod [`SERVERS`]. Packets for the devices are run
//! one after another, so the generation that each of them met may never be older than that of the
//! packet before: that would be a mixture of two commits.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use redirector_common::tcp::SYN;
use redirector_ctl::core::op::{AssociationWord, Op};
use redirector_ctl::platform::tables::Tables;

use super::packets::{Packet, from_client};
use super::program::{Program, SMALL};
use super::{SERVICE_PORT, TCP, device_address, on, server_address, topology};

/// Servers, and so the number of generations that can be told apart.
const SERVERS: u16 = 64;
/// Devices committed together.
const DEVICES: u32 = 200;

/// How a new generation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// All devices in one op, as the daemon does.
    Bulk,
    /// One op per device: what must be caught.
    OneByOne,
}

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Packets decided.
    pub decisions: u64,
    /// Packets that met an older generation than the packet before.
    pub mixed: u64,
    /// Generations committed meanwhile.
    pub commits: u64,
}

/// Runs `decisions` packets on one thread while another commits without pause.
///
/// # Errors
///
/// When the kernel refuses to load, commit or run.
pub fn run(commit: Commit, decisions: u64) -> Result<Seen> {
    let mut program = Program::load(&SMALL)?;
    program.apply(&topology(SERVERS, DEVICES, TCP))?;
    let (tables, runner) = program.split();
    let done = AtomicBool::new(false);
    let commits = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let result = commit_until(&done, &commits, tables, commit);
            done.store(true, Ordering::Relaxed);
            result
        });
        let mixed = decide(decisions, &done, |frame| runner.run(frame));
        done.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| anyhow::anyhow!("the committing thread panicked"))??;
        let (decisions, mixed) = mixed?;
        Ok(Seen { decisions, mixed, commits: commits.load(Ordering::Relaxed) })
    })
}

fn commit_until(
    done: &AtomicBool,
    commits: &AtomicU64,
    tables: &mut Tables,
    commit: Commit,
) -> Result<()> {
    for generation in 1_u64.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let word = on(1 + (generation % u64::from(SERVERS)) as u16);
        let words: Vec<(u32, AssociationWord)> = (0..DEVICES).map(|id| (id, word)).collect();
        match commit {
            Commit::Bulk => tables.apply(&Op::CommitAssociations { words })?,
            Commit::OneByOne => {
                for one in words {
                    tables.apply(&Op::CommitAssociations { words: vec![one] })?;
                }
            }
        }
        commits.store(generation, Ordering::Relaxed);
    }
    Ok(())
}

/// Runs packets for one device after another; gives how many were decided and how many went back in
/// time.
fn decide(
    decisions: u64,
    done: &AtomicBool,
    mut run: impl FnMut(&[u8]) -> Result<super::Outcome>,
) -> Result<(u64, u64)> {
    let frames: Vec<Vec<u8>> = (0..DEVICES).map(syn).collect();
    let (mut decided, mut mixed, mut last) = (0, 0, 0);
    while decided < decisions && !done.load(Ordering::Relaxed) {
        for frame in &frames {
            let generation = generation_of(&run(frame)?.frame)?;
            let step = (generation + SERVERS - last) % SERVERS;
            // Between two packets the writer can get ahead, but not by half of the numbers.
            mixed += u64::from(step >= SERVERS / 2);
            last = generation;
            decided += 1;
        }
    }
    Ok((decided, mixed))
}

fn syn(device: u32) -> Vec<u8> {
    let client = (Ipv4Addr::new(10, 1, 9, 1), 40_000);
    from_client(client, (device_address(device), SERVICE_PORT), SYN, (1, 0)).bytes()
}

/// The generation, modulo the number of servers, that a rewritten frame tells of.
fn generation_of(frame: &[u8]) -> Result<u16> {
    let at: [u8; 4] = frame.get(30..34).context("a frame with an IP header")?.try_into()?;
    let address = Ipv4Addr::from(at);
    let id = u16::from(address.octets()[3]);
    ensure!(
        address == server_address(id) && (1..=SERVERS).contains(&id),
        "sent to {address}, which is no server: {:?}",
        Packet::read(frame)
    );
    Ok(id - 1)
}
