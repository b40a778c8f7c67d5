//! What is known and expected of loads: signals of servers, traffic of devices, and forecasts of
//! both.
//!
//! Measurements come in as they come (`take_*`); a point of history is made every
//! [`POINT_MS`], and a period is closed when the planner asks for it. Nothing of it outlives the
//! daemon: how a series begins is [`forecast`](super::forecast)'s matter. Not here: what to do
//! about it ([`balance`](super::balance), by the [`problem`] that is made of this).

pub mod device;
pub mod history;
pub mod problem;
pub mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::forecast::{Forecast, Series, Settings};
use super::load::{Share, Signal};
use super::spec::{Name, Spec};

pub use device::{DeviceOutlook, Rates, Totals};
pub use history::{POINT_MS, Point};
pub use server::ServerOutlook;

/// Servers and devices of which a history is kept; those beyond have none. 23 KiB each.
const HISTORIES_MAX: usize = 2048;

/// How figures are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlookRules {
    /// Age from which a signal says nothing, in ms.
    pub stale_ms: u64,
    /// Score from which a server takes no more.
    pub full: Share,
    /// How series are forecast; their period is the planner's.
    pub forecast: Settings,
}

/// Everything known and expected of loads.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// How it is judged.
    pub rules: OutlookRules,
    /// By server. Has every server of the spec.
    pub servers: BTreeMap<Name, ServerOutlook>,
    /// By device. Has every device of the spec.
    pub devices: BTreeMap<Name, DeviceOutlook>,
    /// When the last point of history was made: ms since the Unix epoch.
    point_at_ms: Option<u64>,
}

impl Outlook {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(rules: OutlookRules) -> Self {
        Self { rules, servers: BTreeMap::new(), devices: BTreeMap::new(), point_at_ms: None }
    }

    /// Follows the spec: forgets what it does not name any more.
    pub fn follow(&mut self, spec: &Spec) {
        self.servers.retain(|name, _| spec.servers.contains_key(name));
        self.devices.retain(|name, known| {
            // Another holder of the name has another id or begins with other counters.
            spec.devices.get(name).is_some_and(|device| device.id == known.id)
        });
        for (name, server) in &spec.servers {
            self.servers.entry(name.clone()).or_default().ask(&server.load);
        }
        for (name, device) in &spec.devices {
            self.devices.entry(name.clone()).or_insert_with(|| DeviceOutlook::new(device.id));
        }
    }

    /// Takes in what the packet path has counted for each device, by id. Makes a point of history
    /// when one is due.
    pub fn take_totals(&mut self, spec: &Spec, totals: &BTreeMap<u32, Totals>, now_ms: u64) {
        for known in self.devices.values_mut() {
            known.take(totals.get(&known.id).copied().unwrap_or_default(), now_ms);
        }
        let due = self.point_at_ms.is_none_or(|at| now_ms >= at.saturating_add(POINT_MS));
        if due {
            self.point_at_ms = Some(now_ms);
            self.make_point(spec, now_ms);
        }
    }

    fn make_point(&mut self, spec: &Spec, now_ms: u64) {
        let mut room = HISTORIES_MAX;
        for known in self.devices.values_mut() {
            known.settle_rates();
        }
        self.take_traffic(spec, now_ms);
        let rules = self.rules;
        for known in self.servers.values_mut().take(room) {
            known.make_point(&rules, now_ms);
            room -= 1;
        }
        for known in self.devices.values_mut().take(room) {
            known.make_point(&rules, now_ms);
        }
    }

    /// The traffic of servers that say how much they carry is a signal of their network.
    fn take_traffic(&mut self, spec: &Spec, now_ms: u64) {
        let mut traffic: BTreeMap<&Name, f64> = BTreeMap::new();
        for (name, device) in &spec.devices {
            let rates = self.devices.get(name).and_then(|known| known.rates);
            let bytes = rates.map_or(0.0, |rates| rates.bytes_per_s);
            *traffic.entry(&device.association.server).or_default() += bytes;
        }
        for (name, known) in &mut self.servers {
            known.take_traffic(traffic.get(name).copied().unwrap_or_default(), now_ms);
        }
    }

    /// Closes a period: what was measured in it goes into the series.
    pub fn close_period(&mut self, now_ms: u64) {
        let rules = self.rules;
        for known in self.servers.values_mut() {
            known.close_period(&rules, now_ms);
        }
        for known in self.devices.values_mut() {
            known.close_period(&rules, now_ms);
        }
    }
}

/// A forecast, with how well its forecaster has done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expected {
    /// What is expected.
    pub forecast: Forecast,
    /// Rolling loss of the forecaster that speaks, in the series' unit; None before it counts.
    pub loss: Option<f64>,
}

impl Expected {
    fn of(series: &Series, settings: &Settings, now_ms: u64) -> Option<Self> {
        let forecast = series.forecast(settings, now_ms)?;
        Some(Self { forecast, loss: series.loss(forecast.by) })
    }
}

/// The mean of what a signal said since it was last taken.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Mean {
    sum: f64,
    len: u32,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.len = self.len.saturating_add(1);
    }

    /// The mean, and begins anew.
    fn take(&mut self) -> Option<f64> {
        let Self { sum, len } = std::mem::take(self);
        (len > 0).then(|| sum / f64::from(len))
    }
}

/// One figure for each signal that is known.
pub type Shares = BTreeMap<Signal, f64>;
