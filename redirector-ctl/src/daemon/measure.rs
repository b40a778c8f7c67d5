//! Measurement comes in: checks, ways, counters, flows.
//!
//! A sweep over the flow table blocks the loop for as long as it takes (about 0.5 us a flow). So
//! that it takes at most a twentieth of the loop's time, the next one waits for twenty times as
//! long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::events::About;
use super::journal::{Answer, Wish};
use super::kernel::Kernel;
use super::owner::{Owner, Urgency};
use super::pace::Rest;
use super::ways::Ways;
use super::{EventKind, InterfaceStatus};
use crate::core::health::{CheckResult, Health, Thresholds, Transition};
use crate::core::observed::Census;
use crate::core::op::NextHop;
use crate::core::paths::SAMPLE_LEN;
use crate::core::service::Forwarding;
use crate::core::spec::{Device, Name, Spec};
use crate::platform::clock::{Stopwatch, monotonic_ns};
use crate::platform::netlink::Link;
use crate::platform::probe::{Manner, Report};
use crate::platform::tables::{IdleTimes, Sweep};

/// How much longer than itself a sweep keeps the next one away.
const SWEEP_REST: u32 = 20;

/// The same of a reading of the counters.
const STATS_REST: u32 = 20;

/// A frame for a service address that is sent to a router comes back or gets lost.
fn note_routed(spec: &Spec, ways: &mut Ways) {
    for (device, wish) in spec.devices.iter().filter(|(_, d)| d.forwarding == Forwarding::Dsr) {
        for server in wish.servers.iter().filter_map(|name| spec.servers.get(name)) {
            if ways.routed.contains(&server.address) {
                let problem = format!(
                    "device {device} is forwarded by dsr, but {} is behind a router: put the \
                     server on a network of the gateway, or forward by ipip or gue",
                    server.address
                );
                ways.problems.insert(server.address, problem);
            }
        }
    }
}

/// Idle times of the devices that have their own, by id.
fn idle_times(spec: &Spec, default: IdleTimes) -> BTreeMap<u32, IdleTimes> {
    let own = spec.devices.values().map(|device| {
        let tcp_ms = device.tcp_idle_timeout_ms.unwrap_or(default.tcp_ms);
        let other_ms = device.udp_idle_timeout_ms.unwrap_or(default.other_ms);
        (device.id, IdleTimes { tcp_ms, other_ms })
    });
    own.filter(|(_, idle)| *idle != default).collect()
}

/// Associations that drain: device id and epoch.
fn draining(spec: &Spec) -> BTreeSet<(u32, u16)> {
    let of = |device: &Device| {
        let id = device.id;
        device.association.drains.iter().map(move |drain| (id, drain.epoch)).collect::<Vec<_>>()
    };
    spec.devices.values().flat_map(of).collect()
}

impl<K: Kernel> Owner<K> {
    /// Takes in the result of a check. Says how soon something is to be decided.
    pub(super) fn take_report(&mut self, report: &Report) -> Urgency {
        if !self.prober.is_current(report) {
            return Urgency::Nothing;
        }
        self.own.check(&report.path.0, report.manner, &report.result);
        if let CheckResult::NotAsked(why) = &report.result {
            tracing::warn!(server = report.path.0, device = report.path.1, why, "no check");
        }
        let (server, device) = &report.path;
        let now_ms = self.now_ms();
        let mut thresholds = self.thresholds(device);
        if self.confirms(report) {
            thresholds.fall = self.settings.evidence.confirm_fall;
        }
        self.note_outage_over(report);
        let of = self.observed.paths.entry(server.clone()).or_default();
        let (transition, is_suspect) = of.change(device, |path| {
            let transition = path.record(&report.result, report.asked_at_ms, now_ms, thresholds);
            (transition, path.health == Health::Suspect && path.took_us.is_some())
        });
        // A path that has answered before is asked again at once. One that never has may belong to
        // a server that is still starting, and nothing is lost by asking in its turn.
        if is_suspect {
            match report.manner {
                Manner::Routine => self.prober.nudge(&report.path),
                Manner::Confirming => self.prober.confirm(&report.path),
            }
        }
        // What is not believed is asked about for as long as that is so, at the pace of time-outs.
        if self.shown.frozen.is_some() && matches!(report.result, CheckResult::Silent(_)) {
            self.prober.nudge(&report.path);
        }
        if let Some(transition) = transition {
            self.changed(server, device, transition);
            if transition.to == Health::Dead {
                self.conclude(server);
            }
        }
        // While decisions are held back any answer may set them free.
        match transition {
            _ if self.shown.frozen.is_some() || self.shown.unsure => Urgency::Now,
            None => Urgency::Nothing,
            Some(Transition { to: Health::Healthy, .. }) => Urgency::Rested,
            Some(_) => Urgency::Now,
        }
    }

