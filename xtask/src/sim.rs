//! `cargo xtask sim`: the planner's decisions under synthetic load, beside what others would do.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::harness;

/// Arguments of `cargo xtask sim`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Options of the simulator (`--json FILE` writes the report for programs, `--plots DIR` draws)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    match harness::build_and_become("sim", arguments.rest.clone())? {}
}
