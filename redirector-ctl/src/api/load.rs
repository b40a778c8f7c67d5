//! Loads on the wire: of servers, of devices, and forecasts of both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::wire;
use crate::core::outlook::Expected;
use crate::daemon::{DeviceLoad, ServerLoad, Snapshot};

/// How loaded a server is. Shares are of what it carries well: 1 is full.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Load {
    /// Its worst fresh signal; null while none is fresh.
    #[schema(example = 0.42)]
    pub score: Option<f64>,
    /// Which signal that is.
    #[schema(example = "cpu")]
    pub signal: Option<String>,
    /// Every signal that was read: cpu, memory, disk, network, queue, latency, agent.
    pub signals: BTreeMap<String, SignalReading>,
    /// Why it takes no device for load; null when it does. What is not known is never idle.
    #[schema(example = "its cpu was read 40 s ago")]
    pub refusal: Option<String>,
    /// What is expected of its score.
    pub forecast: Option<Forecast>,
    /// Why a source of figures did not answer the last time: `metrics`, `agent`.
    pub faults: BTreeMap<String, String>,
}

/// One signal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SignalReading {
    /// A share of what the server carries well.
    #[schema(example = 0.42)]
    pub share: f64,
    /// How long ago it was read, in ms.
    pub age_ms: u64,
}

/// What is expected one horizon ahead, in the unit of what is forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// The middle of what is expected.
    pub p50: f64,
    /// Nine times out of ten it is at most this much; what plans are made for.
    pub p90: f64,
    /// Mean absolute error of such forecasts so far.
    pub error: f64,
    /// Who says so: the forecaster that has lost least of late.
    #[schema(example = "weighted mean")]
    pub forecaster: String,
    /// Its rolling loss; null before it has been tried often enough.
    pub loss: Option<f64>,
}

/// Traffic of a device, both directions together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Packets a second over the last seconds; null before they were counted.
    pub packets_per_second: Option<f64>,
    /// Bytes a second.
    pub bytes_per_second: Option<f64>,
    /// Flows opened a second.
    pub flows_opened_per_second: Option<f64>,
    /// Requests a second: what its clients end by pushing (TCP's PSH), or datagrams.
    pub requests_per_second: Option<f64>,
    /// What is expected, in bytes a second.
    pub forecast: Option<Forecast>,
}

impl Load {
    pub(super) fn of(load: &ServerLoad, now_ms: u64) -> Self {
        let reading = |(share, at_ms): (f64, u64)| SignalReading {
            share: rounded(share),
            age_ms: now_ms.saturating_sub(at_ms),
        };
        let signals = load.signals.iter();
        let faults = load.faults.iter();
        Self {
            score: load.worst.map(|(_, share)| rounded(share)),
            signal: load.worst.map(|(signal, _)| signal.name().to_owned()),
            signals: signals.map(|(name, at)| (name.name().to_owned(), reading(*at))).collect(),
            refusal: load.refusal.clone(),
            forecast: load.expected.map(Forecast::from),
            faults: faults.map(|(from, why)| (from.name().to_owned(), why.clone())).collect(),
        }
    }
}

impl Traffic {
    /// Of the device with this id.
    pub(super) fn of_device(snapshot: &Snapshot, id: u32) -> Self {
        snapshot.loads.devices.get(&id).map(Self::of).unwrap_or_default()
    }

    fn of(load: &DeviceLoad) -> Self {
        Self {
            packets_per_second: load.rates.map(|rates| rounded(rates.packets_per_s)),
            bytes_per_second: load.rates.map(|rates| rounded(rates.bytes_per_s)),
            flows_opened_per_second: load.rates.map(|rates| rounded(rates.flows_opened_per_s)),
            requests_per_second: load.rates.map(|rates| rounded(rates.requests_per_s)),
            forecast: load.expected.map(Forecast::from),
        }
    }
}

impl From<Expected> for Forecast {
    fn from(expected: Expected) -> Self {
        let forecast = expected.forecast;
        Self {
            p50: rounded(forecast.point),
            p90: rounded(forecast.p90),
            error: rounded(forecast.mae),
            forecaster: forecast.by.name().to_owned(),
            loss: expected.loss.map(rounded),
        }
    }
}

/// Four decimals: more would claim a precision that no measurement here has.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// A moment that may not have been.
pub(super) fn time(ms: Option<u64>) -> Option<String> {
    ms.map(wire::time)
}
