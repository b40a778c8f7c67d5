//! Each scenario as the command line runs it: on which lab, how often, and said before it begins.

use std::time::Duration;

use anyhow::Result;

use super::{Arguments, Scenario};
use crate::fault::Fault;
use crate::flows::Manner;
use crate::lab::{Lab, Plan};
use crate::redirector::Health;
use crate::scenario::failover::{self, Case, DEATHS, Load};
use crate::scenario::gate::Redirecting;
use crate::scenario::haproxy::{self, Tuning};
use crate::scenario::moves::{self, Course};
use crate::scenario::told::{self, Speech};
use crate::scenario::{
    Outcome, bulk_commit, crash_loop, daemon_kill, false_deaths, flood, history_oracle, io_load,
    overload, overload_memory, scale, upgrade,
};

/// How long the daemon stays dead.
const AWAY: Duration = Duration::from_secs(10);
/// Disks of scenarios without I/O.
pub(super) const SMALL_DISK_BYTES: u64 = 1 << 20;
/// Drains of each echo device at once.
const DRAINS: usize = 8;
/// Deaths of each sort.
const DEATHS_LEN: u64 = 30;

/// Runs one scenario.
///
/// # Errors
/// When its lab cannot be built or fails.
pub(super) fn run_one(scenario: Scenario, arguments: &Arguments) -> Result<Vec<Outcome>> {
    let seed = arguments.seed;
    let runs = |default| arguments.runs.unwrap_or(default);
    let outcome = match scenario {
        Scenario::Moves => {
            move_about(Course { row: "moves", moves: runs(100), seed, drains_min: 0 })?
        }
        Scenario::Moves8Drains => {
            let (row, moves) = ("moves_8_drains", runs(1000));
            move_about(Course { row, moves, seed, drains_min: DRAINS })?
        }
        Scenario::DaemonKill => {
            let kills = runs(1);
            eprintln!("daemon-kill: {kills} times kill -9, {} s without a daemon", AWAY.as_secs());
            let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
            daemon_kill::run(&mut lab, kills, AWAY, seed)?
        }
        Scenario::Failover => return run_failovers(runs(DEATHS_LEN)),
        Scenario::DeathBusyKill => busy("death_busy_kill", Fault::Kill, runs(DEATHS_LEN))?,
        Scenario::DeathBusyFreeze => busy("death_busy_freeze", Fault::Freeze, runs(DEATHS_LEN))?,
        Scenario::DeathBusyCut => busy("death_busy_cut", Fault::Cut, runs(DEATHS_LEN))?,
        Scenario::DeathBusyDrop => busy("death_busy_drop", Fault::Drop, runs(DEATHS_LEN))?,
        Scenario::DeathIdle => idle("death_idle", Health::default(), runs(DEATHS_LEN))?,
        Scenario::DeathIdleFast => idle("death_idle_fast", Health::FAST, runs(DEATHS_LEN))?,
        Scenario::HaproxyDefault => beside(Tuning::Default, runs(DEATHS_LEN))?,
        Scenario::HaproxyTuned => beside(Tuning::Tuned, runs(DEATHS_LEN))?,
        Scenario::ToldActive => told::run(Manner::Asks, &Speech::ALL, runs(DEATHS_LEN))?,
        Scenario::ToldIdle => told::run(Manner::Waits, &Speech::ALL, runs(DEATHS_LEN))?,
        Scenario::FalseDeaths => {
            let minutes = arguments.minutes;
            eprintln!("false-deaths: {minutes} minutes of busy processors, pauses and loss");
            let mut lab = Lab::start(Plan::standard(SMALL_DISK_BYTES))?;
            false_deaths::run(&mut lab, Duration::from_secs(minutes * 60))?
        }
        Scenario::CrashLoop => {
            let kills = runs(crash_loop::KILLS);
            eprintln!("crash-loop: {kills} times kill -9 in a stream of changes");
            let mut lab = Lab::start(Plan::standard(SMALL_DISK_BYTES))?;
            crash_loop::run(&mut lab, kills, seed)?
        }
        Scenario::Upgrade => {
            let upgrades = runs(upgrade::UPGRADES);
            eprintln!("upgrade: {upgrades} times another copy of daemon and program, under I/O");
            let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
            upgrade::run(&mut lab, upgrades, seed)?
        }
        Scenario::BulkCommit => {
            let decisions = runs(bulk_commit::DECISIONS);
            eprintln!("bulk-commit: {decisions} decisions");
            bulk_commit::run(decisions)?
        }
        Scenario::FloodSyn => run_flood(flood::Sort::Syn, arguments)?,
        Scenario::FloodAck => run_flood(flood::Sort::Ack, arguments)?,
        Scenario::FloodUdp => run_flood(flood::Sort::Udp, arguments)?,
        Scenario::HistoryOracle => {
            let steps = runs(history_oracle::STEPS);
            eprintln!("history-oracle: {steps} steps");
            history_oracle::run(steps, seed)?
        }
        Scenario::Overload => overload(runs(overload::RUNS), seed)?,
        Scenario::OverloadMemory => overload_memory(runs(overload::RUNS))?,
        Scenario::Scale => return run_scale(arguments.runs),
        Scenario::ScaleFlows => run_scale_flows(arguments.runs)?,
        Scenario::Deaths | Scenario::All => unreachable!("resolved into others by the caller"),
    };
    Ok(vec![outcome])
}

