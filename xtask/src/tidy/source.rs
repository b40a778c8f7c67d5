//! A Rust file as the rules see it, and what they say about it.

use std::fmt;

use super::tokens::{self, Token};

/// A house rule: what it is called and why it exists.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) reason: &'static str,
}

const PARSES: Rule = Rule { name: "parses", reason: "no rule can judge what is not Rust" };

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) path: String,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) rule: &'static Rule,
    pub(super) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, what } = self;
        write!(out, "{path}:{line}: {}: {what}; {}", rule.name, rule.reason)
    }
}

/// One Rust file, parsed once for all rules.
pub(super) struct RustFile {
    /// Relative to the work tree.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) syntax: syn::File,
    /// All tokens, macro arguments included; comments are not tokens.
    pub(super) tokens: Vec<Token>,
}

impl RustFile {
    pub(super) fn parse(path: &str, text: String) -> Result<Self, Finding> {
        match syn::parse_file(&text) {
            Ok(syntax) => {
                let tokens = tokens::flatten(&text);
                Ok(Self { path: path.to_owned(), text, syntax, tokens })
            }
            Err(error) => Err(Finding {
                path: path.to_owned(),
                line: error.span().start().line,
                rule: &PARSES,
                what: error.to_string(),
            }),
        }
    }

    pub(super) fn finding(&self, line: usize, rule: &'static Rule, what: String) -> Finding {
        Finding { path: self.path.clone(), line, rule, what }
    }

    /// Whether the whole file is test code by its place.
    pub(super) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

/// What a rule says about a piece of source, for the rules' own tests.
#[cfg(test)]
pub(super) fn findings_of(
    path: &str,
    text: &str,
    rule: impl Fn(&RustFile, &mut Vec<Finding>),
) -> Vec<String> {
    let file = RustFile::parse(path, text.to_owned()).expect("the test's source is Rust");
    let mut findings = Vec::new();
    rule(&file, &mut findings);
    findings
        .iter()
        .map(|finding| format!("{}: {}: {}", finding.line, finding.rule.name, finding.what))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_gives_place_rule_and_reason() {
        let finding = RustFile::parse("a/b.rs", "//! A.\nfn f( {}".to_owned());
        let text = finding.err().expect("it does not parse").to_string();
        assert!(text.starts_with("a/b.rs:2: parses: "), "{text}");
        assert!(text.ends_with("; no rule can judge what is not Rust"), "{text}");
    }
}
