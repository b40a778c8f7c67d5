//! `redirector-lab bench`: what a packet costs in the loaded program, beside floors measured in the
//! same run.
//!
//! Every packet has a five-tuple of its own and a restored frame; the cost of giving it these is
//! measured with an empty program and taken off (see `redirector-ebpf/src/lab/main.rs`). Cases take
//! turns, round by round, because the machine's speed changes with its neighbours: a figure is to
//! be believed where minimum and median agree.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::netns::Namespace;
use crate::report::{Report, Row};
use crate::run::Run;

mod cases;
pub mod driver;
mod ends;
pub mod frames;
mod growth;
mod live;
mod place;
mod subject;
mod tables;
mod visible;

use cases::{Case, FLOWS_1M, Target};
use driver::Driver;
use tables::{Subjects, Table};

/// Rounds of a run that is to be quick.
const QUICK_ROUNDS: u32 = 2;

/// Arguments of `redirector-lab bench`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Write the report as JSON to this file instead of a table.
    #[arg(long)]
    json: Option<PathBuf>,
    /// How often each case takes its turn.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Few rounds, and no growth over flows and devices.
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
    /// Only rows whose names hold one of these texts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Draw the growth over flows and devices into this directory, as SVG.
    #[arg(long)]
    plots: Option<PathBuf>,
}

impl Arguments {
    fn rounds(&self) -> u32 {
        if self.quick { QUICK_ROUNDS } else { self.rounds }
    }

    /// Whether a row is asked for.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text))
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = cases::all();
        if !self.quick || self.plots.is_some() {
            cases.extend(growth::cases());
        }
        cases.retain(|case| self.wants(&case.name));
        cases
    }
}

/// Measures and reports.
///
/// # Errors
///
/// When a program cannot be loaded or run (needs root).
pub fn run(arguments: &Arguments) -> Result<bool> {
    let run = Run::new()?;
    let gateway = routed_namespace(&run)?;
    let mut report = Report::new();
    describe(&mut report, arguments);
    gateway.enter(|| measure(arguments, &mut report))?;
    gateway.enter(|| visible::measure(arguments, &mut report))?;
    live::measure(arguments, &mut report)?;
    ends::measure(arguments, &mut report)?;
    if let Some(dir) = &arguments.plots {
        growth::plot(&report, dir)?;
    }
    report.emit(arguments.json.as_deref())?;
    Ok(true)
}

/// A namespace with a route to the clients, so that the routing table has an answer.
///
/// # Errors
///
/// When the kernel refuses (needs root).
pub fn routed_namespace(run: &Run) -> Result<Namespace> {
    let gateway = Namespace::new(run, "bench")?;
    gateway.ip(&[
        "link add clients0 type veth peer name clients1",
        "link set clients1 up",
        "link set clients0 up",
        "address add 10.9.0.1/24 dev clients0",
        "neighbour add 10.9.0.2 lladdr 02:00:01:00:00:01 dev clients0 nud permanent",
        "route add 10.0.0.0/8 via 10.9.0.2",
    ])?;
    gateway.sysctl("net/ipv4/conf/all/forwarding", "1")?;
    Ok(gateway)
}

