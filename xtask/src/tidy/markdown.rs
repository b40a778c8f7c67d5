//! Documents: links that lead somewhere, one title, code blocks that say their language.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::source::{Finding, Rule};

const LINK: Rule =
    Rule { name: "link", reason: "a link that leads nowhere costs the reader more than none" };
const TITLE: Rule =
    Rule { name: "title", reason: "a document has one title: one heading of level 1" };
const CODE_LANGUAGE: Rule = Rule {
    name: "code-language",
    reason: "a code block says what it is (`console`, `rust`, `toml`, `text`), for eyes and tools",
};

/// Checks one document; `root` is the directory that `path` is relative to.
pub(super) fn check(path: &str, text: &str, root: &Path, findings: &mut Vec<Finding>) {
    let line_of = |range: &Range<usize>| text[..range.start].matches('\n').count() + 1;
    let mut report = |line, rule, what| {
        findings.push(Finding { path: path.to_owned(), line, rule, what });
    };
    let mut titles_len = 0;
    for (event, range) in parser(text).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { level: HeadingLevel::H1, .. }) => {
                titles_len += 1;
                if titles_len == 2 {
                    report(line_of(&range), &TITLE, "a second title".to_owned());
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                if let Some(what) = broken(path, text, root, &dest_url) {
                    report(line_of(&range), &LINK, what);
                }
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language)))
                if language.is_empty() =>
            {
                report(line_of(&range), &CODE_LANGUAGE, "a code block without one".to_owned());
            }
            _ => {}
        }
    }
    if titles_len == 0 {
        report(1, &TITLE, "no title".to_owned());
    }
}

fn parser(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES)
}

/// What is wrong with a link inside the project; links to the outside are not followed.
fn broken(path: &str, text: &str, root: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let directory = Path::new(path).parent().unwrap_or(Path::new(""));
    let file_path = root.join(directory).join(file);
    if !file.is_empty() && !file_path.exists() {
        return Some(format!("`{target}`: no such file"));
    }
    let anchor = anchor?;
    let has_anchor = if file.is_empty() {
        anchors(text).contains(anchor)
    } else {
        !file.ends_with(".md")
            || fs::read_to_string(file_path).is_ok_and(|text| anchors(&text).contains(anchor))
    };
    (!has_anchor).then(|| format!("`{target}`: no such heading"))
}

/// The anchors of a document's headings, made as the usual forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in parser(text) {
        match (event, &mut heading) {
            (Event::Start(Tag::Heading { .. }), _) => heading = Some(String::new()),
            (Event::End(TagEnd::Heading(_)), Some(words)) => {
                anchors.insert(words.to_lowercase().replace(' ', "-"));
                heading = None;
            }
            (Event::Text(part) | Event::Code(part), Some(words)) => {
                let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
                words.extend(part.chars().filter(is_kept));
            }
            _ => {}
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        check("README.md", text, root, &mut findings);
        findings.iter().map(|f| format!("{}: {}: {}", f.line, f.rule.name, f.what)).collect()
    }

    #[test]
    fn links_inside_the_project_must_lead_somewhere() {
        let text = "# A\n[a](Cargo.toml) [b](https://example.invalid/)\n[c](absent.md)\n\
                    [d](#a) [e](#b)\n";
        let found = lines(text);
        assert_eq!(found, ["3: link: `absent.md`: no such file", "4: link: `#b`: no such heading"]);
    }

    #[test]
    fn headings_become_the_anchors_that_forges_make() {
        let anchors = anchors("# What `it` is, and is not\n");
        assert!(anchors.contains("what-it-is-and-is-not"), "{anchors:?}");
    }

    #[test]
    fn a_document_has_exactly_one_title() {
        assert_eq!(lines("a\n"), ["1: title: no title"]);
        assert_eq!(lines("# A\n\n# B\n"), ["3: title: a second title"]);
    }

    #[test]
    fn code_blocks_say_their_language() {
        let found = lines("# A\n\n```\nx\n```\n\n```text\ny\n```\n");
        assert_eq!(found, ["3: code-language: a code block without one"]);
    }
}
