//! Health: what a run of answered and unanswered checks says. A pure state machine; it neither
//! probes nor waits.
//!
//! Health is kept per path, that is per server and device, because a server's process for one
//! device can die while the others live. A server's own health is derived from its paths in
//! [`super::observed`].

use serde::{Deserialize, Serialize};

/// Measured health of a server, or of a server for one device.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Answers its checks.
    Healthy,
    /// Failed its last check; being asked again at once.
    Suspect,
    /// Failed `fall` checks in a row.
    Dead,
    /// Not asked yet.
    #[default]
    Unknown,
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Suspect, Self::Dead, Self::Unknown];

    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

/// How many checks in a row change a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Answered checks until a dead path is healthy again; at least 1.
    pub rise: u32,
    /// Failed checks until a path is dead; at least 1.
    pub fall: u32,
}

/// What became of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckResult {
    /// The server answered as it should.
    Answered {
        /// How long it took, in microseconds.
        took_us: u64,
    },
    /// Nobody refused, which is as good an answer as a UDP service gives. It says nothing about our
    /// own side of the network.
    NotRefused,
    /// Somebody answered that it cannot be done: connection refused, unreachable. A failure of the
    /// server, and at the same time proof that our own side of the network works.
    Refused(String),
    /// A program of the operator's says no, or does not end. What it looked at is not known, so it
    /// says nothing about our own side of the network.
    Failed(String),
    /// Nobody answered in time. The server's failure, or ours.
    Silent(String),
    /// The check could not be made properly, for a reason of our own: no verdict.
    NotAsked(String),
}

/// A change of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
}

/// A run of checks that nobody answered. Times are ms since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// When its first check was sent.
    pub since_ms: u64,
    /// When its last check was sent.
    pub last_ms: u64,
}

/// The health of one path and what it rests on. Times are ms since the Unix epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathHealth {
    /// The verdict.
    pub health: Health,
    /// Since when the verdict stands.
    pub since_ms: u64,
    /// Results in a row that speak against the verdict (for a suspect: failures so far).
    pub run_len: u32,
    /// The present run of silence; None while somebody answers, be it with a refusal.
    pub silence: Option<Silence>,
    /// When the first check of the present run that was answered with no was sent; None while the
    /// answer is yes.
    pub refused_since_ms: Option<u64>,
    /// When the last check that anybody answered, with yes or no, was sent.
    pub answer_at_ms: Option<u64>,
    /// When the last check that did not fail was sent.
    pub well_at_ms: Option<u64>,
    /// What the last failed check met with; None when the last check was answered.
    pub last_error: Option<String>,
    /// How long the last answered check took, in microseconds.
    pub took_us: Option<u64>,
}

impl PathHealth {
    /// Takes one result in. `asked_at_ms` is when the check was sent, `now_ms` when its result
    /// came.
    pub fn record(
        &mut self,
        result: &CheckResult,
        asked_at_ms: u64,
        now_ms: u64,
        thresholds: Thresholds,
    ) -> Option<Transition> {
        match result {
            CheckResult::Answered { took_us } => {
                self.answer_at_ms = Some(asked_at_ms);
                self.took_us = Some(*took_us);
                self.answered(asked_at_ms, now_ms, thresholds)
            }
            CheckResult::NotRefused => self.answered(asked_at_ms, now_ms, thresholds),
            CheckResult::Refused(error) => {
                self.answer_at_ms = Some(asked_at_ms);
                self.refused(error, asked_at_ms);
                self.failed(now_ms, thresholds)
            }
            CheckResult::Failed(error) => {
                self.refused(error, asked_at_ms);
                self.failed(now_ms, thresholds)
            }
            CheckResult::Silent(error) => {
                self.last_error = Some(error.clone());
                let since_ms = self.silence.map_or(asked_at_ms, |silence| silence.since_ms);
                self.silence = Some(Silence { since_ms, last_ms: asked_at_ms });
                self.failed(now_ms, thresholds)
            }
            CheckResult::NotAsked(_) => None,
        }
    }

    fn refused(&mut self, error: &str, asked_at_ms: u64) {
        (self.last_error, self.silence) = (Some(error.to_owned()), None);
        self.refused_since_ms.get_or_insert(asked_at_ms);
    }

