//! The last things that happened, in a ring, and in the log.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::watch;

use super::{Event, EventKind};
use crate::core::spec::{Cause, Name};

/// Events kept; older ones are forgotten here and remain in the log.
const EVENTS_MAX: usize = 1024;

/// What an event is about. All of it may be missing.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    pub(super) device: Option<Name>,
    pub(super) server: Option<Name>,
    pub(super) cause: Option<Cause>,
}

impl About {
    pub(super) fn server(name: &Name) -> Self {
        Self { server: Some(name.clone()), ..Self::default() }
    }
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct Events {
    last_id: u64,
    /// Generation of the desired state by the last change that was told.
    pub(super) generation: u64,
    /// The same, for those who wait for the next one.
    pub(super) latest: watch::Sender<u64>,
    ring: VecDeque<Event>,
    /// How many of each kind there were.
    pub(super) kinds: BTreeMap<EventKind, u64>,
    /// How many moves and failovers of each cause there were.
    pub(super) moves: BTreeMap<Cause, u64>,
}

impl Events {
    /// None yet, at a generation of the desired state.
    pub(super) fn at(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Records an event and says its id.
    pub(super) fn record(
        &mut self,
        at_ms: u64,
        kind: EventKind,
        about: About,
        text: impl Into<String>,
    ) -> u64 {
        let text = text.into();
        self.last_id += 1;
        self.log(kind, &about, &text);
        *self.kinds.entry(kind).or_default() += 1;
        if let (EventKind::Move | EventKind::Failover, Some(cause)) = (kind, about.cause) {
            *self.moves.entry(cause).or_default() += 1;
        }
        if self.ring.len() >= EVENTS_MAX {
            self.ring.pop_front();
        }
        let About { device, server, cause } = about;
        self.ring.push_back(Event { id: self.last_id, at_ms, kind, device, server, cause, text });
        self.latest.send_replace(self.last_id);
        self.last_id
    }

    /// Writes an event to the log, with all that is known of it as fields.
    fn log(&self, kind: EventKind, about: &About, text: &str) {
        let (id, generation) = (self.last_id, self.generation);
        let (device, server) = (about.device.as_deref(), about.server.as_deref());
        let cause = about.cause.map(Cause::name);
        // A level is part of the place in the code that logs, so there is one for each.
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(
                    id,
                    kind = kind.name(),
                    device,
                    server,
                    cause,
                    generation,
                    "{text}"
                )
            };
        }
        match kind {
            EventKind::Error => say!(error),
            EventKind::ServerDead | EventKind::ServerSuspect | EventKind::Frozen => say!(warn),
            _ => say!(info),
        }
    }

    /// Events above `after`, oldest first, at most `limit`.
    pub(super) fn after(&self, after: u64, limit: usize) -> Vec<Event> {
        self.ring.iter().filter(|event| event.id > after).take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_events_and_their_ids_grow() {
        let mut events = Events::default();
        for n in 0..EVENTS_MAX + 10 {
            events.record(0, EventKind::Change, About::default(), n.to_string());
        }
        let kept = events.after(0, usize::MAX);
        assert_eq!(kept.len(), EVENTS_MAX);
        assert_eq!(kept.first().map(|e| (e.id, e.text.as_str())), Some((11, "10")));
        assert_eq!(events.after(12, 2).iter().map(|e| e.id).collect::<Vec<_>>(), [13, 14]);
    }
}
