//! Moving devices for load: `[load]`, `[plan]`, and the sources of figures of a `[[server]]`.

use serde::{Deserialize, Serialize};

use super::problem::Report;
use super::reader::Section;
use crate::core::balance::Rules;
use crate::core::forecast::{HORIZON_MAX, Settings};
use crate::core::load::Share;
use crate::core::load::source::{LoadSources, METRICS_URL_FORM};
use crate::core::outlook::OutlookRules;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Five plans, of those that are made where nothing else is said.
const FILL_MS: u64 = 5 * MINUTE_MS;
const REST_MS: u64 = 12 * MINUTE_MS;

/// `[load]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadConfig {
    /// Time between two questions to one source, in ms.
    pub interval_ms: u64,
    /// Time after which a source that has not answered is given up, in ms; at most `interval_ms`.
    pub timeout_ms: u64,
    /// Age from which a figure says nothing, in ms.
    pub stale_ms: u64,
    /// Load from which a server takes no more, in percent.
    pub full_pct: u32,
}

/// `[plan]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanConfig {
    /// Who moves devices for load.
    pub mode: PlanMode,
    /// Time from one plan to the next, in ms.
    pub interval_ms: u64,
    /// How many intervals ahead is planned for.
    pub horizon: u32,
    /// How far the hottest server may be above the even load before it is imbalance, in percent.
    pub trigger_pct: u32,
    /// Load that is too much in any case, in percent.
    pub trigger_load_pct: u32,
    /// Load up to which nothing is imbalance, in percent.
    pub trigger_floor_pct: u32,
    /// Of the last so many plans ..
    pub trigger_window: u32,
    /// .. so many must have met imbalance.
    pub trigger_hits: u32,
    /// How far above the even load servers are filled at most, in percent.
    pub stop_pct: u32,
    /// How long a device rests after a move, in ms.
    pub rest_ms: u64,
    /// How long a server that is new or has returned takes load gradually, in ms; 0 for not at all.
    pub fill_ms: u64,
    /// Time over which a gain counts, in ms.
    pub payback_ms: u64,
    /// How many times its cost a move must gain.
    pub gain_per_cost: u32,
    /// Share of all devices that may be moved in a minute, in percent; one may always.
    pub churn_pct: u32,
    /// Most moves of one plan.
    pub moves_max: u32,
}

/// Who moves devices for load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlanMode {
    /// Nobody: nothing is planned.
    Off,
    /// The operator: a plan is made and shown.
    #[default]
    Recommend,
    /// The redirector: a plan is made and carried out.
    Automatic,
}

impl PlanMode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Off, Self::Recommend, Self::Automatic];

    /// The word for it, the same as in JSON and in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Recommend => "recommend",
            Self::Automatic => "automatic",
        }
    }
}

impl PlanConfig {
    /// The planner's rules.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let share = |pct: u32| f64::from(pct) / 100.0;
        Rules {
            trigger_ratio: 1.0 + share(self.trigger_pct),
            trigger_share: share(self.trigger_load_pct),
            trigger_floor: share(self.trigger_floor_pct),
            trigger_window: self.trigger_window,
            trigger_hits: self.trigger_hits,
            stop: share(self.stop_pct),
            payback_s: self.payback_ms as f64 / 1000.0,
            gain_per_cost: self.gain_per_cost.into(),
            rest_ms: self.rest_ms,
            churn_share: share(self.churn_pct),
            moves_max: self.moves_max as usize,
            ..Rules::default()
        }
    }

    /// How figures are judged and forecast.
    #[must_use]
    pub fn outlook(&self, load: &LoadConfig) -> OutlookRules {
        let forecast = Settings { horizon: self.horizon, ..Settings::daily(self.interval_ms) };
        let full = Share::of(load.full_pct.into(), 100.0).unwrap_or_default();
        OutlookRules { stale_ms: load.stale_ms, full, forecast }
    }
}

