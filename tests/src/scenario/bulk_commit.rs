//! Bulk commits on one CPU against packets on the other: no packet may see a mixture (G1).

use anyhow::Result;

use super::Outcome;
use crate::data_path::bulk::{Commit, run as observe};
use crate::report::Row;

/// Decisions of a run that is worth reporting.
pub const DECISIONS: u64 = 10_000_000;

/// Runs `decisions` packets while another thread commits all associations again and again.
///
/// # Errors
/// When the program cannot be loaded or run (needs root).
pub fn run(decisions: u64) -> Result<Outcome> {
    let seen = observe(Commit::Bulk, decisions)?;
    let mut outcome = Outcome::default();
    outcome.rows.push(Row::promise("bulk_commit", "decisions", seen.decisions, seen.mixed));
    outcome.notes.push(format!("bulk_commit: {} commits of 200 devices meanwhile", seen.commits));
    if seen.mixed > 0 {
        outcome.violations.push(format!("bulk_commit: {} packets saw a mixture", seen.mixed));
    }
    Ok(outcome)
}
