//! Where our own programs are: next to each other in cargo's target directory.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The daemon and command line.
///
/// # Errors
/// When it has not been built.
pub fn redirector() -> Result<PathBuf> {
    locate("redirector", "REDIRECTOR_BIN")
}

/// This harness's own program, which holds the echo servers.
///
/// # Errors
/// When it has not been built.
pub fn lab() -> Result<PathBuf> {
    locate("redirector-lab", "REDIRECTOR_LAB_BIN")
}

/// Finds `name`: where the environment's `variable` says, else in the directory of the running
/// program, else one above it (tests run from target/<profile>/deps).
fn locate(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("{variable} names {}, which is no file", path.display());
        }
        return std::path::absolute(path).context("the absolute form of a path");
    }
    let current = std::env::current_exe().context("where this program is")?;
    let found =
        current.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "no {name} next to {}: `cargo xtask` builds it; or name it with {variable}",
            current.display()
        )
    })
}
