//! `cargo xtask bench`: what a packet costs, beside a floor measured in the same run.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::harness;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Options of the benchmark (`--json FILE` writes the report for programs)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    match harness::become_harness("bench", arguments.rest.clone())? {}
}