/// Packets through programs that are attached nowhere.
fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    crate::data_path::program::stay_on_this_cpu()?;
    let cases = arguments.cases();
    let mut driver = Driver::load()?;
    if cases.iter().any(|case| case.traffic.uneven) {
        driver.make_sequence()?;
    }
    if cases.iter().any(|case| case.target == Target::Own("lower_bound")) {
        tables::enter_bound(&mut driver, FLOWS_1M)?;
    }
    let subjects = Subjects::for_cases(&mut driver, &cases)?;
    let mut samples: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    let mut harness = Vec::new();
    for round in 1..=arguments.rounds() {
        eprintln!("round {round} of {}", arguments.rounds());
        for (case, samples) in cases.iter().zip(&mut samples) {
            let own = harness_of(&mut driver, case)?;
            let program = match case.target {
                Target::Own(name) => driver.own(name)?,
                Target::Product(table) => subjects.get(table)?.fd()?.try_clone()?,
            };
            let raw = driver.measure(&program, &case.traffic)?;
            samples.extend(raw.into_iter().map(|ns| ns - own));
            harness.push(own);
        }
    }
    report.condition("harness_ns_median", median(&harness));
    for (case, samples) in cases.iter().zip(&samples) {
        report.rows.push(Row::samples(&case.name, "ns/packet", samples));
    }
    if arguments.wants("instructions_verified")
        && let Ok(subject) = subjects.get(Table::Small)
    {
        let count = f64::from(verified(subject.program.runner().xdp()?)?);
        report.rows.push(Row::samples("instructions_verified", "instructions", &[count]));
    }
    memory(arguments, &subjects, report)
}

/// What the driver itself costs for a case's packets, in ns a packet.
fn harness_of(driver: &mut Driver, case: &Case) -> Result<f64> {
    // As many packets as give a median: what it costs does not depend on the flow.
    let traffic =
        driver::Traffic { packets: driver::STAMP_INTERVAL * 34 + 1, ..case.traffic.clone() };
    let drop = driver.own("floor_drop")?;
    let own = median(&driver.measure(&drop, &traffic)?);
    if !case.traffic.grows {
        return Ok(own);
    }
    // Of making room and taking it away again, the second half is the driver's.
    let grow = driver.own("floor_grow")?;
    let both = median(&driver.measure(&grow, &traffic)?);
    Ok(own + (both - own) / 2.0)
}

/// What a flow takes, by the kernel's own accounting.
fn memory(arguments: &Arguments, subjects: &Subjects, report: &mut Report) -> Result<()> {
    let flows = FLOWS_1M as f64;
    if arguments.wants("bytes_per_flow_tracked")
        && let Ok(subject) = subjects.get(Table::Big)
    {
        // The table of this family, its lists' heads included.
        let bytes = subject.memory("FLOWS4")? as f64 / flows;
        report.rows.push(Row::samples("bytes_per_flow_tracked", "bytes", &[bytes]));
    }
    if arguments.wants("bytes_per_flow_stateless")
        && let Ok(subject) = subjects.get(Table::Devices)
    {
        let before = subject.memory("")?;
        let mut driver = Driver::load()?;
        let case = growth::cases().into_iter().find(|case| case.name.contains("stateless_devices"));
        driver.drive(subject.fd()?, &case.context("a case without entries")?.traffic)?;
        let bytes = subject.memory("")?.saturating_sub(before) as f64 / flows;
        report.rows.push(Row::samples("bytes_per_flow_stateless", "bytes", &[bytes]));
    }
    Ok(())
}

fn describe(report: &mut Report, arguments: &Arguments) {
    let limits = tables::limits();
    report.condition("rounds", arguments.rounds());
    let figures = format!("net of the harness, samples of {} packets", driver::STAMP_INTERVAL);
    report.condition("figures", figures);
    report.condition("flows", "1k = 2^10, 10k = 2^14, 100k = 2^17, 1M = 2^20, in random order");
    report.condition("zipf_exponent", driver::ZIPF_EXPONENT);
    report.condition("flows_max", limits.flows_max);
    report.condition("candidates_max", limits.candidates_max);
    report.condition("paths_max", limits.paths_max);
    report.condition("build", if cfg!(debug_assertions) { "debug" } else { "release" });
}

fn median(samples: &[f64]) -> f64 {
    let row = Row::samples("", "", samples);
    row.median.unwrap_or_default()
}

/// The number of instructions that the verifier walked.
fn verified(program: &aya::programs::Xdp) -> Result<u32> {
    program
        .info()?
        .verified_instruction_count()
        .context("this kernel does not tell how many instructions it verified (5.16 does)")
}