    /// Whether nobody was there when a suspect was asked, which many connections have tried and no
    /// packet of a client's speaks against.
    fn confirms(&self, report: &Report) -> bool {
        let heard_ms = self.observed.heard.get(&report.path.0);
        report.manner == Manner::Confirming
            && matches!(report.result, CheckResult::Silent(_))
            && heard_ms.is_none_or(|heard_ms| *heard_ms < report.asked_at_ms)
    }

    /// How many checks decide for a device.
    fn thresholds(&self, device: &Name) -> Thresholds {
        let pace = self.spec.devices.get(device).map(|device| device.check_pace);
        pace.unwrap_or_default().thresholds(self.settings.thresholds)
    }

    /// While all are silent together, the first answer from anybody ends the outage; whoever is
    /// silent still is asked once more, at once.
    fn note_outage_over(&mut self, report: &Report) {
        let answer =
            matches!(report.result, CheckResult::Answered { .. } | CheckResult::Refused(_));
        let Some(began_at_ms) = self.shown.outage_at_ms.filter(|_| answer) else { return };
        if self.observed.outage_over_ms.is_none_or(|over| over < began_at_ms) {
            self.observed.outage_over_ms = Some(report.asked_at_ms.max(began_at_ms));
            for (server, of) in &self.observed.paths {
                for (device, _) in of.iter().filter(|(_, path)| path.silence.is_some()) {
                    self.prober.confirm(&(server.clone(), device.clone()));
                }
            }
        }
    }

    /// The health of a path changed: tell, and on a suspicion ask around at once.
    pub(super) fn changed(&mut self, server: &Name, device: &Name, transition: Transition) {
        // With very many suspects those that speak for the server are being asked already.
        let suspects = self.observed.paths.get(server).map(|of| of.len_of(Health::Suspect));
        if transition.to == Health::Suspect && suspects.is_none_or(|len| len <= SAMPLE_LEN) {
            self.ask_around(server);
        }
        if matches!(transition.to, Health::Suspect | Health::Dead) {
            self.ask_others_for(device, server);
        }
        let now_ms = self.now_ms();
        let path = self.observed.paths.get(server).and_then(|of| of.get(device));
        let error = path.and_then(|path| path.last_error.clone());
        let error = error.map(|error| format!(": {error}")).unwrap_or_default();
        let whole = self.observed.server(server);
        let known = self.shown.health.get(server).map_or(Health::Unknown, |known| known.0);
        let (about, text) = if whole != known {
            self.shown.health.insert(server.clone(), (whole, now_ms));
            (About::server(server), format!("server {server} is {}{error}", whole.name()))
        } else if matches!(transition, Transition { from: Health::Dead, .. })
            || transition.to == Health::Dead
        {
            let about = About { device: Some(device.clone()), ..About::server(server) };
            let to = transition.to.name();
            (about, format!("server {server} is {to} for device {device}{error}"))
        } else {
            return;
        };
        let kind = match if about.device.is_some() { transition.to } else { whole } {
            Health::Healthy => EventKind::ServerHealthy,
            Health::Dead => EventKind::ServerDead,
            Health::Suspect => EventKind::ServerSuspect,
            Health::Unknown => return,
        };
        self.events.record(now_ms, kind, about, text);
    }

    /// Takes in what the network looks like.
    pub(super) async fn take_ways(&mut self, mut ways: Ways) {
        let now_ms = self.now_ms();
        note_routed(&self.spec, &mut ways);
        let mut lost = Vec::new();
        for (name, server) in &self.spec.servers {
            let Some(hop) = ways.hops.get(&server.address) else {
                let known = self.observed.next_hops.contains_key(name);
                if known && self.shown.unresolved.insert(name.clone()) {
                    lost.push(name.clone());
                }
                continue;
            };
            self.shown.unresolved.remove(name);
            if self.observed.next_hops.insert(name.clone(), *hop) != Some(*hop) {
                let text = format!("the way to server {name} is {hop}");
                self.events.record(now_ms, EventKind::Neighbour, About::server(name), text);
            }
        }
        for (address, problem) in &ways.problems {
            if self.shown.way_problems.get(address) != Some(problem) {
                self.events.record(now_ms, EventKind::Error, About::default(), problem.clone());
            }
        }
        self.shown.way_problems = ways.problems;
        self.attach_anew(&mut ways.links).await;
        self.follow_lines(&ways.links);
        self.tell_ways(&ways.sources);
        self.take_links(&ways.links);
        // Its frames go where they went. A kernel forgets the neighbours that it does not need too.
        for server in lost {
            tracing::debug!(server, "the kernel does not know its Ethernet address any more");
            self.confirm(&server);
        }
        self.replan().await;
    }

