//! What is known and expected of one device: the packet path's counters as rates, and a forecast.

use super::super::forecast::{Series, Surge};
use super::history::{History, Point};
use super::{Expected, OutlookRules};

/// What the packet path has counted for a device since its id began, both directions together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// Flows opened.
    pub flows_opened: u64,
    /// Requests of clients.
    pub requests: u64,
}

/// The same for each second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Packets a second.
    pub packets_per_s: f64,
    /// Bytes a second.
    pub bytes_per_s: f64,
    /// Flows opened a second.
    pub flows_opened_per_s: f64,
    /// Requests a second.
    pub requests_per_s: f64,
}

/// Totals and when they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    at_ms: u64,
    totals: Totals,
}

impl Reading {
    /// What was added since `before`; None when no time has passed or the counters began anew.
    fn since(&self, before: &Self) -> Option<Rates> {
        let elapsed_ms = self.at_ms.checked_sub(before.at_ms).filter(|ms| *ms > 0)?;
        let per_s =
            |now: u64, was: u64| Some(now.checked_sub(was)? as f64 * 1000.0 / elapsed_ms as f64);
        let (now, was) = (&self.totals, &before.totals);
        Some(Rates {
            packets_per_s: per_s(now.packets, was.packets)?,
            bytes_per_s: per_s(now.bytes, was.bytes)?,
            flows_opened_per_s: per_s(now.flows_opened, was.flows_opened)?,
            requests_per_s: per_s(now.requests, was.requests)?,
        })
    }
}

/// What is known and expected of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceOutlook {
    pub(super) id: u32,
    last: Option<Reading>,
    /// At the last point of history, and at the end of the last period.
    at_point: Option<Reading>,
    at_period: Option<Reading>,
    /// Over the time between the last two points; None before there were two.
    pub rates: Option<Rates>,
    /// Over the last period.
    pub period: Option<Rates>,
    series: Series,
    /// Its bytes a second, in the last hour.
    pub history: History,
}

impl DeviceOutlook {
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            last: None,
            at_point: None,
            at_period: None,
            rates: None,
            period: None,
            series: Series::default(),
            history: History::default(),
        }
    }

    /// The device's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What is expected, in bytes a second.
    #[must_use]
    pub fn expected(&self, rules: &OutlookRules, now_ms: u64) -> Option<Expected> {
        Expected::of(&self.series, &rules.forecast, now_ms)
    }

    /// What may come at once beyond that, in bytes a second.
    #[must_use]
    pub fn surge(&self, rules: &OutlookRules) -> Option<Surge> {
        self.series.surge(&rules.forecast)
    }

    pub(super) fn take(&mut self, totals: Totals, at_ms: u64) {
        let now = Reading { at_ms, totals };
        self.last = Some(now);
        self.at_point.get_or_insert(now);
        self.at_period.get_or_insert(now);
    }

    /// Rates over the time since they were last settled.
    pub(super) fn settle_rates(&mut self) {
        let (Some(last), Some(before)) = (self.last, self.at_point) else { return };
        if last.at_ms > before.at_ms {
            self.rates = last.since(&before);
            self.at_point = Some(last);
        }
    }

    pub(super) fn make_point(&mut self, rules: &OutlookRules, now_ms: u64) {
        let expected = self.expected(rules, now_ms).map(|expected| expected.forecast);
        self.history.push(Point {
            at_ms: now_ms,
            value: self.rates.map(|rates| rates.bytes_per_s as f32),
            p50: expected.map(|forecast| forecast.point as f32),
            p90: expected.map(|forecast| forecast.p90 as f32),
        });
    }

    pub(super) fn close_period(&mut self, rules: &OutlookRules, now_ms: u64) {
        let (Some(last), Some(before)) = (self.last, self.at_period) else { return };
        if last.at_ms <= before.at_ms {
            return;
        }
        self.at_period = Some(last);
        self.period = last.since(&before);
        if let Some(rates) = self.period {
            self.series.observe(&rules.forecast, now_ms, rates.bytes_per_s);
        }
    }
}
