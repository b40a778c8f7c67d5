//! `redirector-lab lab SCENARIO`: scenarios on fresh labs, often enough for figures, as one report.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{
    Outcome, bulk_commit, daemon_kill, failover, flood, history_oracle, io_load, moves, overload,
};
use crate::fault::Fault;
use crate::lab::{Lab, Plan};
use crate::report::Report;

/// How long the daemon stays dead.
const AWAY: Duration = Duration::from_secs(10);
/// Disks of scenarios without I/O.
const SMALL_DISK_BYTES: u64 = 1 << 20;

/// A scenario by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Random moves of devices with open flows under verified I/O.
    Moves,
    /// kill -9 of the daemon under I/O, 10 s without it, restart.
    DaemonKill,
    /// Death of a server by kill, link cut, freeze and stop: ms until the survivor serves.
    Failover,
    /// Bulk commits on one CPU against packets on the other: no packet sees a mixture.
    BulkCommit,
    /// A flood of SYNs from ever new sources against proven flows.
    FloodSyn,
    /// The same of ACKs.
    FloodAck,
    /// The same of datagrams.
    FloodUdp,
    /// Random histories of moves, deaths and returns, judged by an oracle (G2, G3, G10).
    HistoryOracle,
    /// Two devices in use behind one server that cannot carry both: the planner moves one.
    Overload,
    /// All of them.
    All,
}

/// Arguments of `redirector-lab lab`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// The scenario.
    scenario: Scenario,
    /// Write the report as JSON to this file instead of a table.
    #[arg(long)]
    json: Option<PathBuf>,
    /// How often: moves (default 100), kills of the daemon (default 1), deaths of each sort
    /// (default 30), decisions during bulk commits and packets of a flood (default 10,000,000),
    /// steps of histories (default 1,000,000), overloads (default 10).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    runs: Option<u64>,
    /// Chooses moves and contents; the same seed makes the same choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the scenarios and reports. True when no promise was broken.
///
/// # Errors
/// When a lab cannot be built or fails.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let mut report = Report::new();
    let plan = Plan::standard(SMALL_DISK_BYTES);
    let health = plan.health;
    report.condition("seed", arguments.seed);
    report.condition("clients_len", plan.clients_len);
    report.condition("servers_len", plan.servers_len);
    report.condition("devices_len", plan.devices.len());
    report.condition("health_interval_ms", health.interval_ms);
    report.condition("health_timeout_ms", health.timeout_ms);
    report.condition("health_fall", health.fall);
    report.condition("xdp_mode", "native, veth");

    let scenarios: &[Scenario] = match arguments.scenario {
        Scenario::All => &[
            Scenario::Moves,
            Scenario::DaemonKill,
            Scenario::Failover,
            Scenario::BulkCommit,
            Scenario::FloodSyn,
            Scenario::FloodAck,
            Scenario::FloodUdp,
            Scenario::HistoryOracle,
            Scenario::Overload,
        ],
        ref one => std::slice::from_ref(one),
    };
    let mut violations = Vec::new();
    for scenario in scenarios {
        for outcome in run_one(*scenario, arguments)? {
            outcome.notes.iter().for_each(|note| eprintln!("note: {note}"));
            report.rows.extend(outcome.rows);
            violations.extend(outcome.violations);
        }
    }
    report.emit(arguments.json.as_deref())?;
    for violation in &violations {
        eprintln!("violation: {violation}");
    }
    Ok(violations.is_empty())
}

fn run_one(scenario: Scenario, arguments: &Arguments) -> Result<Vec<Outcome>> {
    let seed = arguments.seed;
    match scenario {
        Scenario::Moves => {
            let moves = arguments.runs.unwrap_or(100);
            eprintln!("moves: {moves} random moves under verified I/O");
            let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
            Ok(vec![moves::run(&mut lab, moves, seed)?])
        }
        Scenario::DaemonKill => {
            let kills = arguments.runs.unwrap_or(1);
            eprintln!("daemon-kill: {kills} times kill -9, {} s without a daemon", AWAY.as_secs());
            let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
            Ok(vec![daemon_kill::run(&mut lab, kills, AWAY, seed)?])
        }
        Scenario::Failover => {
            let runs = arguments.runs.unwrap_or(30);
            let mut lab = Lab::start(Plan::standard(SMALL_DISK_BYTES))?;
            let mut outcomes = Vec::new();
            for fault in [Fault::Kill, Fault::Cut, Fault::Freeze, Fault::Stop] {
                eprintln!("failover: {runs} times {fault}: {}", fault.what());
                outcomes.push(failover::run(&mut lab, fault, runs)?);
            }
            Ok(outcomes)
        }
        Scenario::BulkCommit => {
            let decisions = arguments.runs.unwrap_or(bulk_commit::DECISIONS);
            eprintln!("bulk-commit: {decisions} decisions");
            Ok(vec![bulk_commit::run(decisions)?])
        }
        Scenario::FloodSyn => run_flood(flood::Sort::Syn, arguments),
        Scenario::FloodAck => run_flood(flood::Sort::Ack, arguments),
        Scenario::FloodUdp => run_flood(flood::Sort::Udp, arguments),
        Scenario::HistoryOracle => {
            let steps = arguments.runs.unwrap_or(history_oracle::STEPS);
            eprintln!("history-oracle: {steps} steps");
            Ok(vec![history_oracle::run(steps, seed)?])
        }
        Scenario::Overload => {
            let runs = arguments.runs.unwrap_or(overload::RUNS);
            eprintln!("overload: {runs} times two busy devices behind one server");
            Ok(vec![overload::run(runs, seed)?])
        }
        Scenario::All => unreachable!("resolved into the others by the caller"),
    }
}

fn run_flood(sort: flood::Sort, arguments: &Arguments) -> Result<Vec<Outcome>> {
    let default = flood::Size::LARGE;
    let packets = arguments.runs.unwrap_or(default.packets);
    let name = sort.name();
    eprintln!("{name}: {packets} packets against {} flows", default.live);
    Ok(vec![flood::run(sort, flood::Size { packets, ..default })?])
}
