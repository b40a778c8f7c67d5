//! What is known and expected of one server: its signals, whether it takes more, and a forecast of
//! its score.

use super::super::forecast::Series;
use super::super::load::agent::{AgentLine, Closed};
use super::super::load::exporter::HostFigures;
use super::super::load::source::LoadSources;
use super::super::load::{LoadRules, Reading, Readings, Refusal, Score, Share, Signal, score};
use super::history::{History, Point};
use super::{Expected, Mean, OutlookRules, Shares};

/// Where a figure came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The metrics URL.
    Metrics,
    /// The agent.
    Agent,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Metrics, Self::Agent];

    /// The word for it in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Agent => "agent",
        }
    }
}

/// What is known and expected of a server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerOutlook {
    sources: LoadSources,
    readings: Readings,
    /// By which word its agent asked for nothing new when it last spoke.
    closed: Option<Closed>,
    host: Option<(u64, HostFigures)>,
    means: [Mean; Signal::ALL.len()],
    /// Mean of each signal over the last period in which it said something.
    pub period: Shares,
    /// Why the last question to a source had no answer; empty when all answered.
    pub faults: std::collections::BTreeMap<Origin, String>,
    series: Series,
    /// Its score in the last hour.
    pub history: History,
}

impl ServerOutlook {
    /// From where figures come from now on. What another place said is forgotten.
    pub(super) fn ask(&mut self, sources: &LoadSources) {
        if self.sources != *sources {
            let history = std::mem::take(&mut self.history);
            *self = Self { sources: sources.clone(), history, ..Self::default() };
        }
    }

    /// Takes in the text of its metrics.
    ///
    /// # Errors
    /// When it has none of the figures that are looked for.
    pub fn take_metrics(&mut self, text: &str, at_ms: u64) -> Result<(), String> {
        let now = HostFigures::parse(text)?;
        let before = self.host.as_ref();
        let elapsed_s =
            before.map_or(0.0, |(was_ms, _)| at_ms.saturating_sub(*was_ms) as f64 / 1e3);
        // The packet path's own count of the traffic is the better figure where there is a limit.
        let counts_traffic = self.sources.bytes_per_second_max.is_some();
        let shares = now.shares(before.map(|(_, figures)| figures), elapsed_s);
        for (signal, share) in shares {
            if signal != Signal::Network || !counts_traffic {
                self.record(signal, share, at_ms);
            }
        }
        self.host = Some((at_ms, now));
        self.faults.remove(&Origin::Metrics);
        Ok(())
    }

    /// Takes in what its agent says. Without a weight the last one stands.
    pub fn take_agent(&mut self, line: AgentLine, at_ms: u64) {
        let known = self.readings.get(Signal::Agent).map(|reading| reading.share);
        if let Some(share) = line.share.or(known) {
            self.record(Signal::Agent, share, at_ms);
        }
        self.closed = line.closed;
        self.faults.remove(&Origin::Agent);
    }

    /// Takes in that a source did not answer; what it said before grows old.
    pub fn take_fault(&mut self, origin: Origin, fault: String) {
        self.faults.insert(origin, fault);
    }

    pub(super) fn take_traffic(&mut self, bytes_per_s: f64, at_ms: u64) {
        let share =
            self.sources.bytes_per_second_max.and_then(|max| Share::of(bytes_per_s, max as f64));
        if let Some(share) = share {
            self.record(Signal::Network, share, at_ms);
        }
    }

    fn record(&mut self, signal: Signal, share: Share, at_ms: u64) {
        self.readings.record(signal, Reading { share, at_ms });
        self.means[signal as usize].add(share.get());
    }

    fn load_rules(&self, rules: &OutlookRules) -> LoadRules {
        LoadRules { required: self.sources.required(), stale_ms: rules.stale_ms, full: rules.full }
    }

    /// Its signals as last read.
    #[must_use]
    pub fn readings(&self) -> &Readings {
        &self.readings
    }

    /// How loaded it is, as far as is known.
    #[must_use]
    pub fn score(&self, rules: &OutlookRules, now_ms: u64) -> Score {
        score(&self.readings, &self.load_rules(rules), now_ms)
    }

    /// What keeps it from taking new load; None when nothing does.
    #[must_use]
    pub fn refusal(&self, rules: &OutlookRules, now_ms: u64) -> Option<Refusal> {
        let by_score = || self.score(rules, now_ms).refusal(&self.load_rules(rules));
        self.closed.map(Refusal::Closed).or_else(by_score)
    }

    /// Whether it has a source of figures at all.
    #[must_use]
    pub fn has_source(&self) -> bool {
        self.sources != LoadSources::default()
    }

    /// What is expected of its score, a share.
    #[must_use]
    pub fn expected(&self, rules: &OutlookRules, now_ms: u64) -> Option<Expected> {
        Expected::of(&self.series, &rules.forecast, now_ms)
    }

    pub(super) fn make_point(&mut self, rules: &OutlookRules, now_ms: u64) {
        let expected = self.expected(rules, now_ms).map(|expected| expected.forecast);
        let worst = self.score(rules, now_ms).worst;
        self.history.push(Point {
            at_ms: now_ms,
            value: worst.map(|(_, share)| share.get() as f32),
            p50: expected.map(|forecast| forecast.point as f32),
            p90: expected.map(|forecast| forecast.p90 as f32),
        });
    }

    pub(super) fn close_period(&mut self, rules: &OutlookRules, now_ms: u64) {
        for signal in Signal::ALL {
            if let Some(mean) = self.means[signal as usize].take() {
                self.period.insert(signal, mean);
            }
        }
        // What is stale still counts against it in the plan, but is no news for the series.
        let fresh =
            self.score(rules, now_ms).worst.and_then(|(signal, _)| self.period.get(&signal));
        if let Some(value) = fresh {
            self.series.observe(&rules.forecast, now_ms, *value);
        }
    }
}
