//! What was meant for a moment and stayed: notes to oneself and prints.

use super::source::{Finding, Rule, RustFile};
use super::tokens;

const LEFTOVER: Rule = Rule {
    name: "leftover",
    reason: "a note without an owner is never done: finish it, or open an issue and name it",
};
const PRINT: Rule = Rule {
    name: "print",
    reason: "the daemon talks through tracing; standard output belongs to the command line",
};

/// Notes that are never right. Written in two parts, or this file would be its own finding.
const NOTES: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];
/// A note that is right with its issue: `(#12)` behind it.
const NOTE_WITH_ISSUE: &str = concat!("TO", "DO");
const MACROS: [&str; 3] = ["dbg", "todo", "unimplemented"];
const PRINTS: [&str; 4] = ["print", "println", "eprint", "eprintln"];
/// Programs that talk to a person at a terminal.
const PRINT_HOMES: [&str; 5] = [
    "xtask/",
    "tests/",
    "redirector-ctl/src/cli",
    "redirector-ctl/src/main.rs",
    "redirector-ctl/build.rs",
];

/// Notes in a text of any kind.
pub(super) fn check_text(path: &str, text: &str, findings: &mut Vec<Finding>) {
    for (index, line) in text.lines().enumerate() {
        let mut found = NOTES.iter().copied().find(|note| rest_after(line, note).is_some());
        if rest_after(line, NOTE_WITH_ISSUE).is_some_and(|rest| !names_an_issue(rest)) {
            found = Some(NOTE_WITH_ISSUE);
        }
        if let Some(note) = found {
            findings.push(Finding {
                path: path.to_owned(),
                line: index + 1,
                rule: &LEFTOVER,
                what: format!("`{note}`"),
            });
        }
    }
}

/// Macros that are notes, and prints where nobody reads them.
pub(super) fn check_macros(file: &RustFile, findings: &mut Vec<Finding>) {
    let may_print = PRINT_HOMES.iter().any(|home| file.path.starts_with(home)) || file.is_test();
    let tokens = tokens::without_tests(&file.tokens);
    for pair in tokens.windows(2) {
        let Some(name) = pair[0].word().filter(|_| pair[1].is_mark('!')) else { continue };
        if MACROS.contains(&name) {
            findings.push(file.finding(pair[0].line, &LEFTOVER, format!("`{name}!`")));
        }
        if PRINTS.contains(&name) && !may_print {
            findings.push(file.finding(pair[0].line, &PRINT, format!("`{name}!`")));
        }
    }
}

/// What follows `word` in the line where it stands by itself.
fn rest_after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let belongs = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).find_map(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + word.len()..]);
        (!before.ends_with(belongs) && !after.starts_with(belongs)).then_some(after)
    })
}

fn names_an_issue(rest: &str) -> bool {
    rest.strip_prefix("(#")
        .and_then(|rest| rest.split_once(')'))
        .is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::source::findings_of;
    use super::*;

    fn lines_with_notes(text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check_text("a.md", text, &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn notes_are_found_where_they_stand_alone() {
        let text = format!("a\n# {}: b\n{} c\nmktemp a.XXXXXX\n", NOTES[0], NOTES[1]);
        assert_eq!(lines_with_notes(&text), [2, 3]);
    }

    #[test]
    fn a_note_with_its_issue_may_stay() {
        let text = format!("{NOTE_WITH_ISSUE}: a\n{NOTE_WITH_ISSUE}(#12): b\n");
        assert_eq!(lines_with_notes(&text), [1]);
    }

    #[test]
    fn prints_belong_to_the_command_line() {
        let text = "fn f() { println!(); }\n#[cfg(test)]\nmod tests { fn g() { println!(); } }\n";
        let found = findings_of("redirector-ctl/src/core/plan.rs", text, check_macros);
        assert_eq!(found, ["1: print: `println!`"]);
        assert_eq!(findings_of("redirector-ctl/src/cli/render.rs", text, check_macros), [""; 0]);
    }

    #[test]
    fn unfinished_code_is_found() {
        let found = findings_of("xtask/src/a.rs", "fn f() { todo!() }", check_macros);
        assert_eq!(found, ["1: leftover: `todo!`"]);
    }
}
