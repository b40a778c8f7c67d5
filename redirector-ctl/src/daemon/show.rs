//! The snapshot: everything there is to show, copied at one moment.

use std::sync::Arc;
use std::time::Duration;

use super::kernel::Kernel;
use super::owner::Owner;
use super::{Own, PathsSeen, ServerHealth, Snapshot};
use crate::core::health::Health;
use crate::core::paths::Paths;
use crate::core::spec::Name;
use crate::platform::clock::Stopwatch;

/// A snapshot costs so many times less than the time for which it is shown again: with tens of
/// thousands of devices a copy takes long, and those who ask must not take all of the loop's time.
const SHOWN_AGAIN: u128 = 10;

/// A snapshot that was made faster is not kept.
const KEPT_FROM: Duration = Duration::from_millis(2);

/// The last snapshot, and what has to be as it was for it to be shown again.
#[derive(Debug)]
pub(super) struct LastShown {
    snapshot: Arc<Snapshot>,
    /// Generations desired and applied, and the last event.
    of: (u64, u64, u64),
    took: Duration,
    since: Stopwatch,
}

impl<K: Kernel> Owner<K> {
    /// The snapshot that is shown: a new one, or one that has just been made, if nothing has
    /// happened since.
    pub(super) fn shown_snapshot(&mut self) -> Arc<Snapshot> {
        let of = (self.spec.generation, self.applied_generation, *self.events.latest.borrow());
        if let Some(last) = &self.shown.last
            && last.of == of
            && last.since.elapsed().as_nanos() < SHOWN_AGAIN * last.took.as_nanos()
        {
            return Arc::clone(&last.snapshot);
        }
        let watch = Stopwatch::start();
        let snapshot = Arc::new(self.snapshot());
        let took = watch.elapsed();
        // Small ones are cheaper to make anew than to keep.
        self.shown.last = (took >= KEPT_FROM).then(|| LastShown {
            snapshot: Arc::clone(&snapshot),
            of,
            took,
            since: Stopwatch::start(),
        });
        snapshot
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let spec = Arc::new(self.spec.clone());
        let clock = &self.settings.clock;
        let now_ms = clock.now_ms();
        let health = |name: &Name| (name.clone(), self.server_health(name));
        let seen = |(server, of): (&Name, &Paths)| {
            let lens = Health::ALL.into_iter().map(|health| (health, of.len_of(health))).collect();
            (server.clone(), PathsSeen { lens, troubled: of.troubled() })
        };
        let paths = self.observed.paths.iter();
        let held_down = self.observed.held_down.iter().filter(|(_, until_ms)| **until_ms > now_ms);
        Snapshot {
            spec,
            health: self.spec.servers.keys().map(health).collect(),
            paths: paths.map(seen).collect(),
            next_hops: self.observed.next_hops.clone(),
            interfaces: self.shown.interfaces.clone(),
            counters: self.shown.counters.clone(),
            drain_marks: self.shown.drain_marks.clone(),
            census: self.shown.census.clone(),
            started_at_ms: clock.started_at_ms(),
            now_ms,
            applied_generation: self.applied_generation,
            frozen: self.shown.frozen.clone(),
            blocked: self.shown.blocked.clone(),
            held_down: held_down.map(|(server, _)| server.clone()).collect(),
            loads: self.loads.view(now_ms),
            plan: self.plan_figures(),
            owed: [&self.owed.journal, &self.owed.tables].into_iter().flatten().cloned().collect(),
            limits: self.settings.limits,
            own: Own {
                events: self.events.kinds.clone(),
                moves: self.events.moves.clone(),
                ..self.own.clone()
            },
        }
    }

    fn server_health(&self, name: &Name) -> ServerHealth {
        let started_at_ms = self.settings.clock.started_at_ms();
        let known = self.shown.health.get(name).copied();
        let (health, since_ms) = known.unwrap_or((Health::Unknown, started_at_ms));
        let paths = self.observed.paths.get(name).into_iter().flat_map(|of| of.values());
        let took_us = paths.clone().filter_map(|path| path.took_us).min();
        let mut errors = paths.filter_map(|path| path.last_error.clone());
        let way_problem = || {
            let address = self.spec.servers.get(name)?.address;
            self.shown.way_problems.get(&address).cloned()
        };
        ServerHealth {
            health,
            since_ms,
            last_error: errors.next().or_else(way_problem),
            probe_ms: took_us.map(|us| us as f64 / 1000.0),
        }
    }
}
