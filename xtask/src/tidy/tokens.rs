//! Rust as one flat list of tokens: what rules about names need, inside macros as well.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A token with its line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What rules tell apart; literals are of no interest to any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier or keyword, without a raw prefix.
    Word(String),
    /// A punctuation character or a bracket.
    Mark(char),
    Literal,
}

impl Token {
    pub(super) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// The tokens of a source; empty when it does not even consist of tokens.
pub(super) fn flatten(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    if let Ok(stream) = text.parse() {
        push(stream, &mut tokens);
    }
    tokens
}

fn push(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let brackets = match group.delimiter() {
                    Delimiter::Parenthesis => Some(('(', ')')),
                    Delimiter::Brace => Some(('{', '}')),
                    Delimiter::Bracket => Some(('[', ']')),
                    Delimiter::None => None,
                };
                if let Some((open, _)) = brackets {
                    tokens.push(Token { line, kind: Kind::Mark(open) });
                }
                let end_line = group.span_close().start().line;
                push(group.stream(), tokens);
                if let Some((_, close)) = brackets {
                    tokens.push(Token { line: end_line, kind: Kind::Mark(close) });
                }
            }
            TokenTree::Ident(ident) => {
                let word = ident.to_string().trim_start_matches("r#").to_owned();
                tokens.push(Token { line, kind: Kind::Word(word) });
            }
            TokenTree::Punct(punct) => {
                tokens.push(Token { line, kind: Kind::Mark(punct.as_char()) });
            }
            TokenTree::Literal(_) => tokens.push(Token { line, kind: Kind::Literal }),
        }
    }
}

/// The same tokens without the items under `#[cfg(test)]`.
pub(super) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        if starts_test_item(rest) {
            rest = &rest[item_len(rest)..];
        } else {
            kept.push(first.clone());
            rest = after;
        }
    }
    kept
}

fn starts_test_item(tokens: &[Token]) -> bool {
    let wanted = ["#", "[", "cfg", "(", "test", ")", "]"];
    tokens.len() >= wanted.len()
        && tokens.iter().zip(wanted).all(|(token, wanted)| match &token.kind {
            Kind::Word(word) => word == wanted,
            Kind::Mark(mark) => wanted.len() == 1 && wanted.starts_with(*mark),
            Kind::Literal => false,
        })
}

/// How many tokens the item takes: to its closing brace or semicolon outside all brackets.
fn item_len(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Mark('(' | '[' | '{') => depth += 1,
            Kind::Mark(close @ (')' | ']' | '}')) => {
                depth = depth.saturating_sub(1);
                if depth == 0 && close == '}' {
                    return index + 1;
                }
            }
            Kind::Mark(';') if depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// A path like `std::fs::read`, or one leaf of `use std::{fs::read, io}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathName {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
}

/// Keywords behind which a path may begin with `::`; they are never a part of it.
const BEFORE_A_PATH: [&str; 9] =
    ["use", "as", "dyn", "impl", "in", "match", "mut", "return", "where"];

/// Every path in the tokens, in imports, expressions, types and macro arguments alike.
pub(super) fn paths(tokens: &[Token]) -> Vec<PathName> {
    let mut found = Vec::new();
    let mut position = 0;
    while position < tokens.len() {
        position = match tokens[position].word() {
            Some(_) => read_path(tokens, position, &[], &mut found),
            None => position + 1,
        };
    }
    found
}

/// Reads the path that starts at `position` behind `prefix` and returns where it ends.
fn read_path(
    tokens: &[Token],
    position: usize,
    prefix: &[String],
    found: &mut Vec<PathName>,
) -> usize {
    let line = tokens[position].line;
    let mut segments = prefix.to_vec();
    let mut next = position;
    while let Some(word) = tokens.get(next).and_then(Token::word) {
        segments.push(word.to_owned());
        next += 1;
        let is_followed_by_two_colons =
            tokens.len() > next + 1 && tokens[next].is_mark(':') && tokens[next + 1].is_mark(':');
        if BEFORE_A_PATH.contains(&word) || !is_followed_by_two_colons {
            break;
        }
        next += 2;
        if tokens.get(next).is_some_and(|token| token.is_mark('{')) {
            return read_group(tokens, next + 1, &segments, found);
        }
    }
    found.push(PathName { line, segments });
    next
}

/// Reads the leaves of `prefix::{a, b::c}` from behind the brace and returns where it ends.
fn read_group(
    tokens: &[Token],
    position: usize,
    prefix: &[String],
    found: &mut Vec<PathName>,
) -> usize {
    let mut next = position;
    while let Some(token) = tokens.get(next) {
        if token.is_mark('}') {
            return next + 1;
        }
        next = match token.word() {
            Some(_) => read_path(tokens, next, prefix, found),
            None => next + 1,
        };
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_names(text: &str) -> Vec<String> {
        paths(&flatten(text)).iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn grouped_imports_are_spelt_out() {
        let names = path_names("use std::{fs::{self, read}, io}; use ::tokio::net;");
        let wanted = ["use", "std::fs::self", "std::fs::read", "std::io", "use", "tokio::net"];
        assert_eq!(names, wanted);
    }

    #[test]
    fn paths_inside_macros_are_seen() {
        let names = path_names("fn f() { assert!(std::fs::exists(\"x\")); }");
        assert!(names.contains(&"std::fs::exists".to_owned()), "{names:?}");
    }

    #[test]
    fn test_items_are_left_out_and_nothing_else() {
        let text = "fn a() {} #[cfg(test)] mod tests { fn b() { c(); } } fn d() {} \
                    #[cfg(test)] mod e; fn f() {}";
        let words: Vec<_> = without_tests(&flatten(text))
            .iter()
            .filter_map(|token| token.word().map(str::to_owned))
            .collect();
        assert_eq!(words, ["fn", "a", "fn", "d", "fn", "f"]);
    }
}
