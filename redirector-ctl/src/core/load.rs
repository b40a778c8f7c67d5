//! Load of a server: the worst of its normalised signals, and whether it may take more.
//!
//! The worst, not the mean: a server whose disk hangs looks idle to its processor. A signal that is
//! missing or old says nothing, and a server of which nothing is known gets no new load; what is
//! known of it still counts against it.

pub mod agent;
pub mod exporter;
pub mod source;

use std::fmt;

use agent::Closed;

/// A signal about a server's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Processors: busy share.
    Cpu,
    /// Memory: share in use and not reclaimable.
    Memory,
    /// Disk pressure: share of time in which tasks wait for input or output.
    Disk,
    /// Network pressure: rate against the link's rate.
    Network,
    /// Outstanding requests against the depth that the server serves well.
    Queue,
    /// Response time against the time that is still good.
    Latency,
    /// What its agent says of the server as a whole.
    Agent,
}

impl Signal {
    /// All signals, in the order in which equal ones are named.
    pub const ALL: [Self; 7] = [
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::Network,
        Self::Queue,
        Self::Latency,
        Self::Agent,
    ];

    /// The word for it in texts and labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Queue => "queue",
            Self::Latency => "latency",
            Self::Agent => "agent",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// A share of a limit: 0 is nothing, 1 is at the limit, more is beyond it. Always finite, at least
/// 0 and at most [`Share::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Share(f64);

impl Share {
    /// Where a share is cut: ten times the limit and a thousand times are the same trouble.
    pub const MAX: Self = Self(10.0);

    /// A share as measured: below 0 it is 0, and cut at [`Share::MAX`]. None when it is no number.
    #[must_use]
    pub fn new(raw: f64) -> Option<Self> {
        (!raw.is_nan()).then(|| Self(raw.clamp(0.0, Self::MAX.0)))
    }

    /// `value` as a share of `limit`, both in one unit. None when either is no number or the limit
    /// is not positive: such a signal is missing.
    #[must_use]
    pub fn of(value: f64, limit: f64) -> Option<Self> {
        (limit > 0.0).then(|| value / limit).and_then(Self::new)
    }

    /// The figure.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} %", self.0 * 100.0)
    }
}

/// One signal as last read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// What it said.
    pub share: Share,
    /// When it was measured: ms since the Unix epoch.
    pub at_ms: u64,
}

/// The latest reading of each signal of one server.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Readings([Option<Reading>; Signal::ALL.len()]);

impl Readings {
    /// Takes a reading in; one that is older than what is known is ignored.
    pub fn record(&mut self, signal: Signal, reading: Reading) {
        let known = &mut self.0[signal.index()];
        if known.is_none_or(|known| known.at_ms <= reading.at_ms) {
            *known = Some(reading);
        }
    }

    /// The latest reading.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Option<Reading> {
        self.0[signal.index()]
    }
}

/// What is asked of a server's signals.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadRules {
    /// Signals without which a server is not known.
    pub required: Vec<Signal>,
    /// Age from which a reading says nothing, in ms.
    pub stale_ms: u64,
    /// Score from which a server takes no more.
    pub full: Share,
}

impl Default for LoadRules {
    fn default() -> Self {
        let full = Share(0.9);
        Self { required: vec![Signal::Cpu, Signal::Memory], stale_ms: 30_000, full }
    }
}

/// Why a server's load is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// A required signal has never been read.
    Missing(Signal),
    /// A signal that was read once is too old, or comes from a clock that runs ahead.
    Stale {
        /// Which.
        signal: Signal,
        /// How far from now, in ms.
        age_ms: u64,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(signal) => write!(f, "its {} has not been read", signal.name()),
            Self::Stale { signal, age_ms } => {
                write!(f, "its {} was read {} s ago", signal.name(), age_ms / 1000)
            }
        }
    }
}

/// How loaded a server is, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The worst fresh signal. None when none is fresh.
    pub worst: Option<(Signal, Share)>,
    /// What is not known; None when everything required is fresh.
    pub doubt: Option<Doubt>,
}

/// Why a server takes no new load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refusal {
    /// Its load is not known.
    Unknown(Doubt),
    /// It has enough.
    Full(Signal, Share),
    /// Its agent asks for nothing new.
    Closed(Closed),
}

/// Why a server takes no new load, without the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalKind {
    /// Nothing is there to tell its load.
    NoSource,
    /// A required signal has never been read.
    Missing,
    /// A signal that was read once is too old.
    Stale,
    /// It has enough.
    Full,
    /// Its agent asks for nothing new.
    Closed,
}

impl RefusalKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::NoSource, Self::Missing, Self::Stale, Self::Full, Self::Closed];

    /// The word for it in labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSource => "no_source",
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Full => "full",
            Self::Closed => "closed",
        }
    }
}

impl Refusal {
    /// What kind of refusal it is.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Unknown(Doubt::Missing(_)) => RefusalKind::Missing,
            Self::Unknown(Doubt::Stale { .. }) => RefusalKind::Stale,
            Self::Full(..) => RefusalKind::Full,
            Self::Closed(_) => RefusalKind::Closed,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(doubt) => doubt.fmt(f),
            Self::Full(signal, share) => write!(f, "its {} is at {share}", signal.name()),
            Self::Closed(word) => write!(f, "its agent says {}", word.name()),
        }
    }
}

