//! `redirector-lab bench`: what a packet costs in the loaded program, beside floors measured in the
//! same run.
//!
//! Every packet has a five-tuple of its own and a restored frame; the cost of giving it these is
//! measured with an empty program and taken off (see `redirector-ebpf/src/lab.rs`). Cases take
//! turns, round by round, because the machine's speed changes with its neighbours: a figure is to
//! be believed where minimum and median agree.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::netns::Namespace;
use crate::report::{Report, Row};
use crate::run::Run;

pub mod cases;
pub mod driver;

use cases::{Case, Setup};
use driver::Driver;

/// Arguments of `redirector-lab bench`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Write the report as JSON to this file instead of a table.
    #[arg(long)]
    json: Option<PathBuf>,
    /// How often each case takes its turn.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// Measures and reports.
///
/// # Errors
///
/// When a program cannot be loaded or run (needs root).
pub fn run(arguments: &Arguments) -> Result<bool> {
    let run = Run::new()?;
    let gateway = routed_namespace(&run)?;
    gateway.enter(|| measure(arguments))?.emit(arguments.json.as_deref())?;
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

fn measure(arguments: &Arguments) -> Result<Report> {
    let setup = Setup::new()?;
    let mut driver = Driver::load()?;
    let mut samples: Vec<Vec<f64>> = Case::ALL.iter().map(|_| Vec::new()).collect();
    let mut harness = Vec::new();
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        let empty = driver.measure_own("floor_drop", &Case::FloorTx.traffic())?;
        let own = median(&empty);
        harness.extend(empty);
        for (case, samples) in Case::ALL.iter().zip(&mut samples) {
            let raw = match case.floor() {
                Some(floor) => driver.measure_own(floor, &case.traffic())?,
                None => driver.measure(setup.program_for(*case)?, &case.traffic())?,
            };
            samples.extend(raw.into_iter().map(|ns| ns - own));
        }
    }
    let mut report = Report::new();
    describe(&mut report, arguments, &harness);
    for (case, samples) in Case::ALL.iter().zip(&samples) {
        report.rows.push(Row::samples(case.name(), "ns/packet", samples));
    }
    report.rows.push(setup.instructions()?);
    Ok(report)
}

fn describe(report: &mut Report, arguments: &Arguments, harness: &[f64]) {
    let limits = cases::limits();
    report.condition("rounds", arguments.rounds);
    report.condition("packets_per_case_and_round", driver::PACKETS);
    report.condition("figures", "net of the harness, samples of 32768 packets");
    report.condition("harness_ns_median", median(harness));
    report.condition("flows_max", limits.flows_max);
    report.condition("candidates_max", limits.candidates_max);
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
