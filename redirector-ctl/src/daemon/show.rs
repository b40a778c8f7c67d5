//! The snapshot: everything there is to show, copied at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kernel::Kernel;
use super::owner::Owner;
use super::{Own, ServerHealth, Snapshot};
use crate::core::health::{Health, PathHealth};
use crate::core::spec::{Name, Spec};

impl<K: Kernel> Owner<K> {
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let spec = self.shown_spec();
        let clock = &self.settings.clock;
        let health = |name: &Name| (name.clone(), self.server_health(name));
        let path_health = |of: &BTreeMap<Name, PathHealth>| {
            of.iter().map(|(device, path)| (device.clone(), path.health)).collect()
        };
        let paths = self.observed.paths.iter();
        Snapshot {
            spec,
            health: self.spec.servers.keys().map(health).collect(),
            paths: paths.map(|(server, of)| (server.clone(), path_health(of))).collect(),
            next_hops: self.observed.next_hops.clone(),
            interfaces: self.shown.interfaces.clone(),
            counters: self.shown.counters.clone(),
            census: self.shown.census.clone(),
            started_at_ms: clock.started_at_ms(),
            now_ms: clock.now_ms(),
            applied_generation: self.applied_generation,
            frozen: self.shown.frozen.clone(),
            blocked: self.shown.blocked.clone(),
            loads: self.loads.view(clock.now_ms()),
            owed: [&self.owed.journal, &self.owed.tables].into_iter().flatten().cloned().collect(),
            limits: self.settings.limits,
            own: Own {
                events: self.events.kinds.clone(),
                moves: self.events.moves.clone(),
                ..self.own.clone()
            },
        }
    }

    /// The spec, copied once in each generation: with many devices a copy takes long.
    fn shown_spec(&mut self) -> Arc<Spec> {
        match &self.shown.spec {
            Some(spec) if spec.generation == self.spec.generation => Arc::clone(spec),
            _ => Arc::clone(self.shown.spec.insert(Arc::new(self.spec.clone()))),
        }
    }

    fn server_health(&self, name: &Name) -> ServerHealth {
        let started_at_ms = self.settings.clock.started_at_ms();
        let known = self.shown.health.get(name).copied();
        let (health, since_ms) = known.unwrap_or((Health::Unknown, started_at_ms));
        let paths: Vec<&PathHealth> =
            self.observed.paths.get(name).into_iter().flat_map(BTreeMap::values).collect();
        let took_us = paths.iter().filter_map(|path| path.took_us).min();
        let way_problem = || {
            let address = self.spec.servers.get(name)?.address;
            self.shown.way_problems.get(&address).cloned()
        };
        ServerHealth {
            health,
            since_ms,
            last_error: paths.iter().find_map(|path| path.last_error.clone()).or_else(way_problem),
            probe_ms: took_us.map(|us| us as f64 / 1000.0),
        }
    }
}
