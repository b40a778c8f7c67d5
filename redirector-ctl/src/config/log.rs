//! `[log]`: how the daemon writes its log.

use super::problem::Report;
use super::reader::Section;

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// What its lines look like.
    pub format: LogFormat,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// A sentence and its fields, for people.
    #[default]
    Text,
    /// A JSON object, for programs.
    Json,
}

pub(super) fn log(mut section: Section<'_>, report: &mut Report<'_>) -> LogConfig {
    let format = section.word("format", &FORMATS, report).unwrap_or_default();
    section.finish(report);
    LogConfig { format }
}
