//! Time: the only place of the daemon that reads the clocks.
//!
//! [`Clock`] gives ms since the Unix epoch that never jump while the daemon lives: the wall clock
//! is read once, at the start, and the monotonic clock carries it on. A step of the wall clock
//! would otherwise end all drains at once.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_getres, clock_gettime};

/// A clock that never goes back. Cheap to copy; copies agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// In ns of the monotonic clock.
    started_ns: u64,
    /// In ms since the Unix epoch.
    started_at_ms: u64,
}

impl Clock {
    /// Starts from the present wall clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the home of the wall clock")]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started_ns: monotonic_ns(), started_at_ms: millis(since_epoch) }
    }

    /// Now, in ms since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.at_ns(monotonic_ns()) / 1_000_000
    }

    /// What this clock showed at a moment of the monotonic clock, in ns since the Unix epoch.
    #[must_use]
    pub fn at_ns(&self, monotonic_ns: u64) -> u64 {
        let started_at_ns = self.started_at_ms.saturating_mul(1_000_000);
        started_at_ns.saturating_add(monotonic_ns).saturating_sub(self.started_ns)
    }

    /// When the clock was started: ms since the Unix epoch.
    #[must_use]
    pub fn started_at_ms(&self) -> u64 {
        self.started_at_ms
    }
}

/// Now, in ns of the monotonic clock, which the packet path reads as `bpf_ktime_get_ns`.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let ns = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u64::try_from(ns).unwrap_or_default()
}

/// Length of a tick of the kernel's timer in ns; None where its timers are no more precise than
/// that, and lost ticks are never made up for.
#[must_use]
pub fn tick_ns() -> Option<u64> {
    let precision = |clock| clock_getres(clock).tv_nsec;
    let tick_ns = precision(ClockId::MonotonicCoarse);
    (precision(ClockId::Monotonic) < tick_ns).then(|| u64::try_from(tick_ns).ok()).flatten()
}

/// A stop watch.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the home of the monotonic clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since its start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
