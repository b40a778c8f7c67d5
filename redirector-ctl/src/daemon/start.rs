//! The start: from a configuration, a state file and whatever the kernel holds to an owner that can
//! run.
//!
//! A restart under running I/O changes nothing: the tables are read back, and only what differs is
//! written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use super::announce::Announcer;
use super::events::{About, Events};
use super::kernel::Kernel;
use super::owner::{Inputs, Owed, Owner, Settings, Shown};
use super::waking::Waking;
use super::ways::{Watcher, Ways};
use super::{EventKind, InterfaceStatus};
use crate::config::{Config, XdpMode};
use crate::core::health::Thresholds;
use crate::core::image::{Image, ServerLine, diff};
use crate::core::observed::Observed;
use crate::platform::bpf::{self, AttachMode, AttachOptions, Interface, TableLimits};
use crate::platform::clock::Clock;
use crate::platform::netlink::{Link, Netlink, XdpInForce};
use crate::platform::probe::{ProbeTiming, Prober};
use crate::platform::store::Store;
use crate::platform::tables::{Content, Gateway, GatewayInterface, Tables};
use redirector_common::wire::Tags;

mod begin;

/// Results waiting at most; then checks wait.
const REPORTS_MAX: usize = 1024;
/// Looks at the network waiting at most; each replaces the one before.
const WAYS_MAX: usize = 4;

/// Brings everything up and writes to the tables what they lack.
///
/// # Errors
/// When anything is missing; what is in the kernel stays as it is.
pub(super) async fn start(config: &Config) -> anyhow::Result<(Owner<Tables>, Inputs)> {
    let store = Store::open(&config.redirector.state_dir)?;
    let state = store.load()?;
    let journalled = state.as_ref().map(|state| state.announced.clone()).unwrap_or_default();
    let (netlink, net_events) = Netlink::open().context("cannot open a netlink socket")?;
    let links = configured(config, &netlink.links().await?)?;
    let settings = settings(config);
    // Once without tables, so that what is wrong is found while nothing has changed.
    begin::begin(&settings, state.clone(), &Image::default())?;
    let (tables, log_reader) = bpf::attach(&attach_options(config, &links))?;
    tokio::spawn(log_reader.run());
    let applied = image(tables.content()?);
    let begun = begin::begin(&settings, state, &applied)?;
    let (reports_in, reports) = mpsc::channel(REPORTS_MAX);
    let prober = Prober::new(timing(config), settings.clock, reports_in);
    let announcer =
        Announcer::new(netlink.clone(), announcing(config, &links), &journalled).await?;
    let servers: BTreeSet<IpAddr> = begun.spec.servers.values().map(|s| s.address).collect();
    let (addresses, watched) = watch::channel(servers);
    let ports = links.iter().map(|link| link.index).collect();
    let mut watcher = Watcher::new(netlink, ports, watched);
    let seen = watcher.look().await?;
    let attached = configured(config, &seen.links)?;
    let owner = Owner {
        settings,
        kernel: tables,
        store: Arc::new(store),
        prober,
        announcer,
        addresses,
        events: Events::default(),
        spec: begun.spec,
        observed: Observed { next_hops: begun.next_hops, ..Observed::default() },
        applied,
        applied_generation: 0,
        shown: Shown { interfaces: interfaces(&attached), ..Shown::default() },
        owed: Owed::default(),
        wake_at_ms: None,
        sweep_not_before_ms: 0,
        sweep_soon: false,
        waking: Waking::new(),
    };
    let owner = owner.first(&begun.notes, seen).await?;
    let (ways_in, ways) = mpsc::channel(WAYS_MAX);
    tokio::spawn(watcher.run(net_events, ways_in));
    Ok((owner, Inputs { reports, ways }))
}

