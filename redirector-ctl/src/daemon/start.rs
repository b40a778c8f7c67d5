//! The start: from a configuration, a state file and whatever the kernel holds to an owner that can
//! run.
//!
//! A restart under running I/O changes nothing: the tables are read back, and only what differs is
//! written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use super::announce::Announcer;
use super::attaching::Attaching;
use super::balance::Balance;
use super::events::{About, Events};
use super::evidence::Evidence;
use super::journal::Journal;
use super::kernel::Kernel;
use super::load::Loads;
use super::owner::{Inputs, Kept, Owed, Owner, Settings, Shown};
use super::pace::Pace;
use super::recorder::{self, Recorder};
use super::waking::Waking;
use super::ways::{Watcher, Ways};
use super::{EventKind, InterfaceStatus, Own, inspect};
use crate::config::Config;
use crate::core::health::Thresholds;
use crate::core::hold_down::{Fallen, HoldDown};
use crate::core::image::{Image, ServerLine, diff};
use crate::core::observed::Observed;
use crate::core::op::NextHop;
use crate::core::outlook::Outlook;
use crate::core::spec::Name;
use crate::core::suspicion::Patience;
use crate::platform::bpf::{self, TableLimits};
use crate::platform::clock::Clock;
use crate::platform::netlink::{Link, Netlink};
use crate::platform::probe::{ProbeTiming, Prober};
use crate::platform::scrape::{Sample, ScrapeTiming, Scraper};
use crate::platform::store::{Store, StoreError};
use crate::platform::tables::{Content, Tables};

mod attach;
mod begin;

use attach::{attach_options, configured, gateway};
pub(super) use attach::{attachable, gateway_interface, interfaces};

/// Results waiting at most; then checks wait.
const REPORTS_MAX: usize = 1024;
/// Figures about loads waiting at most; then their sources wait.
const SAMPLES_MAX: usize = 64;
/// Looks at the network waiting at most; each replaces the one before.
const WAYS_MAX: usize = 4;

/// Brings everything up and writes to the tables what they lack.
///
/// # Errors
/// When anything is missing; what is in the kernel stays as it is.
pub(super) async fn start(config: &Config) -> anyhow::Result<(Owner<Tables>, Inputs)> {
    let store = Store::open(&config.redirector.state_dir)?;
    let (state, last) = store.load()?.unzip();
    let journalled = state.as_ref().map(|state| state.announced.clone()).unwrap_or_default();
    let (netlink, net_events) = Netlink::open().context("cannot open a netlink socket")?;
    let all = netlink.links().await?;
    let links = configured(config, &all)?;
    let settings = settings(config);
    // Once without tables, so that what is wrong is found while nothing has changed.
    begin::begin(&settings, state.clone(), &Image::default())?;
    let gateway = gateway(config, &links, (&netlink, &journalled)).await?;
    let options = attach_options(config, &links, &all, gateway.clone())?;
    tell_memory(&options.limits);
    let (tables, attached) = bpf::attach(&options)?;
    tokio::spawn(attached.log_reader.run());
    let inspector = inspect::start(attached.flows, bpf::maps_dir(&options.bpffs_dir))?;
    let dumps = recorder::start(&config.recorder, &config.redirector.state_dir, attached.records)?;
    let applied = image(tables.content()?);
    let begun = begin::begin(&settings, state, &applied)?;
    let (reports_in, reports) = mpsc::channel(REPORTS_MAX);
    let prober = Prober::new(timing(config), settings.clock, reports_in);
    let (samples_in, samples) = mpsc::channel(SAMPLES_MAX);
    let loads = loads(config, settings.clock, samples_in)?;
    let announcer =
        Announcer::new(netlink.clone(), announcing(config, &links), &journalled).await?;
    let (addresses, watched) = watch::channel(begun.spec.server_addresses());
    let attaching = Attaching::of(config, &netlink);
    let mut watcher = Watcher::new(netlink, attaching.names(), watched);
    let seen = watcher.look().await?;
    let links_now = configured(config, &seen.links)?;
    let owner = Owner {
        settings,
        kernel: tables,
        store: Arc::new(store),
        prober,
        announcer,
        gateway,
        attaching,
        addresses,
        events: Events::at(begun.spec.generation),
        spec: begun.spec,
        observed: observed(config, begun.next_hops),
        kept: Kept::default(),
        applied,
        applied_generation: 0,
        shown: Shown { interfaces: interfaces(&links_now), ..Shown::default() },
        owed: Owed::default(),
        journal: Journal::after(last.unwrap_or_default()),
        refused_clients: BTreeSet::new(),
        pace: Pace::default(),
        left: BTreeSet::new(),
        waking: Waking::new(),
        loads,
        balance: Balance::new(config.plan),
        fallen: Fallen::default(),
        watches: BTreeMap::new(),
        own: Own::default(),
        inspector,
        recorder: Recorder::new(&config.recorder, dumps),
    };
    let owner = owner.first(&begun.notes, seen).await?;
    let (ways_in, ways) = mpsc::channel(WAYS_MAX);
    tokio::spawn(watcher.run(net_events, ways_in));
    Ok((owner, Inputs { reports, ways, samples }))
}

