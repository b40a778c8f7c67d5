//! `tests/INTERFACES.md` has every endpoint and every command, and the tests that it names exist
//! and speak of them, themselves or in what they call of their own file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::CommandFactory as _;
use redirector_ctl::cli::Args;
use serde_json::Value;

fn read(path: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))
}

/// What the table lists -> file and test.
fn listed() -> Result<BTreeMap<String, (String, String)>> {
    let mut listed = BTreeMap::new();
    for line in read("tests/INTERFACES.md")?.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        let [what, file, test] = cells[..] else { anyhow::bail!("not three cells: {line}") };
        let twice = listed.insert(what.to_owned(), (file.to_owned(), test.to_owned()));
        ensure!(twice.is_none(), "{what} is listed twice");
    }
    Ok(listed)
}

/// Every operation of the committed document -> the last word of its path that is always the same.
fn endpoints() -> Result<BTreeMap<String, String>> {
    let document: Value = serde_json::from_str(&read("redirector-ctl/openapi.json")?)?;
    let mut all = BTreeMap::new();
    for (path, item) in document["paths"].as_object().context("no paths")? {
        for method in item.as_object().context("no operations")?.keys() {
            let fixed = path.rsplit('/').find(|word| !word.starts_with('{'));
            let fixed = fixed.context("a path of parameters alone")?;
            all.insert(format!("{} {path}", method.to_uppercase()), fixed.to_owned());
        }
    }
    Ok(all)
}

/// Every command that does something -> its last word.
fn commands(of: &clap::Command, words: &str, all: &mut BTreeMap<String, String>) {
    for command in of.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let words = format!("{words} {name}").trim().to_owned();
        if command.has_subcommands() {
            commands(command, &words, all);
        } else {
            all.insert(words, name.to_owned());
        }
    }
}

/// The functions at the left margin of a file: name -> text.
fn functions(text: &str) -> BTreeMap<&str, String> {
    let (mut all, mut name) = (BTreeMap::<&str, String>::new(), None);
    for line in text.lines() {
        let is_fn = |words: &&str| words.starts_with("fn ");
        let heads =
            ["pub ", "async "].iter().fold(line, |rest, word| rest.trim_start_matches(word));
        if let Some(rest) = Some(heads).filter(is_fn).map(|heads| &heads[3..]) {
            name = rest.split(['(', '<']).next();
        }
        if let Some(name) = name {
            all.entry(name).or_default().push_str(line);
        }
        if line == "}" {
            name = None;
        }
    }
    all
}

/// The text of a test and of everything in its file that it calls.
fn reach(test: &str, text: &str) -> Option<String> {
    let functions = functions(text);
    let (mut reached, mut names) = (String::new(), vec![test]);
    let mut at = 0;
    functions.get(test)?;
    while let Some(body) = names.get(at).and_then(|name| functions.get(name)) {
        let called = functions.keys().filter(|name| body.contains(&format!("{name}(")));
        let new: Vec<_> = called.filter(|name| !names.contains(*name)).copied().collect();
        names.extend(new);
        reached.push_str(body);
        at += 1;
    }
    Some(reached)
}

#[test]
fn every_endpoint_and_command_is_listed_with_a_test_that_exists() -> Result<()> {
    let listed = listed()?;
    let mut wanted = endpoints()?;
    let endpoints_len = wanted.len();
    commands(&Args::command(), "", &mut wanted);
    ensure!(wanted.len() > endpoints_len + 20, "only {} in all", wanted.len());
    let names = |of: &BTreeMap<String, _>| of.keys().cloned().collect::<Vec<_>>();
    let unlisted: Vec<_> = names(&wanted).into_iter().filter(|w| !listed.contains_key(w)).collect();
    ensure!(unlisted.is_empty(), "tests/INTERFACES.md lacks {unlisted:?}");
    for (what, (file, test)) in &listed {
        let word = wanted.get(what).with_context(|| format!("there is no {what} any more"))?;
        let text = read(file)?;
        let reach = reach(test, &text).with_context(|| format!("{what}: no {test} in {file}"))?;
        // A client of the harness or the command line writes the path in pieces.
        ensure!(reach.contains(word), "{what}: {test} in {file} does not speak of {word}");
    }
    Ok(())
}