    fn answered(
        &mut self,
        asked_at_ms: u64,
        now_ms: u64,
        thresholds: Thresholds,
    ) -> Option<Transition> {
        (self.last_error, self.silence, self.refused_since_ms) = (None, None, None);
        self.well_at_ms = Some(asked_at_ms);
        match self.health {
            Health::Healthy => None,
            Health::Suspect | Health::Unknown => self.become_(Health::Healthy, now_ms),
            Health::Dead => {
                self.run_len = self.run_len.saturating_add(1);
                if self.run_len < thresholds.rise {
                    return None;
                }
                self.become_(Health::Healthy, now_ms)
            }
        }
    }

    fn failed(&mut self, now_ms: u64, thresholds: Thresholds) -> Option<Transition> {
        if self.health == Health::Dead {
            self.run_len = 0;
            return None;
        }
        let failures = self.run_len.saturating_add(1);
        if failures >= thresholds.fall {
            return self.become_(Health::Dead, now_ms);
        }
        let transition = match self.health {
            Health::Suspect => None,
            _ => self.become_(Health::Suspect, now_ms),
        };
        self.run_len = failures;
        transition
    }

    fn become_(&mut self, to: Health, now_ms: u64) -> Option<Transition> {
        let from = self.health;
        self.health = to;
        self.since_ms = now_ms;
        self.run_len = 0;
        Some(Transition { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Thresholds = Thresholds { rise: 2, fall: 2 };

    fn yes() -> CheckResult {
        CheckResult::Answered { took_us: 300 }
    }
    fn no() -> CheckResult {
        CheckResult::Refused("connection refused".into())
    }
    fn silent() -> CheckResult {
        CheckResult::Silent("no answer within 200 ms".into())
    }

    fn after(results: &[CheckResult], thresholds: Thresholds) -> PathHealth {
        let mut path = PathHealth::default();
        for (n, result) in (0_u64..).zip(results) {
            path.record(result, 100 * n, 100 * n + 50, thresholds);
        }
        path
    }

    #[test]
    fn one_answer_makes_an_unknown_path_healthy() {
        assert_eq!(after(&[yes()], TWO).health, Health::Healthy);
    }

    #[test]
    fn one_failure_is_a_suspicion_and_the_second_is_death() {
        assert_eq!(after(&[yes(), silent()], TWO).health, Health::Suspect);
        assert_eq!(after(&[yes(), silent(), no()], TWO).health, Health::Dead);
    }

    #[test]
    fn an_answer_clears_a_suspicion_and_its_count() {
        let path = after(&[yes(), no(), yes(), no()], TWO);
        assert_eq!((path.health, path.run_len), (Health::Suspect, 1));
    }

    #[test]
    fn a_dead_path_needs_rise_answers_in_a_row() {
        assert_eq!(after(&[no(), no(), yes()], TWO).health, Health::Dead);
        assert_eq!(after(&[no(), no(), yes(), no(), yes()], TWO).health, Health::Dead);
        assert_eq!(after(&[no(), no(), yes(), no(), yes(), yes()], TWO).health, Health::Healthy);
    }

    #[test]
    fn with_fall_of_one_there_is_no_suspicion() {
        let one = Thresholds { rise: 1, fall: 1 };
        assert_eq!(after(&[yes(), no()], one).health, Health::Dead);
        assert_eq!(after(&[yes(), no(), yes()], one).health, Health::Healthy);
    }

    #[test]
    fn a_check_that_was_not_asked_says_nothing() {
        let late = CheckResult::NotAsked("our own timer was 900 ms late".into());
        let path = after(&[yes(), late.clone(), late.clone(), late], TWO);
        assert_eq!((path.health, path.last_error), (Health::Healthy, None));
    }

    #[test]
    fn a_refusal_is_an_answer_and_silence_is_not() {
        assert_eq!(after(&[yes(), no()], TWO).answer_at_ms, Some(100));
        assert_eq!(after(&[silent()], TWO).answer_at_ms, None);
    }

    #[test]
    fn silence_begins_when_its_first_check_was_sent_and_ends_with_any_answer() {
        let path = after(&[yes(), no(), silent(), silent()], TWO);
        assert_eq!(path.silence, Some(Silence { since_ms: 200, last_ms: 300 }));
        assert_eq!(path.since_ms, 250);
        assert_eq!(after(&[silent(), silent(), no()], TWO).silence, None);
    }
}
