//! `cargo xtask demo`: the main job on real storage, from a bare machine to the summary.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::harness;

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave everything up afterwards and tell how to look around
    #[arg(long)]
    keep: bool,
    /// Further arguments, handed to the harness as they are
    #[arg(last = true)]
    rest: Vec<OsString>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let keep = arguments.keep.then(|| OsString::from("--keep"));
    match harness::become_harness("demo", keep.into_iter().chain(arguments.rest.clone()))? {}
}
