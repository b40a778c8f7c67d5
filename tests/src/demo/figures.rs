//! What the demo has measured and found, and the summary made of it.

use crate::io::{Comparison, Outcome};

/// The demo's findings.
#[derive(Debug, Default)]
pub struct Figures {
    /// The REST call that moved a device, in ms.
    pub move_ms: f64,
    /// From that call's begin to the first greeting of the new server, in ms.
    pub moved_flow_ms: f64,
    /// From the death of a server to the first connection served by a survivor, in ms.
    pub failover_ms: f64,
    /// From that death to the end of the client whose flow was open, in ms.
    pub noticed_ms: f64,
    /// Bytes that the moved device's first server had received on the open flow at the move.
    pub received_before: u64,
    verified_bytes: u64,
    io_errors: u64,
    compared_bytes: u64,
    differing_bytes: u64,
    problems: Vec<String>,
}

impl Figures {
    /// Notes a problem unless `holds`.
    pub fn expect(&mut self, holds: bool, problem: &str) {
        if !holds {
            self.problems.push(problem.to_owned());
        }
    }

    /// Adds an fio job that should have written and verified `bytes`.
    pub fn add_io(&mut self, device: &str, outcome: &Outcome, bytes: u64) {
        self.verified_bytes += outcome.verified_bytes;
        self.io_errors += u64::from(outcome.error != 0);
        let is_whole = (outcome.error, outcome.verified_bytes) == (0, bytes);
        self.expect(is_whole, &format!("{device}: of {bytes} bytes: {outcome:?}"));
    }

    /// Adds bytes that were verified outside a whole job.
    pub fn add_verified(&mut self, bytes: u64) {
        self.verified_bytes += bytes;
    }

    /// Adds the comparison of a disk with its file.
    pub fn add_comparison(&mut self, comparison: Comparison) {
        self.compared_bytes += comparison.bytes;
        self.differing_bytes += comparison.differing;
        let is_same = comparison.differing == 0 && comparison.empty_blocks == 0;
        self.expect(is_same, &format!("a disk is not its file: {comparison:?}"));
    }

    /// What was not as promised.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The summary.
    pub fn lines(&self) -> Vec<String> {
        let line = |what: &str, figure: String| format!("  {what:<58} {figure:>10}");
        let ms = |value: f64| format!("{value:.1} ms");
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        vec![
            line("planned move: the REST call, journalled and in force", ms(self.move_ms)),
            line("planned move: until a new flow was on the new server", ms(self.moved_flow_ms)),
            line(
                "failover: from the server's death to the survivor's answer",
                ms(self.failover_ms),
            ),
            line("failover: until the client of the open flow knew", ms(self.noticed_ms)),
            line("verified by the clients, block by block", mib(self.verified_bytes)),
            line("I/O errors but on the dead server's flow", self.io_errors.to_string()),
            line("compared with the disks behind", mib(self.compared_bytes)),
            format!("  {} bytes differ", self.differing_bytes),
        ]
    }
}
