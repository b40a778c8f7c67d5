//! `cargo xtask test`: every test of the project, ending with one line that counts them.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::harness::{PRODUCT, PRODUCT_VARIABLE};
use crate::{run, setup};

/// The crates whose tests need neither privileges nor a BPF compiler.
const HOST_CRATES: [&str; 2] = ["--package=redirector-common", "--package=xtask"];
/// Everything but the BPF program, which cannot be built for the host: its tests live in the crate
/// redirector-tests, which loads it.
const ALL_CRATES: [&str; 2] = ["--workspace", "--exclude=redirector-ebpf"];

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the tests that need neither root nor a BPF compiler: no program is loaded, no namespace
    /// made
    #[arg(long)]
    host: bool,
    /// Handed to `cargo test` as they are, for example a test's name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let mut tests = run::cargo();
    tests.args(["test", "--no-fail-fast"]);
    if arguments.host {
        tests.args(HOST_CRATES);
    } else {
        prepare()?;
        tests.args(ALL_CRATES);
        tests.env(PRODUCT_VARIABLE, run::target_dir().join("debug").join(PRODUCT));
    }
    tests.args(&arguments.rest);

    let (all_passed, tally) = run_and_count(&mut tests)?;
    if tally.ignored > 0 {
        println!("{} ignored: each names the feature it misses", tally.ignored);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if !all_passed && tally.failed == 0 {
        println!("but the run itself failed: see cargo's message above");
    }
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the tests of the kernel program and of the namespaces need before they can start.
fn prepare() -> Result<()> {
    ensure!(
        run::is_root(),
        "the tests load a BPF program and make network namespaces: run them as root, for example: \
         sudo -E env \"PATH=$PATH\" cargo xtask test; without root there is: \
         cargo xtask test --host"
    );
    setup::ensure_ready()?;
    // Tests start the daemon as a program of its own. The development profile shares everything
    // with what `cargo test` builds anyway; the BPF object is always built in release form.
    run::run(run::cargo().args(["build", "--package=redirector-ctl", "--bins"]))
}

/// What the test binaries said about themselves, summed up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// Reads a line like `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; ...`; any
    /// other line changes nothing.
    fn add_line(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Runs the tests with their output passed through line by line; true when cargo was content.
fn run_and_count(tests: &mut Command) -> Result<(bool, Tally)> {
    let mut child = tests.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
    let mut tally = Tally::default();
    let mut ours = std::io::stdout().lock();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read what the tests print")?;
        tally.add_line(&String::from_utf8_lossy(&line));
        ours.write_all(&line)?;
        ours.write_all(b"\n")?;
        ours.flush()?;
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    Ok((status.success(), tally))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_binaries_are_summed() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "test a_test_named_10 failed; ... ok",
            "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out",
        ] {
            tally.add_line(line);
        }
        assert_eq!(tally, Tally { passed: 15, failed: 2, ignored: 1 });
    }

    #[test]
    fn a_failing_run_without_results_is_not_a_success() {
        let (all_passed, tally) =
            run_and_count(Command::new("sh").args(["-c", "exit 101"])).expect("sh starts");
        assert!(!all_passed);
        assert_eq!(tally, Tally::default());
    }
}
