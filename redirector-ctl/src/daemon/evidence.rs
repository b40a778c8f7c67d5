//! What packets say of the servers comes in, often: whoever is suspected is asked at once.
//!
//! Limits: reading takes a system call a server, and at most a twentieth of the loop's time; with
//! very many servers the looks get rarer.

use std::time::Duration;

use tokio::time::Interval;

use super::kernel::Kernel;
use super::owner::{Owner, ticks};
use super::pace::Rest;
use crate::core::health::{CheckResult, Health, PathHealth, Thresholds};
use crate::core::paths::{Paths, SILENT_LEN};
use crate::core::spec::Name;
use crate::core::suspicion::{Patience, Suspicion};
use crate::platform::clock::Stopwatch;

/// How much longer than itself a look keeps the next one away.
const LOOK_REST: u32 = 20;

/// Others have been asked often enough.
const AT_ONCE: Thresholds = Thresholds { rise: 1, fall: 1 };

/// How the packets' evidence is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    /// When packets make a server suspect. An interval of zero: never.
    pub(super) patience: Patience,
    /// Checks in a row that must find nobody there to confirm a suspicion.
    pub(super) confirm_fall: u32,
}

impl Evidence {
    /// When to look; None for never.
    pub(super) fn ticks(&self) -> Option<Interval> {
        let interval_ms = self.patience.interval_ms;
        (interval_ms > 0).then(|| ticks(Duration::from_millis(interval_ms)))
    }
}

impl<K: Kernel> Owner<K> {
    /// Looks at what packets say of each server that serves, and asks those that they speak
    /// against. It cuts nothing: the checks decide.
    pub(super) fn take_evidence(&mut self) {
        let now_ms = self.now_ms();
        if !self.pace.evidence.is_over(now_ms) {
            return;
        }
        let watch = Stopwatch::start();
        let patience = self.settings.evidence.patience.stretched(self.pace.evidence.for_ms());
        let mut suspects: Vec<(Name, Suspicion)> = Vec::new();
        for (name, server) in &self.spec.servers {
            if server.is_out() {
                self.watches.remove(&server.id);
                continue;
            }
            let signs = match self.kernel.signs(server.id) {
                Ok(signs) => signs,
                Err(error) => {
                    tracing::warn!(%error, "no evidence from packets");
                    return;
                }
            };
            let known = self.watches.entry(server.id).or_default();
            let suspicion = known.look(signs, now_ms, patience);
            if let Some(heard_ms) = known.heard_since_ms() {
                match self.observed.heard.get_mut(name) {
                    Some(known_ms) => *known_ms = heard_ms,
                    None => drop(self.observed.heard.insert(name.clone(), heard_ms)),
                }
            }
            suspects.extend(suspicion.map(|suspicion| (name.clone(), suspicion)));
        }
        for (server, suspicion) in suspects {
            tracing::debug!(server, "packets speak against it: {suspicion}");
            *self.own.detector.suspicions.entry(suspicion.name()).or_default() += 1;
            self.confirm(&server);
        }
        self.pace.evidence = Rest::begin(now_ms, watch.elapsed(), LOOK_REST);
    }

    /// Asks a suspect with little patience, and the others, who say whether our own
    /// side works.
    pub(super) fn confirm(&self, suspect: &Name) {
        for device in self.observed.paths.get(suspect).into_iter().flat_map(Paths::sample) {
            self.prober.confirm(&(suspect.clone(), device.clone()));
        }
        self.ask_witnesses(Some(suspect));
    }

    /// Asks other paths of the suspect, to know sooner whether all of it is dead, and one path of
    /// each other server, to know whether our own side works.
    pub(super) fn ask_around(&self, suspect: &Name) {
        for device in self.observed.paths.get(suspect).into_iter().flat_map(Paths::sample) {
            self.prober.nudge(&(suspect.clone(), device.clone()));
        }
        self.ask_witnesses(Some(suspect));
    }

    /// Asks other servers for a device that one refuses: only who is well since can say that the
    /// check is right.
    pub(super) fn ask_others_for(&self, device: &Name, suspect: &Name) {
        let refuses = |path: &PathHealth| path.silence.is_none() && path.last_error.is_some();
        let path = |server: &Name| self.observed.paths.get(server).and_then(|of| of.get(device));
        if !path(suspect).is_some_and(refuses) {
            return;
        }
        let healthy = self.observed.paths.keys().filter(|server| {
            *server != suspect && path(server).is_some_and(|p| p.health == Health::Healthy)
        });
        // One more than are needed, because it may die too.
        for server in healthy.take(self.observed.doubt.healthy_min.saturating_add(1)) {
            self.prober.nudge(&(server.clone(), device.clone()));
        }
    }

    /// Asks one path of each server but the suspect, if it is about one: a healthy path, where
    /// there is one. Only who is asked after the suspect can say that our side works since.
    pub(super) fn ask_witnesses(&self, suspect: Option<&Name>) {
        for (server, of) in self.observed.paths.iter().filter(|(name, _)| Some(*name) != suspect) {
            let healthy = of.iter().find(|(_, path)| path.health == Health::Healthy);
            let living = || of.iter().find(|(_, path)| path.health != Health::Dead);
            let Some((device, _)) = healthy.or_else(living).or_else(|| of.iter().next()) else {
                continue;
            };
            let path = (server.clone(), device.clone());
            match suspect {
                Some(_) => self.prober.nudge_after(&path),
                None => self.prober.nudge(&path),
            }
        }
    }

    /// When those paths of a server that were asked say that all of it is silent, so are the
    /// others, however many there are.
    pub(super) fn conclude(&mut self, server: &Name) {
        let (now_ms, heard_ms) = (self.now_ms(), self.observed.heard.get(server).copied());
        let Some(of) = self.observed.paths.get_mut(server) else { return };
        // Not at each of them, because it is a look at all paths.
        if !of.len_of(Health::Dead).is_multiple_of(SILENT_LEN) {
            return;
        }
        let Some(since_ms) = of.silent_since_ms(heard_ms) else { return };
        let silent =
            CheckResult::Silent("no answer for any device that was asked about".to_owned());
        let mut last = None;
        of.change_each(|device, path| {
            if path.health != Health::Dead {
                let transition = path.record(&silent, since_ms, now_ms, AT_ONCE);
                last = transition.map(|transition| (device.clone(), transition));
            }
        });
        if let Some((device, transition)) = last {
            self.changed(server, &device, transition);
        }
    }
}
