//! `cargo xtask lab SCENARIO`: repeated measurements in network namespaces.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use crate::{harness, setup};

/// Arguments of `cargo xtask lab`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The scenario and its options (`--json FILE` writes the report for programs); `--help` lists
    /// them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    rest: Vec<OsString>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let peers = peers_of(&arguments.rest);
    if !peers.is_empty() {
        setup::ensure_ready_with(peers)?;
    }
    match harness::become_harness("lab", arguments.rest.clone())? {}
}

/// Programs that are measured beside the product, of which no other command knows.
fn peers_of(rest: &[OsString]) -> &'static [&'static str] {
    let words = rest.iter().filter_map(|word| word.to_str());
    let names_haproxy =
        |word: &str| word.starts_with("haproxy") || matches!(word, "deaths" | "all");
    if words.into_iter().any(names_haproxy) { &["haproxy"] } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haproxy_is_asked_for_by_the_scenarios_that_start_it_and_by_no_other() {
        let peers =
            |words: &str| peers_of(&words.split(' ').map(OsString::from).collect::<Vec<_>>());
        for words in ["haproxy-default", "haproxy_tuned --runs 3", "--json x deaths", "all"] {
            assert_eq!(peers(words), ["haproxy"], "{words}");
        }
        for words in ["failover", "death-idle --runs 30", "flood-syn"] {
            assert_eq!(peers(words), <[&str; 0]>::default(), "{words}");
        }
    }
}
