//! Random histories of moves, deaths and returns, judged by an oracle that knows only who opened
//! each flow where (G2, G3, G10).

use anyhow::Result;

use super::Outcome;
use crate::data_path::oracle;
use crate::report::Row;

/// Steps of a run that is worth reporting.
pub const STEPS: u64 = 1_000_000;

/// Runs a history of `steps`.
///
/// # Errors
/// When the program cannot be loaded or run (needs root).
pub fn run(steps: u64, seed: u64) -> Result<Outcome> {
    let seen = oracle::run(steps, seed)?;
    let violations_len = seen.violations.len() as u64;
    let note = format!(
        "history_oracle: {} SYNs, {} packets that had to stay, {} of flows that were over",
        seen.opened, seen.kept, seen.over
    );
    Ok(Outcome {
        rows: vec![Row::promise("history_oracle", "packets", seen.packets, violations_len)],
        violations: seen.violations,
        notes: vec![note],
    })
}
