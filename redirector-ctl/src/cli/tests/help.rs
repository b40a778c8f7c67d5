//! What commands say of themselves.

use clap::{CommandFactory as _, Parser as _};

use super::super::Args;

/// The commands that have no further ones, each with the words that lead to it.
fn leaves(command: &clap::Command, words: &[&str]) -> Vec<(String, String)> {
    let words = [words, &[command.get_name()]].concat();
    let mut below = command.get_subcommands().peekable();
    if below.peek().is_none() {
        return vec![(words.join(" "), command.clone().render_long_help().to_string())];
    }
    below.flat_map(|command| leaves(command, &words)).collect()
}

/// The command of an example, without what a shell does with it and what is said of it.
fn command_of(line: &str) -> Vec<&str> {
    let is_for_the_shell = |word: &&str| !matches!(*word, "|" | ">");
    let typed = line.trim().split("   ").next().unwrap_or_default();
    typed.split_whitespace().take_while(is_for_the_shell).collect()
}

#[test]
fn the_help_of_every_command_has_examples_which_it_takes() {
    let leaves = leaves(&Args::command(), &[]);
    assert!(leaves.len() > 30, "{leaves:?}");
    for (command, help) in leaves {
        let (_, examples) = help.split_once("Example").unwrap_or_else(|| {
            panic!("the help of `{command}` has no example");
        });
        let of_it = |line: &&str| {
            let words = command_of(line);
            let mut rest = words.iter();
            command.split(' ').all(|wanted| rest.any(|word| *word == wanted))
        };
        let lines: Vec<&str> =
            examples.lines().filter(|line| line.starts_with("  redirector ")).collect();
        assert!(lines.iter().any(of_it), "no example of `{command}` itself: {lines:?}");
        for line in lines {
            let parsed = Args::try_parse_from(command_of(line));
            assert!(parsed.is_ok(), "`{line}` in the help of `{command}`: {:?}", parsed.err());
        }
    }
}
