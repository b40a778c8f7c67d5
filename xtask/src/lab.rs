//! `cargo xtask lab SCENARIO`: repeated measurements in network namespaces.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::harness;

/// Arguments of `cargo xtask lab`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The scenario and its options (`--json FILE` writes the report for programs); `--help` lists
    /// them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    rest: Vec<OsString>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    match harness::become_harness("lab", arguments.rest.clone())? {}
}