pub(super) fn load(mut section: Section<'_>, report: &mut Report<'_>) -> LoadConfig {
    let interval_ms = section.number("interval_ms", 100..=HOUR_MS, report).unwrap_or(5000);
    let timeout_ms = section.number("timeout_ms", 10..=MINUTE_MS, report);
    let stale_ms = section.number("stale_ms", 100..=DAY_MS, report);
    let config = LoadConfig {
        interval_ms,
        timeout_ms: timeout_ms.unwrap_or(interval_ms.min(2000)),
        stale_ms: stale_ms.unwrap_or(interval_ms.saturating_mul(6)),
        full_pct: section.number("full_pct", 1..=1000, report).unwrap_or(90),
    };
    if config.timeout_ms > interval_ms {
        let detail = format!(
            "{} is longer than interval_ms ({interval_ms}), so questions would overlap; write at \
             most {interval_ms} or raise interval_ms",
            config.timeout_ms
        );
        report.problem("load.timeout_ms", detail);
    }
    if config.stale_ms < interval_ms {
        let detail = format!(
            "{} is less than interval_ms ({interval_ms}), so every figure would be stale before \
             the next one comes; write at least twice that",
            config.stale_ms
        );
        report.problem("load.stale_ms", detail);
    }
    section.finish(report);
    config
}

/// The simulator's headline is made of these defaults; with others look at its figures first.
pub(super) fn plan(mut section: Section<'_>, report: &mut Report<'_>) -> PlanConfig {
    let modes = PlanMode::ALL.map(|mode| (mode.name(), mode));
    let config = PlanConfig {
        mode: section.word("mode", &modes, report).unwrap_or_default(),
        interval_ms: section.number("interval_ms", 200..=HOUR_MS, report).unwrap_or(MINUTE_MS),
        horizon: section.number("horizon", 1..=HORIZON_MAX, report).unwrap_or(1),
        trigger_pct: section.number("trigger_pct", 1..=1000, report).unwrap_or(15),
        trigger_load_pct: section.number("trigger_load_pct", 1..=1000, report).unwrap_or(80),
        trigger_floor_pct: section.number("trigger_floor_pct", 0..=100, report).unwrap_or(20),
        trigger_window: section.number("trigger_window", 1..=32, report).unwrap_or(1),
        trigger_hits: section.number("trigger_hits", 1..=32, report).unwrap_or(1),
        stop_pct: section.number("stop_pct", 0..=1000, report).unwrap_or(5),
        rest_ms: section.number("rest_ms", 0..=30 * DAY_MS, report).unwrap_or(REST_MS),
        fill_ms: section.number("fill_ms", 0..=DAY_MS, report).unwrap_or(FILL_MS),
        payback_ms: section.number("payback_ms", 1000..=DAY_MS, report).unwrap_or(300_000),
        gain_per_cost: section.number("gain_per_cost", 0..=1000, report).unwrap_or(3),
        churn_pct: section.number("churn_pct", 0..=100, report).unwrap_or(5),
        moves_max: section.number("moves_max", 1..=10_000, report).unwrap_or(100),
    };
    if config.trigger_hits > config.trigger_window {
        let detail = format!(
            "{} is more than trigger_window ({}), so no imbalance would do; write at most that",
            config.trigger_hits, config.trigger_window
        );
        report.problem("plan.trigger_hits", detail);
    }
    if config.stop_pct > config.trigger_pct {
        let detail = format!(
            "{} is above trigger_pct ({}), so what is imbalance would be left as it is; write less",
            config.stop_pct, config.trigger_pct
        );
        report.problem("plan.stop_pct", detail);
    }
    section.finish(report);
    config
}

/// Sources of figures of a server.
pub(super) fn sources(section: &mut Section<'_>, report: &mut Report<'_>) -> LoadSources {
    let agent = "an address and port; write one such as 10.0.2.11:9999";
    LoadSources {
        metrics_url: section.parsed("metrics_url", METRICS_URL_FORM, report),
        agent_address: section.parsed("agent_address", agent, report),
        bytes_per_second_max: section.number("bytes_per_second_max", 1..=u64::MAX / 2, report),
    }
}
