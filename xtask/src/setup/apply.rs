//! Takes the steps of a plan: starts apt-get, rustup and cargo, nothing else.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::machine::{
    BROWSER_TESTS, DISTRIBUTION_PREFIX, LINKED_TOOLCHAIN, NIGHTLY, PYTHON, SCHEMATHESIS_VERSION,
    schemathesis_dir,
};
use super::plan::Step;
use crate::run;

/// The releases that understand what aya's build asks of its linker.
const LINKER_VERSION: &str = "~0.13";

/// Fetches apt's lists; only worth its time when something is to be installed.
pub(super) fn refresh_package_lists() -> Result<()> {
    run::run(apt_get().arg("update"))
        .context("cannot fetch the package lists: is the network there?")
}

/// Takes one step.
pub(super) fn apply(step: &Step) -> Result<()> {
    match step {
        Step::Packages(packages) => run::run(
            apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages.keys()),
        )
        .context("cannot install packages: is the network there, and does apt offer them?"),
        Step::LinkToolchain => {
            run::run(rustup().args(["toolchain", "link", LINKED_TOOLCHAIN, DISTRIBUTION_PREFIX]))
        }
        Step::InstallNightly => run::run(rustup().args([
            "toolchain",
            "install",
            NIGHTLY,
            "--profile=minimal",
            "--component=rust-src",
        ])),
        Step::BuildLinker { llvm_major, .. } => build_linker(*llvm_major),
        Step::BuildLinkerLater => Ok(()),
        Step::InstallSchemathesis => install_schemathesis(),
        Step::InstallPlaywright => install_playwright(),
    }
}

fn install_schemathesis() -> Result<()> {
    let dir = schemathesis_dir();
    run::run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(&dir))
        .context("cannot make a Python environment: is python3-venv there?")?;
    let mut install = Command::new(dir.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check"]);
    run::run(install.arg(format!("schemathesis=={SCHEMATHESIS_VERSION}")))
        .context("cannot install schemathesis: can PyPI be reached?")
}

/// Exactly what the lock file says, and nothing of it is run at the installation.
fn install_playwright() -> Result<()> {
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    run::run(install.current_dir(run::workspace_dir().join(BROWSER_TESTS)))
        .context("cannot install playwright-core: can npm's registry be reached?")
}

fn build_linker(llvm_major: u32) -> Result<()> {
    let mut install = run::cargo();
    // Away from the work tree, whose configuration is not meant for other people's programs.
    install.current_dir(env::temp_dir());
    install.args(["install", "bpf-linker", "--force", "--locked", "--no-default-features"]);
    install.arg(format!("--version={LINKER_VERSION}"));
    install.arg(format!("--features=llvm-{llvm_major}"));
    // Without the prefix the linker's build does not find the library of a versioned LLVM package.
    let prefix = format!("/usr/lib/llvm-{llvm_major}");
    if Path::new(&prefix).is_dir() {
        install.env("LLVM_PREFIX", prefix);
    }
    run::run(&mut install).with_context(|| {
        format!(
            "cannot build bpf-linker for LLVM {llvm_major}: is the network there, are the \
             development files of that LLVM, and does bpf-linker {LINKER_VERSION} know it?"
        )
    })
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    command
}

fn rustup() -> Command {
    Command::new("rustup")
}
