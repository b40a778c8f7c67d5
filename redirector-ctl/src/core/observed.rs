//! Measurement: what the platform saw, as values, and what follows from it at once. Pure data.

use std::collections::BTreeMap;

use super::health::{Health, PathHealth};
use super::op::NextHop;
use super::spec::Name;

/// Everything measured that decisions rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Server -> device -> what is known of that path.
    pub paths: BTreeMap<Name, BTreeMap<Name, PathHealth>>,
    /// Server -> way to it.
    pub next_hops: BTreeMap<Name, NextHop>,
    /// The flows at the last sweep.
    pub census: Option<Census>,
    /// When the first check was sent that somebody answered after all had been silent together: ms
    /// since the Unix epoch. What was silent before says nothing about a server.
    pub outage_over_ms: Option<u64>,
}

/// How many flows each epoch of each device has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// When the sweep began: ms since the Unix epoch. Flows opened later may be missing.
    pub began_at_ms: u64,
    /// (device id, epoch) -> flows.
    pub flows: BTreeMap<(u32, u16), u64>,
}

impl Observed {
    /// Health of a server for one device.
    #[must_use]
    pub fn path(&self, server: &str, device: &str) -> Health {
        self.paths.get(server).and_then(|of| of.get(device)).map_or(Health::Unknown, |p| p.health)
    }

    /// Health of a server as a whole: healthy when any path is, dead when all are.
    #[must_use]
    pub fn server(&self, server: &str) -> Health {
        let Some(paths) = self.paths.get(server) else { return Health::Unknown };
        let mut all_dead = !paths.is_empty();
        let mut any_suspect = false;
        for path in paths.values() {
            match path.health {
                Health::Healthy => return Health::Healthy,
                Health::Suspect => any_suspect = true,
                Health::Dead | Health::Unknown => {}
            }
            all_dead &= path.health == Health::Dead;
        }
        match (all_dead, any_suspect) {
            (true, _) => Health::Dead,
            (_, true) => Health::Suspect,
            _ => Health::Unknown,
        }
    }

    /// Deaths that may be acted upon. A path that fell silent counts as dead only when somebody,
    /// anybody, has answered a check since its silence began; if nobody has, the fault is as likely
    /// ours. After such an outage it must have been silent once more.
    #[must_use]
    pub fn deaths(&self) -> Deaths<'_> {
        let answer_at_ms = self.all_paths().filter_map(|(_, _, path)| path.answer_at_ms).max();
        Deaths { observed: self, answer_at_ms }
    }

    fn all_paths(&self) -> impl Iterator<Item = (&Name, &Name, &PathHealth)> {
        self.paths.iter().flat_map(|(server, of)| of.iter().map(move |(dev, p)| (server, dev, p)))
    }
}

/// The deaths within an [`Observed`], judged against the latest answer from anybody.
#[derive(Debug, Clone, Copy)]
pub struct Deaths<'a> {
    observed: &'a Observed,
    answer_at_ms: Option<u64>,
}

