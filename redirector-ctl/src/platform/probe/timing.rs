//! How long a check waits, and how long to the next one.

use std::time::Duration;

use super::race::{Finding, Limits};
use super::{Manner, Target};
use crate::core::answer_time::AnswerTime;
use crate::core::check::{CheckKind, CheckPace};
use crate::core::health::CheckResult;
use crate::core::spec::Protocol;

/// When to ask and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeTiming {
    /// From the end of one check to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a server under suspicion may take to accept a connection, unless it usually takes
    /// longer.
    pub confirm_timeout: Duration,
    /// By how much an interval may be longer or shorter by chance, in percent.
    pub jitter_pct: u8,
}

impl ProbeTiming {
    /// The timing of one device, which may have a pace of its own. The jitter is the same for all.
    pub(super) fn at(&self, pace: &CheckPace) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (interval_ms, timeout_ms) = pace.times_ms(ms(self.interval), ms(self.timeout));
        let interval = Duration::from_millis(interval_ms);
        Self { interval, timeout: Duration::from_millis(timeout_ms), ..*self }
    }

    /// How long this check of `target` waits. Who is under suspicion has little time to accept a
    /// connection, which is its kernel's business, and as much as ever for everything else:
    /// programs pause.
    pub(super) fn limits(&self, manner: Manner, target: &Target, usual: &Usual) -> Limits {
        let answer = self.timeout;
        let of = |time: &AnswerTime| time.patience_us().map(Duration::from_micros);
        let is_connected =
            target.protocol != Protocol::Udp && target.check.kind() != CheckKind::Exec;
        match manner {
            Manner::Confirming if is_connected => {
                let connect =
                    of(&usual.accept).map_or(answer, |time| time.max(self.confirm_timeout));
                Limits { connect: connect.min(answer), answer, usual: None }
            }
            _ => Limits { connect: answer, answer, usual: of(&usual.answer) },
        }
    }
}

/// How long a path usually takes.
#[derive(Debug, Default)]
pub(super) struct Usual {
    /// To accept a connection.
    accept: AnswerTime,
    /// To answer a check.
    answer: AnswerTime,
}

impl Usual {
    pub(super) fn note(&mut self, finding: &Finding) {
        if let CheckResult::Answered { took_us } = finding.result {
            self.answer.note(took_us);
            self.accept.note(finding.accepted_us.unwrap_or(took_us));
        }
    }
}
