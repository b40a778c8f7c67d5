//! Builds the product and the harness in release form and becomes the harness: what demo, lab,
//! bench and sim have in common.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::{run, setup};

/// The harness's program, from the crate redirector-tests.
const HARNESS: &str = "redirector-lab";
/// The variable by which harness and tests find the product's program.
pub(crate) const PRODUCT_VARIABLE: &str = "REDIRECTOR_BIN";
/// The product's program, from the crate redirector-ctl.
pub(crate) const PRODUCT: &str = "redirector";

/// Runs `redirector-lab COMMAND ARGUMENTS...` as root; comes back only with an error.
pub(crate) fn become_harness(
    command: &str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<std::convert::Infallible> {
    ensure!(
        run::is_root(),
        "`cargo xtask {command}` makes network namespaces and loads a BPF program: run it as root, \
         for example: sudo -E env \"PATH=$PATH\" cargo xtask {command}"
    );
    build_and_become(command, arguments)
}

/// The same for a command that needs no root.
pub(crate) fn build_and_become(
    command: &str,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<std::convert::Infallible> {
    setup::ensure_ready()?;
    run::run(run::cargo().args(["build", "--release"]).args([
        "--package=redirector-ctl",
        "--package=redirector-tests",
        "--bins",
    ]))?;
    let release_dir = run::target_dir().join("release");
    let mut harness = Command::new(release_dir.join(HARNESS));
    harness.arg(command).args(arguments).env(PRODUCT_VARIABLE, release_dir.join(PRODUCT));
    Err(run::become_program(&mut harness))
}