    fn take_links(&mut self, links: &[Link]) {
        let now_ms = self.now_ms();
        let mut lost = Vec::new();
        for (port, shown) in self.shown.interfaces.iter_mut().enumerate() {
            let link = links.iter().find(|link| link.index == shown.index);
            let carrier = link.is_some_and(|link| link.carrier);
            if let Some(link) = link {
                (shown.mtu, shown.mac) = (link.mtu, link.mac);
                if link.xdp.name() != shown.mode {
                    shown.mode = link.xdp.name().to_owned();
                    let text = mode_text(shown);
                    self.events.record(now_ms, EventKind::Link, About::default(), text);
                }
            }
            if shown.link_up == carrier {
                continue;
            }
            shown.link_up = carrier;
            let text = link_text(shown, link.is_some());
            self.events.record(now_ms, EventKind::Link, About::default(), text);
            if !carrier {
                lost.push(port);
            }
        }
        let behind = |hop: &NextHop| lost.contains(&usize::from(hop.port));
        let hops = self.observed.next_hops.iter().filter(|(_, hop)| behind(hop));
        let cut_off: Vec<Name> = hops.map(|(server, _)| server.clone()).collect();
        for server in cut_off {
            self.lose_link(&server);
        }
    }

    /// The kernel knows of a lost link before any check does. It counts as one failed check, and
    /// the next one confirms it.
    fn lose_link(&mut self, server: &Name) {
        let now_ms = self.now_ms();
        let result = CheckResult::Silent("its interface has no carrier".to_owned());
        let mut changes = Vec::new();
        let Some(of) = self.observed.paths.get_mut(server) else { return };
        of.change_each(|device, path| {
            let pace = self.spec.devices.get(device).map(|device| device.check_pace);
            let thresholds = pace.unwrap_or_default().thresholds(self.settings.thresholds);
            let transition = path.record(&result, now_ms, now_ms, thresholds);
            changes.extend(transition.map(|transition| (device.clone(), transition)));
        });
        for device in of.sample() {
            self.prober.confirm(&(server.clone(), device.clone()));
        }
        for (device, transition) in changes {
            self.changed(server, &device, transition);
        }
    }

    /// Reads the counters, and tries again what could not be written.
    pub(super) fn take_stats(&mut self) {
        if self.pace.counters.is_over(self.now_ms()) {
            self.read_counters();
        }
        self.pay();
        self.record_failovers();
    }

    /// A system call a device: with very many devices the readings get rarer.
    fn read_counters(&mut self) {
        let watch = Stopwatch::start();
        match self.kernel.counters() {
            Ok(counters) => {
                self.mark_drains();
                self.shown.counters = Arc::new(counters);
                self.take_totals();
            }
            Err(error) => tracing::warn!(%error, "the counters cannot be read"),
        }
        self.pace.counters = Rest::begin(self.now_ms(), watch.elapsed(), STATS_REST);
    }

    /// Counts flows and takes away those that are over.
    pub(super) async fn sweep(&mut self) {
        let began_at_ms = self.now_ms();
        if !self.pace.sweep.is_over(began_at_ms) {
            return;
        }
        self.pace.sweep_soon = false;
        let flows = &self.settings.flows;
        let idle =
            IdleTimes { tcp_ms: flows.tcp_idle_timeout_ms, other_ms: flows.udp_idle_timeout_ms };
        let sweep = Sweep {
            now_ns: monotonic_ns(),
            idle,
            idle_of: idle_times(&self.spec, idle),
            closing_ms: flows.closing_timeout_ms,
            draining: draining(&self.spec),
        };
        let watch = Stopwatch::start();
        let swept = self.kernel.sweep(&sweep);
        let took = watch.elapsed();
        self.own.sweeps.add(took);
        self.pace.sweep = Rest::begin(began_at_ms, took, SWEEP_REST);
        let mut census = match swept {
            Ok(census) => census,
            Err(error) => {
                tracing::warn!(%error, "the flows cannot be swept");
                return;
            }
        };
        let mut counted = Census { began_at_ms, ..Census::default() };
        for ((device, epoch, _), len) in &census.by_epoch {
            *counted.flows.entry((*device, *epoch)).or_default() += len;
        }
        self.own.detector.wakes += self.waking.wake(&census.refused, began_at_ms);
        self.own.flows_reaped += census.reaped;
        let forget = self.forget_clients(&std::mem::take(&mut census.clients_gone));
        self.shown.census = Arc::new(census);
        self.observed.census = Some(counted);
        if let Some(change) = forget {
            let answer = Answer::Nobody("clients that are gone are remembered");
            let changes = vec![(change, String::new())];
            self.wish(Wish { changes, if_match: None, answer });
        }
        if self.spec.devices.values().any(|device| !device.association.drains.is_empty()) {
            self.replan().await;
        }
    }
}

fn mode_text(shown: &InterfaceStatus) -> String {
    let InterfaceStatus { name, mode, .. } = shown;
    format!(
        "the mode in force on interface {name} is {mode}: if that is not as configured, restart \
         the daemon to attach to it again"
    )
}

fn link_text(shown: &InterfaceStatus, exists: bool) -> String {
    let name = &shown.name;
    match (shown.link_up, exists) {
        (true, _) => format!("interface {name} has a carrier"),
        (false, true) => format!("interface {name} has no carrier"),
        (false, false) => format!(
            "interface {name} is gone: when it is back, the program is attached to it again"
        ),
    }
}