impl Score {
    /// What keeps the server from taking new load; None when nothing does.
    #[must_use]
    pub fn refusal(&self, rules: &LoadRules) -> Option<Refusal> {
        match (self.doubt, self.worst) {
            (Some(doubt), _) => Some(Refusal::Unknown(doubt)),
            (None, Some((signal, share))) if share >= rules.full => {
                Some(Refusal::Full(signal, share))
            }
            _ => None,
        }
    }
}

/// The score of a server from its readings at `now_ms`.
#[must_use]
pub fn score(readings: &Readings, rules: &LoadRules, now_ms: u64) -> Score {
    let mut score = Score { worst: None, doubt: None };
    for signal in Signal::ALL {
        let doubt = match readings.get(signal) {
            Some(Reading { share, at_ms }) if at_ms.abs_diff(now_ms) <= rules.stale_ms => {
                if score.worst.is_none_or(|(_, worst)| share > worst) {
                    score.worst = Some((signal, share));
                }
                None
            }
            Some(Reading { at_ms, .. }) => {
                Some(Doubt::Stale { signal, age_ms: at_ms.abs_diff(now_ms) })
            }
            None => rules.required.contains(&signal).then_some(Doubt::Missing(signal)),
        };
        score.doubt = score.doubt.or(doubt);
    }
    // A server that promises no signal at all has still to say something.
    if score.worst.is_none() {
        score.doubt = score.doubt.or(Some(Doubt::Missing(Signal::Cpu)));
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(known: &[(Signal, f64, u64)]) -> Readings {
        let mut readings = Readings::default();
        for &(signal, raw, at_ms) in known {
            let share = Share::new(raw).unwrap();
            readings.record(signal, Reading { share, at_ms });
        }
        readings
    }

    fn refusal(known: &[(Signal, f64, u64)], now_ms: u64) -> Option<String> {
        let rules = LoadRules::default();
        score(&readings(known), &rules, now_ms).refusal(&rules).map(|why| why.to_string())
    }

    const WELL: [(Signal, f64, u64); 2] = [(Signal::Cpu, 0.2, 1000), (Signal::Memory, 0.5, 1000)];

    #[test]
    fn the_worst_signal_is_the_score() {
        let known = readings(&[WELL[0], WELL[1], (Signal::Disk, 0.8, 1000)]);
        let score = score(&known, &LoadRules::default(), 2000);
        assert_eq!(score.worst, Some((Signal::Disk, Share(0.8))));
        assert_eq!(score.doubt, None);
    }

    #[test]
    fn a_server_with_fresh_signals_and_room_takes_load() {
        assert_eq!(refusal(&WELL, 2000), None);
    }

    #[test]
    fn a_hung_disk_outweighs_an_idle_processor() {
        let refused = refusal(&[WELL[0], WELL[1], (Signal::Disk, 1.0, 1000)], 2000);
        assert_eq!(refused.as_deref(), Some("its disk is at 100 %"));
    }

    #[test]
    fn a_server_that_says_nothing_is_never_taken_for_idle() {
        assert_eq!(refusal(&[], 0).as_deref(), Some("its cpu has not been read"));
        let nothing_required = LoadRules { required: Vec::new(), ..LoadRules::default() };
        let score = score(&Readings::default(), &nothing_required, 0);
        assert!(score.refusal(&nothing_required).is_some());
    }

    #[test]
    fn a_stale_signal_refuses_new_load_and_what_is_fresh_still_counts() {
        let known = [(Signal::Cpu, 0.95, 40_000), (Signal::Memory, 0.1, 1000)];
        assert_eq!(refusal(&known, 41_000).as_deref(), Some("its memory was read 40 s ago"));
        let score = score(&readings(&known), &LoadRules::default(), 41_000);
        assert_eq!(score.worst, Some((Signal::Cpu, Share(0.95))));
    }

    #[test]
    fn a_signal_that_was_read_once_counts_even_when_it_is_not_required() {
        let known = [WELL[0], WELL[1], (Signal::Latency, 0.1, 0)];
        assert_eq!(refusal(&known, 31_000).as_deref(), Some("its latency was read 31 s ago"));
    }

    #[test]
    fn a_clock_far_ahead_does_not_keep_a_reading_fresh_for_ever() {
        let known = [(Signal::Cpu, 0.1, 90_000), (Signal::Memory, 0.1, 90_000)];
        assert!(refusal(&known, 1000).is_some());
    }

    #[test]
    fn an_older_reading_does_not_replace_a_newer_one() {
        let known = readings(&[(Signal::Cpu, 0.3, 2000), (Signal::Cpu, 0.9, 1000)]);
        assert_eq!(known.get(Signal::Cpu).map(|reading| reading.share), Some(Share(0.3)));
    }

    #[test]
    fn shares_are_finite_whatever_is_measured() {
        assert_eq!(Share::new(f64::NAN), None);
        assert_eq!(Share::new(-0.5), Some(Share(0.0)));
        assert_eq!(Share::new(f64::INFINITY), Some(Share::MAX));
        assert_eq!(Share::of(5.0, 0.0), None);
        assert_eq!(Share::of(5.0, f64::NAN), None);
        assert_eq!(Share::of(5.0, 20.0), Some(Share(0.25)));
    }
}
