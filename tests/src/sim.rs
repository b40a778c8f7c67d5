//! `redirector-lab sim`: the planner's decisions under synthetic load, beside what others would do.
//!
//! Three questions, each with its own module: how good and how fast is the solver on a problem of
//! one moment, and how far from the optimum; and how does the whole loop of forecasts, trigger and
//! rest do in a simulated week. No network, no root, and the same seed gives the same figures, but
//! for the times.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::report::{Report, Row};

mod chance;
mod exact;
mod instances;
mod plots;
mod solve;
mod strategy;
mod weather;
mod week;

use strategy::Kind;
use week::{Score, Setting};

/// Arguments of `redirector-lab sim`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Write the report as JSON to this file instead of a table.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write plots as SVG files into this directory.
    #[arg(long)]
    plots: Option<PathBuf>,
    /// Simulated days, after one day in which everything learns.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=365))]
    days: u64,
    /// Devices in the simulated week.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..100_000))]
    devices: u32,
    /// Servers in the simulated week.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=1000))]
    servers: u32,
    /// Where all randomness comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often each large problem is solved for its time.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

/// Small cases that are also solved exactly.
const EXACT_CASES: u64 = 5;
/// How long the search for the optimum of one may take, in seconds.
const EXACT_SEARCH_S: f64 = 5.0;
/// Large problems.
const LARGE_CASES: u64 = 3;

/// Simulates and reports.
///
/// # Errors
///
/// When a small case cannot be solved exactly, or a file cannot be written.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let mut report = Report::new();
    describe(&mut report, arguments);
    eprintln!("large problems: 100000 devices on 1000 servers");
    report_large(&mut report, arguments);
    eprintln!("small problems and their optimum: 200 devices on 10 servers");
    report_small(&mut report, arguments)?;
    let setting = Setting {
        devices_len: arguments.devices as usize,
        servers_len: arguments.servers as usize,
        days: arguments.days,
        warm_up_days: 1,
        seed: arguments.seed,
    };
    let last = setting.days + setting.warm_up_days;
    let scores = week::run(setting, &Kind::ALL, |day| eprintln!("simulated day {day} of {last}"));
    report_week(&mut report, &scores);
    if let Some(dir) = &arguments.plots {
        plots::write(dir, &scores)?;
    }
    report.emit(arguments.json.as_deref())?;
    Ok(true)
}

fn describe(report: &mut Report, arguments: &Arguments) {
    report.condition("seed", arguments.seed);
    report.condition("days", arguments.days);
    report.condition("devices", arguments.devices);
    report.condition("servers", arguments.servers);
    report.condition("build", if cfg!(debug_assertions) { "debug" } else { "release" });
}

fn report_large(report: &mut Report, arguments: &Arguments) {
    let seeds: Vec<u64> = (0..LARGE_CASES).map(|n| arguments.seed + n).collect();
    let (shipped, slow) = (strategy::rules(Kind::Planner), strategy::rules(Kind::Slow));
    let one = solve::one_resource(&shipped, &seeds, arguments.rounds);
    let three = solve::three_resources(&shipped, &seeds, arguments.rounds);
    let one_slow = solve::one_resource(&slow, &seeds, 0);
    let three_slow = solve::three_resources(&slow, &seeds, 0);
    report.rows.extend([
        Row::samples("max_over_bound_before", "ratio", &one.before),
        Row::samples("max_over_bound", "ratio", &one.after),
        Row::samples("moved_over_lower_bound", "ratio", &one.moved),
        Row::samples("max_over_bound_3", "ratio", &three.after),
        Row::samples("max_over_bound.slow", "ratio", &one_slow.after),
        Row::samples("moved_over_lower_bound.slow", "ratio", &one_slow.moved),
        Row::samples("max_over_bound_3.slow", "ratio", &three_slow.after),
        Row::samples("solve_ms_1", "ms", &one.ms),
        Row::samples("solve_ms_3", "ms", &three.ms),
        Row::samples("solve_processor_ms_1", "ms", &one.processor_ms),
        Row::samples("solve_processor_ms_3", "ms", &three.processor_ms),
    ]);
}

fn report_small(report: &mut Report, arguments: &Arguments) -> Result<()> {
    let (mut gaps, mut moved, mut exact_len) = (Vec::new(), Vec::new(), 0);
    for seed in (0..EXACT_CASES).map(|n| arguments.seed + n) {
        let compared = exact::compare(seed, Some(EXACT_SEARCH_S))?;
        gaps.push(100.0 * compared.gap);
        moved.push(compared.moved);
        exact_len += u64::from(compared.is_exact);
    }
    report.condition("gap_cases_against_a_proven_optimum", exact_len);
    report.rows.push(Row::samples("gap_to_exact_pct", "%", &gaps));
    report.rows.push(Row::samples("moved_over_exact", "ratio", &moved));
    Ok(())
}

/// The reactive strategy that tracks best of those that could be run: placing all devices anew each
/// minute is measured beside them, and moves most devices in each minute.
fn best_reactive(scores: &[Score]) -> Option<&Score> {
    let could_be_run = |score: &&Score| score.kind.is_reactive() && score.kind != Kind::Lpt;
    let reactive = scores.iter().filter(could_be_run);
    reactive.min_by(|a, b| a.tracking_error[0].total_cmp(&b.tracking_error[0]))
}

/// Why that one and no other, in the report.
fn describe_best(report: &mut Report, best: &Score, scores: &[Score]) {
    report.condition("best_reactive", best.kind.name());
    report.condition(
        "best_reactive_is",
        "the reactive strategy of least tracking error, lpt_every_minute left out",
    );
    if let Some(lpt) = scores.iter().find(|score| score.kind == Kind::Lpt) {
        let moves = lpt.moves as f64 / best.moves.max(1) as f64;
        let error = lpt.tracking_error[0] / best.tracking_error[0];
        report.condition(
            "lpt_is_left_out_because",
            format!("it moves {moves:.0} times as much, for {error:.2} of the error"),
        );
    }
}

fn report_week(report: &mut Report, scores: &[Score]) {
    let of = |kind: Kind| scores.iter().find(|score| score.kind == kind);
    if let (Some(best), Some(planner), Some(slow)) =
        (best_reactive(scores), of(Kind::Planner), of(Kind::Slow))
    {
        describe_best(report, best, scores);
        for (suffix, ours) in [("", planner), (".slow", slow)] {
            let mut row = |name: &str, unit: &str, value: f64| {
                report.rows.push(Row::samples(&format!("{name}{suffix}"), unit, &[value]));
            };
            let error = |line: usize| ours.tracking_error[line] / best.tracking_error[line];
            row("tracking_error_ratio", "ratio", error(0));
            row("tracking_error_ratio_at_5_pct", "ratio", error(1));
            row("moves_ratio", "ratio", ours.moves as f64 / best.moves.max(1) as f64);
            row("reversals_per_100_device_days", "moves", 100.0 * ours.reversals_per_day(0));
            row("reversals_within_a_day", "moves", 100.0 * ours.reversals_per_day(1));
        }
    }
    for score in scores {
        let mut row = |name: &str, unit: &str, samples: &[f64]| {
            let name = format!("{name}.{}", score.kind.name());
            report.rows.push(Row::samples(&name, unit, samples));
        };
        row("max_over_bound", "ratio", &score.max_over_bound);
        row("tracking_error", "ppm", &[1e6 * score.tracking_error[0]]);
        row("moves_per_device_day", "moves", &[score.moves_per_device_day()]);
    }
}

#[cfg(test)]
mod tests;