impl<K: Kernel> Owner<K> {
    /// The first thing of all: what is desired is journalled, and the tables get what they lack.
    pub(super) async fn first(mut self, notes: &[String], seen: Ways) -> anyhow::Result<Self> {
        let spec = self.spec.clone();
        self.journal(&spec).await.map_err(anyhow::Error::msg)?;
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
        self.settle().await;
        self.take_ways(seen).await;
        match self.owed.tables.take() {
            Some(what) => Err(anyhow::Error::msg(what)),
            None => Ok(self),
        }
    }
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
        devices: content.devices,
        words: content.associations,
        services: content.services,
        returns: content.returns,
        // The table holds them by hash, so they are written anew; that takes nothing away.
        marks: BTreeMap::new(),
    }
}

/// The configured interfaces, in the configuration's order, as the kernel knows them.
fn configured(config: &Config, links: &[Link]) -> anyhow::Result<Vec<Link>> {
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (n, wanted) in config.interfaces.iter().enumerate() {
        match links.iter().find(|link| link.name == wanted.name) {
            Some(link) => found.push(link.clone()),
            None => missing.push(format!("interface[{n}].name: {} does not exist", wanted.name)),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    anyhow::bail!("{}; this machine has {}", missing.join("; "), names.join(", "))
}

fn attach_options(config: &Config, links: &[Link]) -> AttachOptions {
    let interface = |(wanted, link): (&crate::config::InterfaceConfig, &Link)| Interface {
        name: link.name.clone(),
        index: link.index,
        mac: link.mac,
        mode: match wanted.mode {
            XdpMode::Native => AttachMode::Native,
            XdpMode::Generic => AttachMode::Generic,
        },
        in_force: match link.xdp {
            XdpInForce::Native => Some(AttachMode::Native),
            XdpInForce::Generic => Some(AttachMode::Generic),
            XdpInForce::Nothing | XdpInForce::Otherwise => None,
        },
    };
    AttachOptions {
        bpffs_dir: config.redirector.bpffs_dir.clone(),
        interfaces: config.interfaces.iter().zip(links).map(interface).collect(),
        limits: TableLimits {
            devices_max: config.limits.devices_max,
            servers_max: config.limits.servers_max,
            flows_max: config.limits.flows_max,
            candidates_max: config.limits.candidates_max,
            ..TableLimits::default()
        },
        gateway: gateway(links),
    }
}

/// What the program must know of the gateway.
fn gateway(links: &[Link]) -> Gateway {
    let interface = |link: &Link| GatewayInterface {
        index: link.index as u16,
        carrier: link.index as u16,
        mac: link.mac,
        tags: Tags::NONE,
        mtu: link.mtu,
        address_v4: None,
        address_v6: None,
    };
    Gateway { interfaces: links.iter().map(interface).collect(), ..Gateway::default() }
}

/// The interfaces as they are now, with the modes in force.
pub(super) fn interfaces(links: &[Link]) -> Vec<InterfaceStatus> {
    let status = |link: &Link| InterfaceStatus {
        name: link.name.clone(),
        index: link.index,
        mac: link.mac,
        mode: link.xdp.name().to_owned(),
        link_up: link.carrier,
        mtu: link.mtu,
    };
    links.iter().map(status).collect()
}

fn announcing(config: &Config, links: &[Link]) -> Vec<Link> {
    let both = config.interfaces.iter().zip(links);
    both.filter(|(wanted, _)| wanted.announce).map(|(_, link)| link.clone()).collect()
}

fn settings(config: &Config) -> Settings {
    Settings {
        limits: config.spec_limits(),
        thresholds: Thresholds { rise: config.health.rise, fall: config.health.fall },
        flows: config.flows,
        stats_interval: Duration::from_millis(config.redirector.stats_interval_ms),
        seed: config.seed(),
        clock: Clock::start(),
    }
}

fn timing(config: &Config) -> ProbeTiming {
    ProbeTiming {
        interval: Duration::from_millis(config.health.interval_ms),
        timeout: Duration::from_millis(config.health.timeout_ms),
        jitter_pct: config.health.jitter_pct,
    }
}
