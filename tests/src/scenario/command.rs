//! `redirector-lab lab SCENARIO`: scenarios on fresh labs, often enough for figures, as one report.

mod each;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::lab::Plan;
use crate::report::Report;
use crate::scenario::false_deaths;
use each::{SMALL_DISK_BYTES, run_one};

/// A scenario by name. Names may be written with `_` as in the rows of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Random moves of devices with open flows under verified I/O.
    Moves,
    /// kill -9 of the daemon under I/O, 10 s without it, restart.
    #[value(alias = "daemon_kill")]
    DaemonKill,
    /// Death of a server by kill, link cut, freeze and stop: ms until the survivor serves.
    Failover,
    /// A busy server's programs are killed: ms until the survivor serves.
    #[value(alias = "death_busy_kill")]
    DeathBusyKill,
    /// A busy server hangs, links up.
    #[value(alias = "death_busy_freeze")]
    DeathBusyFreeze,
    /// A busy server's links are cut.
    #[value(alias = "death_busy_cut")]
    DeathBusyCut,
    /// A busy server's kernel drops all packets.
    #[value(alias = "death_busy_drop")]
    DeathBusyDrop,
    /// A server without any traffic dies in each of these ways, at default checks.
    #[value(alias = "death_idle")]
    DeathIdle,
    /// The same at checks every 20 ms.
    #[value(alias = "death_idle_fast")]
    DeathIdleFast,
    /// Deaths of a busy server behind HAProxy as it comes, in the place of the redirector.
    #[value(alias = "haproxy_default")]
    HaproxyDefault,
    /// The same behind HAProxy tuned to be as fast as it can.
    #[value(alias = "haproxy_tuned")]
    HaproxyTuned,
    /// All deaths of a busy server, with the redirector and with HAProxy in one report.
    Deaths,
    /// Clients of a dead server's flows that ask again and again are told: ms from the detection.
    #[value(alias = "told_active")]
    ToldActive,
    /// The same of clients that only wait.
    #[value(alias = "told_idle")]
    ToldIdle,
    /// Busy processors, servers that pause, packets that are lost: nobody may be declared dead.
    #[value(alias = "false_deaths")]
    FalseDeaths,
    /// Moves under verified I/O while every echo device drains from eight earlier ones.
    #[value(name = "moves-8-drains", alias = "moves_8_drains")]
    Moves8Drains,
    /// kill -9 of the daemon again and again while changes stream in over REST.
    #[value(alias = "crash_loop")]
    CrashLoop,
    /// Daemon and program replaced under verified I/O; tables of another layout.
    Upgrade,
    /// Bulk commits on one CPU against packets on the other: no packet sees a mixture.
    #[value(alias = "bulk_commit")]
    BulkCommit,
    /// A flood of SYNs from ever new sources against proven flows.
    #[value(alias = "flood_syn")]
    FloodSyn,
    /// The same of ACKs.
    #[value(alias = "flood_ack")]
    FloodAck,
    /// The same of datagrams.
    #[value(alias = "flood_udp")]
    FloodUdp,
    /// Random histories of moves, deaths and returns, judged by an oracle (G2, G3, G10).
    #[value(alias = "history_oracle")]
    HistoryOracle,
    /// Two devices in use behind one server that cannot carry both: the planner moves one.
    Overload,
    /// Sessions of two devices fill one server's memory: the planner moves one device.
    #[value(alias = "overload_memory")]
    OverloadMemory,
    /// Pages, commands, changes and a failover with up to 100,000 devices.
    Scale,
    /// Pages and filters with a million open flows.
    #[value(alias = "scale_flows")]
    ScaleFlows,
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
    /// How often: moves (default 100, while draining 1,000), kills of the daemon (default 1, in the
    /// loop 200), deaths of each sort, upgrades and overloads (default 30), decisions during bulk
    /// commits and packets of a flood (default 10,000,000), steps of histories (default 1,000,000),
    /// devices (default 1,000, 10,000 and 100,000), flows (default 1,000,000).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    runs: Option<u64>,
    /// How long false-deaths watches.
    #[arg(long, default_value_t = false_deaths::MINUTES)]
    minutes: u64,
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

    let mut violations = Vec::new();
    for scenario in arguments.scenario.parts() {
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

impl Scenario {
    /// What it consists of: itself, or those that it stands for.
    fn parts(&self) -> &[Self] {
        match self {
            Self::Deaths => &[
                Self::DeathBusyKill,
                Self::DeathBusyFreeze,
                Self::DeathBusyCut,
                Self::DeathBusyDrop,
                Self::HaproxyDefault,
                Self::HaproxyTuned,
            ],
            Self::All => &[
                Self::Moves,
                Self::DaemonKill,
                Self::Failover,
                Self::DeathBusyKill,
                Self::DeathBusyFreeze,
                Self::DeathBusyCut,
                Self::DeathBusyDrop,
                Self::DeathIdle,
                Self::DeathIdleFast,
                Self::HaproxyDefault,
                Self::HaproxyTuned,
                Self::ToldActive,
                Self::ToldIdle,
                Self::FalseDeaths,
                Self::Moves8Drains,
                Self::CrashLoop,
                Self::Upgrade,
                Self::BulkCommit,
                Self::FloodSyn,
                Self::FloodAck,
                Self::FloodUdp,
                Self::HistoryOracle,
                Self::Overload,
                Self::OverloadMemory,
                Self::Scale,
                Self::ScaleFlows,
            ],
            one => std::slice::from_ref(one),
        }
    }
}
