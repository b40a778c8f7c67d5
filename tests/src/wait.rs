//! Waiting: the one place of the harness that knows a clock and pauses a thread.
//!
//! Everything else waits for a condition with a deadline ([`until`]) or beats a steady time
//! ([`Pace`]); nothing sleeps and hopes. When a deadline passes, the error says what was last seen.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What a look at a condition has found.
pub enum Look<T> {
    /// The condition holds.
    Done(T),
    /// It does not hold yet; the text says what was seen instead.
    NotYet(String),
}

/// The monotonic clock of the harness.
#[allow(clippy::disallowed_methods, reason = "the harness measures real time; this is its clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// The processor time of this thread, which neighbours on the machine do not add to.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Looks every few milliseconds until `look` is done, at most for `within`.
///
/// # Errors
/// The error of `look`, at once; or, when the deadline passes, `what` was waited for, for how long,
/// and what was last seen.
pub fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<T> {
    let deadline = now() + within;
    loop {
        let seen = match look()? {
            Look::Done(value) => return Ok(value),
            Look::NotYet(seen) => seen,
        };
        if now() >= deadline {
            bail!("waited {:.1} s for {what}; last seen: {seen}", within.as_secs_f64());
        }
        pause(LOOK_INTERVAL);
    }
}

/// As [`until`], for a condition that may fail while it does not hold yet: an error of `look`
/// counts as "not yet" and is what the deadline's error reports.
///
/// # Errors
/// When the deadline passes.
pub fn until_ok<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    until(what, within, || {
        Ok(match look() {
            Ok(value) => Look::Done(value),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
}

/// A steady beat, for work that repeats at a rate. A late beat is not made up for.
pub struct Pace {
    period: Duration,
    next: Instant,
}

impl Pace {
    /// Beats every `period`, first after one period.
    pub fn every(period: Duration) -> Self {
        Self { period, next: now() + period }
    }

    /// Waits for the next beat.
    pub fn beat(&mut self) {
        let time = now();
        if self.next > time {
            pause(self.next - time);
        }
        self.next = now().max(self.next) + self.period;
    }
}

/// Lets `span` pass because the passing of time is itself what is tested or shown (a daemon that is
/// away for ten seconds). Never use it to wait for something to happen.
pub fn let_pass(span: Duration) {
    pause(span);
}

#[allow(clippy::disallowed_methods, reason = "the one pause that every wait is made of")]
fn pause(span: Duration) {
    thread::sleep(span);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_passes_says_what_was_last_seen() {
        let mut looks = 0;
        let error = until::<()>("the moon", Duration::from_millis(20), || {
            looks += 1;
            Ok(Look::NotYet(format!("cloud {looks}")))
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains("for the moon"), "{error}");
        assert!(error.contains(&format!("cloud {looks}")), "{error}");
    }

    #[test]
    fn a_condition_that_holds_ends_the_wait_with_its_value() {
        let mut looks = 0;
        let value = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok(if looks == 3 { Look::Done(looks) } else { Look::NotYet(String::new()) })
        });
        assert_eq!(value.unwrap(), 3);
    }
}
