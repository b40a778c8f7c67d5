//! Scenarios: what the redirector promises, tried out on a whole lab and judged by the ends.
//!
//! A scenario is a function of a running [`Lab`](crate::lab::Lab); `redirector-lab lab` repeats it
//! often and reports, the tests run it short and expect no violation.

pub mod bulk_commit;
pub mod command;
pub mod crash_loop;
pub mod daemon_kill;
pub mod failover;
pub mod false_deaths;
pub mod flood;
pub mod gate;
pub mod haproxy;
pub mod history_oracle;
pub mod image;
pub mod io_load;
pub mod ledger;
pub mod moves;
pub mod overload;
pub mod overload_memory;
mod relief;
pub mod scale;
pub mod tables;
pub mod told;
pub mod tries;
pub mod upgrade;

use crate::report::Row;

/// What a scenario has found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows of the report.
    pub rows: Vec<Row>,
    /// Every broken promise, in words.
    pub violations: Vec<String>,
    /// What is worth knowing beside the rows.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Fails with all violations, if there are any.
    ///
    /// # Errors
    /// When a promise was broken.
    pub fn expect_no_violation(&self) -> anyhow::Result<()> {
        let len = self.violations.len();
        anyhow::ensure!(len == 0, "{len} violations:\n{}", self.violations.join("\n"));
        Ok(())
    }
}
