//! One word per thing: words that this project has replaced by others do not come back as names.

use super::source::{Finding, Rule, RustFile};

const WORD: Rule = Rule {
    name: "word",
    reason: "one word per thing, in code, API and documents alike: see ARCHITECTURE.md, \"Words\"",
};

/// A word that is not ours, and what we say instead.
const BANNED: &[(&str, &str)] = &[
    ("backend", "server"),
    ("backends", "servers"),
    ("frontend", "service address"),
    ("frontends", "service addresses"),
    ("upstream", "server"),
    ("upstreams", "servers"),
    ("realserver", "server"),
    ("volume", "device"),
    ("volumes", "devices"),
    ("vip", "service address"),
    ("vips", "service addresses"),
    ("balancer", "redirector"),
    ("loadbalancer", "redirector"),
    ("conn", "flow"),
    ("conns", "flows"),
];

/// Where a library forces the word: file, word, and which library.
const FORCED: &[(&str, &str, &str)] = &[
    ("redirector-ctl/src/api/accept.rs", "conn", "hyper's module server::conn"),
    ("redirector-ctl/src/cli/top.rs", "backend", "ratatui's module backend"),
    ("redirector-ctl/src/platform/privileges.rs", "backend", "seccompiler's Error::Backend"),
];

pub(super) fn check(file: &RustFile, findings: &mut Vec<Finding>) {
    // The table above is a list of literals, so that this file is not its own finding.
    for token in &file.tokens {
        let Some(name) = token.word() else { continue };
        for (banned, instead) in banned_words(name) {
            let is_forced =
                FORCED.iter().any(|(path, word, _)| file.path == *path && *word == banned);
            if !is_forced {
                let what = format!("`{name}` says {banned}, we say {instead}");
                findings.push(file.finding(token.line, &WORD, what));
            }
        }
    }
}

fn banned_words(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let words = split(name);
    BANNED.iter().copied().filter(move |(banned, _)| words.iter().any(|word| word == banned))
}

/// `flow_table_len` and `FlowTableLen` are the words flow, table, len.
fn split(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if c != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::super::source::findings_of;
    use super::*;

    #[test]
    fn names_fall_apart_into_words() {
        assert_eq!(split("flow_table_len"), ["flow", "table", "len"]);
        assert_eq!(split("FlowTableLen"), ["flow", "table", "len"]);
        assert_eq!(split("FLOWS_MAX"), ["flows", "max"]);
        assert_eq!(split("_l3Header"), ["l3", "header"]);
    }

    #[test]
    fn a_foreign_word_is_found_inside_a_longer_name() {
        let text = "struct BackendState;\nfn connect() {}\nfn f(old_conn: u8) {}\n";
        assert_eq!(
            findings_of("a.rs", text, check),
            [
                "1: word: `BackendState` says backend, we say server",
                "3: word: `old_conn` says conn, we say flow",
            ]
        );
    }

    #[test]
    fn comments_and_texts_may_explain_the_word() {
        assert_eq!(
            findings_of("a.rs", "//! No backend.\nconst A: &str = \"vip\";", check),
            [""; 0]
        );
    }
}