impl<K: Kernel> Owner<K> {
    /// Nothing runs yet that could be held up by the disk.
    fn write_first(&mut self) -> anyhow::Result<()> {
        let state = self.state(self.spec.clone());
        match self.journal.write_now(&self.store, &state) {
            Ok(()) => {}
            Err(error @ StoreError::Unsynced { .. }) => self.owe_journal(error.to_string()),
            Err(error) => return Err(error.into()),
        }
        self.announcer.journalled();
        Ok(())
    }

    /// The first thing of all: what is desired is journalled, and the tables get what they lack.
    pub(super) async fn first(mut self, notes: &[String], seen: Ways) -> anyhow::Result<Self> {
        let spec = self.spec.clone();
        self.write_first()?;
        let writes_len = diff(&self.applied, &Image::of(&spec, &self.observed)).len();
        let now_ms = self.now_ms();
        let text = format!(
            "started at generation {} with {} servers and {} devices; {writes_len} writes bring \
             the tables in line",
            spec.generation,
            spec.servers.len(),
            spec.devices.len()
        );
        self.events.record(now_ms, EventKind::Started, About::default(), text);
        for note in notes {
            self.events.record(now_ms, EventKind::Started, About::default(), note.clone());
        }
        self.owe_all_clients();
        self.settle().await;
        self.announce_all().await;
        self.take_ways(seen).await;
        self.until_written().await;
        match self.owed.tables.take() {
            Some(what) => Err(anyhow::Error::msg(what)),
            None => Ok(self),
        }
    }
}

fn observed(config: &Config, next_hops: BTreeMap<Name, NextHop>) -> Observed {
    Observed { next_hops, doubt: config.health.doubt(), ..Observed::default() }
}

/// What the tables hold, as an image.
fn image(content: Content) -> Image {
    let mut servers = BTreeMap::new();
    for (id, server) in content.servers {
        let (address, state) = (server.address, server.state);
        let (incarnation, next_hop) = (server.incarnation, server.next_hop);
        servers.insert(id, ServerLine { address, state, incarnation, next_hop });
    }
    Image {
        servers,
        devices: content.devices.into(),
        words: content.associations.into(),
        services: content.services.into(),
        returns: content.returns.into(),
        // The table holds them by hash, so they are written anew; that takes nothing away.
        marks: BTreeMap::new().into(),
    }
}

fn limits(config: &Config) -> TableLimits {
    let limits = &config.limits;
    TableLimits {
        devices_max: limits.devices_max,
        servers_max: limits.servers_max,
        flows_max: limits.flows_max,
        candidates_max: limits.candidates_max,
        clients_max: limits.clients_max,
        fragments_max: limits.fragments_max,
        paths_max: limits.paths_max,
        recorder: recorder::limits(&config.recorder),
    }
}

/// Says what the tables cost, so that nobody is surprised by it later.
fn tell_memory(limits: &TableLimits) {
    const MIB: u64 = 1 << 20;
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let (made, used) = limits.memory(cpus);
    tracing::info!(
        "the tables take about {} MiB now and at most {} MiB with every entry in use",
        made / MIB,
        used / MIB
    );
    let recorder = &limits.recorder;
    tracing::info!(
        packets_max = recorder.ring_len(),
        sample_one_in = recorder.sample_one_in,
        "the flight recorder takes {} KiB of them",
        recorder.memory(cpus) >> 10
    );
}

fn announcing(config: &Config, links: &[Link]) -> Vec<Link> {
    let both = config.interfaces.iter().zip(links);
    both.filter(|(wanted, _)| wanted.announce).map(|(_, link)| link.clone()).collect()
}

fn settings(config: &Config) -> Settings {
    Settings {
        limits: config.spec_limits(),
        thresholds: Thresholds { rise: config.health.rise, fall: config.health.fall },
        evidence: Evidence {
            patience: Patience {
                interval_ms: config.health.evidence_interval_ms,
                silence_ms: config.health.silence_ms,
            },
            confirm_fall: config.health.confirm_fall,
        },
        hold_down: HoldDown {
            first_ms: config.health.hold_down_ms,
            max_ms: config.health.hold_down_max_ms,
            forget_ms: config.health.hold_down_forget_ms,
        },
        flows: config.flows,
        stats_interval: Duration::from_millis(config.redirector.stats_interval_ms),
        seed: config.seed().into(),
        clock: Clock::start(),
    }
}

fn loads(config: &Config, clock: Clock, samples: mpsc::Sender<Sample>) -> anyhow::Result<Loads> {
    let timing = ScrapeTiming {
        interval: Duration::from_millis(config.load.interval_ms),
        timeout: Duration::from_millis(config.load.timeout_ms),
    };
    let scraper = Scraper::new(timing, clock, samples).context("cannot make an HTTP client")?;
    let outlook = Outlook::new(config.plan.outlook(&config.load));
    Ok(Loads { outlook, scraper, shown: None })
}

fn timing(config: &Config) -> ProbeTiming {
    ProbeTiming {
        interval: Duration::from_millis(config.health.interval_ms),
        timeout: Duration::from_millis(config.health.timeout_ms),
        confirm_timeout: Duration::from_millis(config.health.confirm_timeout_ms),
        jitter_pct: config.health.jitter_pct,
    }
}