impl Deaths<'_> {
    /// The server is dead for this device.
    #[must_use]
    pub fn path(&self, server: &str, device: &str) -> bool {
        let path = self.observed.paths.get(server).and_then(|of| of.get(device));
        path.is_some_and(|path| self.believed(path))
    }

    /// The server is dead for all its devices.
    #[must_use]
    pub fn server(&self, server: &str) -> bool {
        let paths = self.observed.paths.get(server).filter(|of| !of.is_empty());
        paths.is_some_and(|of| of.values().all(|path| self.believed(path)))
    }

    /// Why some deaths are not believed; None when all are.
    #[must_use]
    pub fn held_back(&self) -> Option<String> {
        let held = |path: &PathHealth| path.health == Health::Dead && !self.believed(path);
        let mut servers: Vec<&str> = Vec::new();
        for (server, of) in &self.observed.paths {
            if of.values().any(held) {
                servers.push(server);
            }
        }
        if servers.is_empty() {
            return None;
        }
        Some(format!(
            "{} fell silent and no server has answered since: the fault may be this gateway's own \
             network, so nothing is changed; check its links and routes",
            servers.join(", ")
        ))
    }

    /// A path that has begun to answer again is not believed dead any more, though not yet healthy.
    fn believed(&self, path: &PathHealth) -> bool {
        let fails = path.health == Health::Dead && path.last_error.is_some();
        let Some(silence) = path.silence else { return fails };
        let witnessed = self.answer_at_ms.is_some_and(|answer| answer >= silence.since_ms);
        let outage_over_ms = self.observed.outage_over_ms;
        fails && witnessed && outage_over_ms.is_none_or(|over| silence.last_ms > over)
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::Silence;
    use super::*;

    fn path(health: Health, silent_since_ms: Option<u64>, answer_at_ms: u64) -> PathHealth {
        PathHealth {
            health,
            silence: silent_since_ms.map(|since_ms| Silence { since_ms, last_ms: since_ms + 200 }),
            answer_at_ms: Some(answer_at_ms),
            last_error: (health == Health::Dead).then(|| "an error".to_owned()),
            ..PathHealth::default()
        }
    }

    fn observed(paths: &[(&str, &str, PathHealth)]) -> Observed {
        let mut observed = Observed::default();
        for (server, device, path) in paths {
            let of = observed.paths.entry((*server).into()).or_default();
            of.insert((*device).into(), path.clone());
        }
        observed
    }

    #[test]
    fn a_server_is_as_healthy_as_its_best_path() {
        use Health::{Dead, Healthy, Suspect, Unknown};
        for (a, b, whole) in [
            (Healthy, Dead, Healthy),
            (Dead, Dead, Dead),
            (Dead, Suspect, Suspect),
            (Dead, Unknown, Unknown),
            (Suspect, Unknown, Suspect),
        ] {
            let seen = observed(&[("s1", "a", path(a, None, 1)), ("s1", "b", path(b, None, 1))]);
            assert_eq!(seen.server("s1"), whole, "{a:?} and {b:?}");
        }
        assert_eq!(Observed::default().server("s1"), Unknown);
    }

    #[test]
    fn silence_is_death_when_another_server_answered_after_it_began() {
        let silent = path(Health::Dead, Some(100), 90);
        let seen = observed(&[("s1", "a", silent), ("s2", "a", path(Health::Healthy, None, 120))]);
        assert!(seen.deaths().server("s1"));
        assert_eq!(seen.deaths().held_back(), None);
    }

    #[test]
    fn when_all_fall_silent_nobody_is_dead() {
        let seen = observed(&[
            ("s1", "a", path(Health::Dead, Some(100), 90)),
            ("s2", "a", path(Health::Dead, Some(110), 95)),
        ]);
        assert!(!seen.deaths().server("s1") && !seen.deaths().server("s2"));
        assert!(seen.deaths().held_back().is_some_and(|text| text.starts_with("s1, s2 fell")));
    }

    #[test]
    fn after_an_outage_of_ours_silence_counts_from_its_end() {
        let mut seen = observed(&[
            ("s1", "a", path(Health::Dead, Some(100), 90)),
            ("s2", "a", path(Health::Healthy, None, 5000)),
        ]);
        seen.outage_over_ms = Some(5000);
        assert!(!seen.deaths().server("s1"), "it has not been asked since");
        let still = Silence { since_ms: 100, last_ms: 5100 };
        let s1 = seen.paths.get_mut("s1").and_then(|of| of.get_mut("a")).unwrap();
        s1.silence = Some(still);
        assert!(seen.deaths().server("s1"));
    }

    #[test]
    fn a_path_that_begins_to_answer_is_not_believed_dead() {
        let mut rising = path(Health::Dead, None, 200);
        rising.last_error = None;
        let seen = observed(&[("s1", "a", rising)]);
        assert!(!seen.deaths().server("s1"));
    }

    #[test]
    fn a_refusal_needs_no_witness() {
        let seen = observed(&[("s1", "a", path(Health::Dead, None, 100))]);
        assert!(seen.deaths().server("s1"));
    }
}
