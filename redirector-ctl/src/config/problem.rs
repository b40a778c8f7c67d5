//! Mistakes in a configuration file: gathered while it is read, shown together.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How much of a broken line is shown.
const LINE_SHOWN_MAX: usize = 60;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file has mistakes. Prints as one line for each, `FILE:LINE: FIELD: what and what to do`.
    #[error("{}", lines_of(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All mistakes, in the order of their lines. Never empty.
        problems: Vec<ConfigProblem>,
    },
}

/// One mistake. Prints as `line 12: device[0].port: what is wrong; what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Line in the file, from 1; none where something is missing altogether.
    pub line: Option<usize>,
    /// Path of the field, such as `device[0].servers[1]`; empty for a mistake in the file's form.
    pub field: String,
    /// What is wrong and what to do.
    pub detail: String,
}

impl ConfigProblem {
    /// The problem without its line.
    fn in_words(&self) -> String {
        match self.field.as_str() {
            "" => self.detail.clone(),
            field => format!("{field}: {}", self.detail),
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.in_words())
    }
}

fn lines_of(path: &Path, problems: &[ConfigProblem]) -> String {
    let lines = problems.iter().map(|problem| match problem.line {
        Some(line) => format!("{}:{line}: {}", path.display(), problem.in_words()),
        None => format!("{}: {}", path.display(), problem.in_words()),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The mistakes found so far, and the line of every field seen so far.
pub(super) struct Report<'i> {
    text: &'i str,
    /// Byte offset at which each line begins.
    line_starts: Vec<usize>,
    /// Field path -> line.
    lines: BTreeMap<String, usize>,
    problems: Vec<ConfigProblem>,
    /// Lines whose form is wrong: what else seems wrong there only follows from it.
    broken_lines: BTreeSet<usize>,
}

impl<'i> Report<'i> {
    /// An empty report on `text`.
    pub fn new(text: &'i str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            text,
            line_starts: std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect(),
            lines: BTreeMap::new(),
            problems: Vec::new(),
            broken_lines: BTreeSet::new(),
        }
    }

    /// Remembers where the field `field` stands.
    pub fn place(&mut self, field: &str, span: Range<usize>) {
        let line = self.line_at(span.start);
        self.lines.insert(field.to_owned(), line);
    }

    /// Notes a mistake in the field `field`, on the line of the field or of its nearest parent.
    pub fn problem(&mut self, field: &str, detail: impl Into<String>) {
        let line = self.line_of(field);
        self.problems.push(ConfigProblem { line, field: field.to_owned(), detail: detail.into() });
    }

    /// Notes that the text at `span` is not TOML.
    pub fn syntax(&mut self, span: Option<Range<usize>>, detail: impl Into<String>) {
        let line = span.map(|span| self.line_at(span.start));
        self.broken_lines.extend(line);
        let shown = line.map(|line| format!(" in `{}`", self.text_of(line))).unwrap_or_default();
        let detail = format!("not valid TOML: {}{shown}", detail.into());
        self.problems.push(ConfigProblem { line, field: String::new(), detail });
    }

    /// Whether a mistake is already known of the very field `field`.
    pub fn has_problem_at(&self, field: &str) -> bool {
        self.problems.iter().any(|problem| !field.is_empty() && problem.field == field)
    }

    /// Whether a mistake is already known in `field` or in something inside it.
    pub fn has_problem_in(&self, field: &str) -> bool {
        self.problems.iter().any(|problem| {
            problem
                .field
                .strip_prefix(field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// All mistakes, in the order of their lines; what belongs to no line comes last.
    pub fn into_problems(self) -> Vec<ConfigProblem> {
        let Self { mut problems, broken_lines, .. } = self;
        problems.retain(|problem| {
            problem.field.is_empty()
                || problem.line.is_none_or(|line| !broken_lines.contains(&line))
        });
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        problems
    }

    fn line_at(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// The beginning of a line, for people.
    fn text_of(&self, line: usize) -> String {
        let text = self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        text.trim().chars().take(LINE_SHOWN_MAX).collect()
    }

    fn line_of(&self, field: &str) -> Option<usize> {
        let mut field = field;
        loop {
            if let Some(line) = self.lines.get(field) {
                return Some(*line);
            }
            field = &field[..field.rfind(['.', '['])?];
        }
    }
}
