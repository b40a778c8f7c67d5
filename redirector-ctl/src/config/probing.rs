//! How a device's servers are asked: the fields of `[[device]]` that begin with `check`, and its
//! `rise` and `fall`.

use super::problem::Report;
use super::reader::Section;
use crate::core::check::{Check, CheckBody, CheckKind, CheckPace, IscsiSession};

const SESSIONS: [(&str, IscsiSession); 2] =
    [("discovery", IscsiSession::Discovery), ("normal", IscsiSession::Normal)];

/// The check: a word or a table.
pub(super) fn check(section: &mut Section<'_>, report: &mut Report<'_>) -> Check {
    let (field, body) = if section.has_table("check") {
        let Some(table) = section.inline_table("check", report) else { return Check::default() };
        (section.field("check."), body(table, report))
    } else {
        (section.field("check"), section.word("check", &kinds(), report).map(CheckBody::new))
    };
    let flaws = match body.map(CheckBody::check) {
        None => return Check::default(),
        Some(Ok(check)) => return check,
        Some(Err(flaws)) => flaws,
    };
    for flaw in flaws {
        if field.ends_with('.') {
            report.problem(&format!("{field}{}", flaw.field), flaw.detail);
        } else {
            let detail = format!(
                "needs `{}`: write a table such as {{ kind = \"exec\", command = [\"/path\"] }}",
                flaw.field
            );
            report.problem(&field, detail);
        }
    }
    Check::default()
}

/// How often, and how many answers decide.
pub(super) fn pace(section: &mut Section<'_>, report: &mut Report<'_>) -> CheckPace {
    let times = CheckPace::INTERVAL_MIN_MS..=CheckPace::TIME_MAX_MS;
    CheckPace {
        interval_ms: section.number("check_interval_ms", times, report),
        timeout_ms: section.number("check_timeout_ms", 1..=CheckPace::TIME_MAX_MS, report),
        rise: section.number("rise", 1..=CheckPace::RUN_MAX, report),
        fall: section.number("fall", 1..=CheckPace::RUN_MAX, report),
    }
}

fn body(mut section: Section<'_>, report: &mut Report<'_>) -> Option<CheckBody> {
    let kind = section.word("kind", &kinds(), report);
    let names = CheckKind::ALL.map(CheckKind::name).join(", ");
    let kind = section.require("kind", kind, &format!("write one of: {names}"), report);
    let statuses = 100..=599;
    let parameters = CheckBody {
        path: section.string("path", report),
        host: section.string("host", report),
        status_min: section.number("status_min", statuses.clone(), report),
        status_max: section.number("status_max", statuses, report),
        export: section.string("export", report),
        size_bytes: section.number("size_bytes", 0..=u64::MAX / 2, report),
        target: section.string("target", report),
        initiator: section.string("initiator", report),
        session: section.word("session", &SESSIONS, report),
        version: section.number("version", 3..=4, report),
        command: section.strings("command", report),
        ..CheckBody::new(CheckKind::Connect)
    };
    let field = section.field("");
    section.finish(report);
    let body = CheckBody { kind: kind?, ..parameters };
    // What could not be read must not be judged as if it had been left out.
    (!report.has_problem_in(field.trim_end_matches('.'))).then_some(body)
}

fn kinds() -> [(&'static str, CheckKind); CheckKind::ALL.len()] {
    CheckKind::ALL.map(|kind| (kind.name(), kind))
}
