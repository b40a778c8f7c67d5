//! Loads come in: what servers say of themselves, and what the packet path counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::EventKind;
use super::events::About;
use super::kernel::Kernel;
use super::owner::Owner;
use crate::core::load::agent::AgentLine;
use crate::core::load::{RefusalKind, Signal};
use crate::core::outlook::server::Origin;
use crate::core::outlook::{DeviceOutlook, Expected, Outlook, Point, Rates, ServerOutlook, Totals};
use crate::core::spec::{Device, Name};
use crate::platform::scrape::{Sample, Scraper};
use crate::platform::tables::DeviceCount;

/// What is known and expected of loads, and who asks for it.
#[derive(Debug)]
pub(super) struct Loads {
    pub(super) outlook: Outlook,
    pub(super) scraper: Scraper,
    /// Devices' loads as they were shown since the counters were read last or a period ended.
    pub(super) shown: Option<Arc<BTreeMap<u32, DeviceLoad>>>,
}

/// Loads as shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadView {
    /// By server.
    pub servers: BTreeMap<Name, ServerLoad>,
    /// By device id.
    pub devices: Arc<BTreeMap<u32, DeviceLoad>>,
}

/// A server's load as shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerLoad {
    /// Its worst fresh signal and that signal's share.
    pub worst: Option<(Signal, f64)>,
    /// Each signal that was ever read: its share, and when that was (ms since the Unix epoch).
    pub signals: BTreeMap<Signal, (f64, u64)>,
    /// Why it takes no device for load; None when it does.
    pub refusal: Option<String>,
    /// The same without figures.
    pub refusal_kind: Option<RefusalKind>,
    /// What is expected of its score.
    pub expected: Option<Expected>,
    /// Why a source did not answer the last time.
    pub faults: BTreeMap<Origin, String>,
}

/// A device's load as shown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DeviceLoad {
    /// Over the last seconds.
    pub rates: Option<Rates>,
    /// What is expected of its bytes a second.
    pub expected: Option<Expected>,
}

/// Of whom a history is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryOf {
    /// A server.
    Server(Name),
    /// A device.
    Device(Name),
}

impl Loads {
    /// Loads at this moment.
    pub(super) fn view(&mut self, now_ms: u64) -> LoadView {
        let outlook = &self.outlook;
        let server = |(name, known): (&Name, &ServerOutlook)| {
            (name.clone(), server_load(outlook, known, now_ms))
        };
        let device = |known: &DeviceOutlook| {
            let expected = known.expected(&outlook.rules, now_ms);
            (known.id(), DeviceLoad { rates: known.rates, expected })
        };
        let devices = || Arc::new(outlook.devices.values().map(device).collect());
        LoadView {
            servers: outlook.servers.iter().map(server).collect(),
            devices: Arc::clone(self.shown.get_or_insert_with(devices)),
        }
    }

    /// The last hour of a server or device, oldest first; None when there is none of that name.
    pub(super) fn history(&self, of: &HistoryOf) -> Option<Vec<Point>> {
        let history = match of {
            HistoryOf::Server(name) => &self.outlook.servers.get(name)?.history,
            HistoryOf::Device(name) => &self.outlook.devices.get(name)?.history,
        };
        Some(history.points().copied().collect())
    }
}

fn server_load(outlook: &Outlook, known: &ServerOutlook, now_ms: u64) -> ServerLoad {
    let rules = &outlook.rules;
    let reading = |signal: Signal| {
        let reading = known.readings().get(signal)?;
        Some((signal, (reading.share.get(), reading.at_ms)))
    };
    let (refusal, refusal_kind) = match (known.has_source(), known.refusal(rules, now_ms)) {
        (true, Some(why)) => (Some(why.to_string()), Some(why.kind())),
        (true, None) => (None, None),
        (false, _) => (Some("nothing tells its load".to_owned()), Some(RefusalKind::NoSource)),
    };
    ServerLoad {
        worst: known.score(rules, now_ms).worst.map(|(signal, share)| (signal, share.get())),
        signals: Signal::ALL.into_iter().filter_map(reading).collect(),
        refusal,
        refusal_kind,
        expected: known.expected(rules, now_ms),
        faults: known.faults.clone(),
    }
}

impl<K: Kernel> Owner<K> {
    /// Asks those sources that the spec names, and forgets what it does not name any more.
    pub(super) fn watch_loads(&mut self) {
        self.loads.outlook.follow(&self.spec);
        let sources = self.spec.servers.iter().map(|(name, server)| (name, &server.load));
        self.loads.scraper.set_sources(sources);
    }

    /// Takes in what a source said. An event tells when one falls silent or speaks again.
    pub(super) fn take_sample(&mut self, sample: &Sample) {
        if !self.loads.scraper.is_current(sample) {
            return;
        }
        let Sample { server, origin, at_ms, said, .. } = sample;
        let Some(known) = self.loads.outlook.servers.get_mut(server) else { return };
        let was_silent = known.faults.contains_key(origin);
        let taken = said.clone().and_then(|bytes| take_said(known, *origin, &bytes, *at_ms));
        if let Err(fault) = &taken {
            known.take_fault(*origin, fault.clone());
        }
        let text = match (&taken, was_silent) {
            (Err(fault), false) => {
                format!("the {} of server {server} cannot be read: {fault}", origin.name())
            }
            (Ok(()), true) => format!("the {} of server {server} can be read again", origin.name()),
            _ => return,
        };
        self.events.record(*at_ms, EventKind::Load, About::server(server), text);
    }

    /// Marks drains that are new with the counters as they were read before: a drain's first bytes
    /// come after that. What drains already when the daemon starts counts from its first look on.
    pub(super) fn mark_drains(&mut self) {
        let drains = |device: &Device| !device.association.drains.is_empty();
        let is_idle = !self.spec.devices.values().any(drains) && self.shown.drain_marks.is_empty();
        // Nothing to mark, or no counters yet to mark it with.
        if is_idle || self.shown.counters.reasons.is_empty() {
            return;
        }
        let carried = self.shown.counters.carried();
        let at_ms = self.now_ms();
        Arc::make_mut(&mut self.shown.drain_marks).follow(&self.spec, &carried, at_ms);
    }

    /// Takes in the counters that were read last.
    pub(super) fn take_totals(&mut self) {
        let now_ms = self.now_ms();
        let totals: BTreeMap<u32, Totals> =
            self.shown.counters.devices.iter().map(|(id, count)| (*id, totals(count))).collect();
        self.loads.outlook.take_totals(&self.spec, &totals, now_ms);
        self.loads.shown = None;
    }
}

fn take_said(
    known: &mut ServerOutlook,
    origin: Origin,
    bytes: &[u8],
    at_ms: u64,
) -> Result<(), String> {
    match origin {
        Origin::Metrics => known.take_metrics(&String::from_utf8_lossy(bytes), at_ms),
        Origin::Agent => {
            known.take_agent(AgentLine::parse(bytes)?, at_ms);
            Ok(())
        }
    }
}

/// Both directions together.
fn totals(count: &DeviceCount) -> Totals {
    Totals {
        packets: count.to_server.packets.saturating_add(count.to_client.packets),
        bytes: count.to_server.bytes.saturating_add(count.to_client.bytes),
        flows_opened: count.flows_opened,
        requests: count.requests,
    }
}
