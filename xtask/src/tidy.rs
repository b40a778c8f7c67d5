//! `cargo xtask tidy`: the house rules that a program can check.
//!
//! Formatting is rustfmt's work and bugs are clippy's; here are the rules of this house that
//! neither knows. Each finding names the place, the rule and the rule's reason, and there is no way
//! to silence one from within a file: exceptions stand in the rules' own tables, with reasons.

mod layers;
mod leftovers;
mod markdown;
mod sizes;
mod source;
mod tokens;
mod unsafety;
mod words;

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::run;
use source::{Finding, RustFile};

/// Arguments of `cargo xtask tidy`.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn main(_arguments: &Arguments) -> Result<ExitCode> {
    let paths = list_files()?;
    let mut findings = Vec::new();
    for path in &paths {
        // A file may be listed and gone: deleted in the work tree, not yet in the index.
        let Ok(bytes) = fs::read(run::workspace_dir().join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            check(path, text, &mut findings);
        }
    }
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {} findings", paths.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(path: &str, text: String, findings: &mut Vec<Finding>) {
    leftovers::check_text(path, &text, findings);
    if path.ends_with(".md") {
        markdown::check(path, &text, run::workspace_dir(), findings);
    }
    if !path.ends_with(".rs") {
        return;
    }
    match RustFile::parse(path, text) {
        Ok(file) => {
            sizes::check(&file, findings);
            layers::check(&file, findings);
            leftovers::check_macros(&file, findings);
            unsafety::check(&file, findings);
            words::check(&file, findings);
        }
        Err(finding) => findings.push(finding),
    }
}

/// Paths of all files that are ours, relative to the work tree: what git knows and what it would
/// not ignore.
fn list_files() -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(run::workspace_dir())
        .output()
        .context("cannot start git, which knows the files of this work tree")?;
    ensure!(
        output.status.success(),
        "git does not list the files of {}: {}",
        run::workspace_dir().display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let listing = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(listing.split_terminator('\0').map(str::to_owned).collect())
}