fn overload(runs: u64, seed: u64) -> Result<Outcome> {
    eprintln!("overload: {runs} times two busy devices behind one server");
    overload::run(runs, seed)
}

fn overload_memory(runs: u64) -> Result<Outcome> {
    eprintln!("overload-memory: {runs} times a server whose memory sessions fill");
    overload_memory::run(runs)
}

fn run_scale(wanted: Option<u64>) -> Result<Vec<Outcome>> {
    let sizes = match wanted {
        Some(len) => vec![u32::try_from(len)?],
        None => scale::SIZES.to_vec(),
    };
    let mut outcomes = Vec::new();
    for devices_len in sizes {
        eprintln!("scale: {devices_len} devices");
        outcomes.push(scale::run_devices(devices_len)?);
    }
    Ok(outcomes)
}

fn run_scale_flows(wanted: Option<u64>) -> Result<Outcome> {
    let flows_len = wanted.map_or(Ok(scale::FLOWS_LEN), u32::try_from)?;
    eprintln!("scale-flows: {flows_len} flows");
    scale::run_flows(flows_len)
}

fn move_about(course: Course) -> Result<Outcome> {
    let Course { row, moves, drains_min, .. } = &course;
    eprintln!("{row}: {moves} random moves under verified I/O, {drains_min} drains at once");
    let mut lab = Lab::start(Plan::standard(io_load::DISK_BYTES))?;
    moves::run(&mut lab, course)
}

fn run_failovers(runs: u64) -> Result<Vec<Outcome>> {
    let mut lab = Lab::start(Plan::standard(SMALL_DISK_BYTES))?;
    let mut outcomes = Vec::new();
    for fault in [Fault::Kill, Fault::Cut, Fault::Freeze, Fault::Stop] {
        eprintln!("failover: {runs} times {fault}: {}", fault.what());
        let row = format!("failover_{fault}");
        let case = Case { row: &row, faults: &[fault], load: Load::OneFlow };
        outcomes.push(failover::run(&mut lab, &Redirecting, case, runs)?);
    }
    Ok(outcomes)
}

fn busy(row: &str, fault: Fault, runs: u64) -> Result<Outcome> {
    eprintln!("{row}: {runs} times {}", fault.what());
    let mut lab = Lab::start(Plan::standard(SMALL_DISK_BYTES))?;
    let case = Case { row, faults: &[fault], load: Load::Busy };
    failover::run(&mut lab, &Redirecting, case, runs)
}

fn idle(row: &str, health: Health, runs: u64) -> Result<Outcome> {
    let Health { interval_ms, timeout_ms, fall, .. } = health;
    eprintln!(
        "{row}: {runs} times each of {} ways to die, without traffic; checks every {interval_ms} \
         ms, {timeout_ms} ms for an answer, {fall} failures",
        DEATHS.len()
    );
    let mut lab = Lab::start(Plan { health, ..Plan::standard(SMALL_DISK_BYTES) })?;
    let case = Case { row, faults: &DEATHS, load: Load::Idle };
    failover::run(&mut lab, &Redirecting, case, runs)
}

fn beside(tuning: Tuning, runs: u64) -> Result<Outcome> {
    eprintln!("{}: {runs} times each of {} ways to die", tuning.row(), DEATHS.len());
    haproxy::run(tuning, runs, Plan::standard(SMALL_DISK_BYTES))
}

fn run_flood(sort: flood::Sort, arguments: &Arguments) -> Result<Outcome> {
    let default = flood::Size::LARGE;
    let packets = arguments.runs.unwrap_or(default.packets);
    let name = sort.name();
    eprintln!("{name}: {packets} packets against {} flows", default.live);
    flood::run(sort, flood::Size { packets, ..default })
}
