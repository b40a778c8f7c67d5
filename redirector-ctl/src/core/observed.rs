//! Measurement: what the platform saw, as values, and what follows from it at once. Pure data.

use std::collections::BTreeMap;

use super::health::{Health, PathHealth, Silence};
use super::op::NextHop;
use super::paths::Paths;
use super::refusals::Refusal;
use super::spec::Name;

/// Everything measured that decisions rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Server -> device -> what is known of that path.
    pub paths: BTreeMap<Name, Paths>,
    /// Server -> the last time since which packets of it have passed for certain: ms since the Unix
    /// epoch.
    pub heard: BTreeMap<Name, u64>,
    /// Server -> way to it.
    pub next_hops: BTreeMap<Name, NextHop>,
    /// The flows at the last sweep.
    pub census: Option<Census>,
    /// When the first check was sent that somebody answered after all had been silent together: ms
    /// since the Unix epoch. What was silent before says nothing about a server.
    pub outage_over_ms: Option<u64>,
    /// How silence is judged.
    pub doubt: Doubt,
    /// Servers that died and may not begin a new life yet -> until when: ms since the Unix epoch.
    pub held_down: BTreeMap<Name, u64>,
}

/// When servers fall silent and it is rather we who do not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Largest share of the servers that may be silent together, in percent, for their silence to
    /// count as their death.
    pub silent_share_max_pct: u8,
    /// How long more than that share must have been silent, while others answer, to be believed
    /// dead after all, in ms.
    pub mass_hold_ms: u64,
    /// Other servers that must be well for a device since, for one that refuses it, though it is
    /// there, to count as dead for it.
    pub healthy_min: usize,
}

impl Default for Doubt {
    fn default() -> Self {
        Self { silent_share_max_pct: 50, mass_hold_ms: 5000, healthy_min: 1 }
    }
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
        let any = |health| paths.len_of(health) > 0;
        match () {
            () if any(Health::Healthy) => Health::Healthy,
            () if any(Health::Dead) && paths.len_of(Health::Dead) == paths.len() => Health::Dead,
            () if any(Health::Suspect) => Health::Suspect,
            () => Health::Unknown,
        }
    }

    /// Deaths that may be acted upon. A path that fell silent counts as dead only when enough
    /// servers have answered a check since its silence began; if too few have, the fault is as
    /// likely ours. After an outage of all it must have been silent once more. One that refuses
    /// counts as dead only when other servers are well for the device since: if none is, the check
    /// is as likely wrong, and open flows may be well.
    #[must_use]
    pub fn deaths(&self) -> Deaths<'_> {
        Deaths { observed: self, voices: Voices::of(self) }
    }
}

/// Who has answered, and who cannot any more.
#[derive(Debug, Clone, Default)]
struct Voices {
    /// Since when each server was last heard for certain, in order: when its last answered check
    /// was sent, or a look before its clients' last answers; ms since the Unix epoch.
    answers: Vec<u64>,
    /// Since when those servers are dead that are, in order.
    deaths: Vec<u64>,
    /// Servers that were asked.
    asked_len: usize,
}

impl Voices {
    fn of(observed: &Observed) -> Self {
        let mut voices = Self::default();
        for (server, of) in &observed.paths {
            let heard = observed.heard.get(server).copied();
            let answers = of.values().filter_map(|path| path.answer_at_ms);
            voices.answers.extend(answers.chain(heard).max());
            voices.asked_len += usize::from(of.len_of(Health::Unknown) < of.len());
            if of.len_of(Health::Dead) == of.len() {
                voices.deaths.extend(of.values().map(|path| path.since_ms).max());
            }
        }
        voices.answers.sort_unstable();
        voices.deaths.sort_unstable();
        voices
    }

    /// How many servers have answered a check that was sent at that time or later.
    fn answered_since(&self, at_ms: u64) -> usize {
        self.answers.len() - self.answers.partition_point(|answer| *answer < at_ms)
    }

    /// How many servers were not dead yet at that time.
    fn living_at(&self, at_ms: u64) -> usize {
        self.asked_len.saturating_sub(self.deaths.partition_point(|death| *death < at_ms))
    }

    /// Whether a silence is its server's, and not ours.
    fn confirm(&self, silence: Silence, doubt: Doubt) -> bool {
        let answered = self.answered_since(silence.since_ms);
        let living = self.living_at(silence.since_ms);
        let silent_max = living * usize::from(doubt.silent_share_max_pct) / 100;
        let lasted_ms = silence.last_ms.saturating_sub(silence.since_ms);
        let enough = answered >= living.saturating_sub(silent_max);
        answered > 0 && (enough || lasted_ms >= doubt.mass_hold_ms)
    }
}

/// The deaths within an [`Observed`], judged against the answers of all.
#[derive(Debug, Clone)]
pub struct Deaths<'a> {
    pub(super) observed: &'a Observed,
    voices: Voices,
}

/// Why some deaths are not acted upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// In a sentence, with what to do.
    pub text: String,
    /// Nobody has answered at all since.
    pub outage: bool,
}

impl Deaths<'_> {
    /// The server is dead for this device.
    #[must_use]
    pub fn path(&self, server: &str, device: &str) -> bool {
        // In good times no device has to be looked for among very many.
        let of = self.observed.paths.get(server).filter(|of| of.len_of(Health::Dead) > 0);
        let path = of.and_then(|of| of.get(device));
        path.is_some_and(|path| self.believed(server, device, path))
    }

    /// The server is dead for all its devices.
    #[must_use]
    pub fn server(&self, server: &str) -> bool {
        let Some(of) = self.observed.paths.get(server) else { return false };
        let all_dead = of.len_of(Health::Dead) == of.len() && !of.is_empty();
        all_dead && of.iter().all(|(device, path)| self.believed(server, device, path))
    }

    /// Why some deaths are not believed; None when all are.
    #[must_use]
    pub fn held_back(&self) -> Option<HeldBack> {
        let (mut servers, mut outage): (Vec<&str>, bool) = (Vec::new(), false);
        for (server, of) in &self.observed.paths {
            if of.len_of(Health::Dead) == 0 {
                continue;
            }
            let silences = of.values().filter(|path| path.health == Health::Dead);
            let silences = silences.filter_map(|path| path.silence);
            let held = silences.filter(|silence| !self.confirmed(*silence));
            let since = held.map(|silence| silence.since_ms);
            let Some(since_ms) = since.min() else { continue };
            servers.push(server);
            outage |= self.voices.answered_since(since_ms) == 0;
        }
        if servers.is_empty() {
            return None;
        }
        let servers = servers.join(", ");
        let text = if outage {
            format!(
                "{servers} fell silent and no server has answered since: the fault may be this \
                 gateway's own network, so nothing is changed; check its links and routes"
            )
        } else {
            format!(
                "{servers} fell silent and too few others have answered since: the fault may be \
                 this gateway's own, so nothing is changed until more answer, or for {} ms; \
                 declare a server failed to have it left at once",
                self.observed.doubt.mass_hold_ms
            )
        };
        Some(HeldBack { text, outage })
    }

    /// A path that has begun to answer again is not believed dead any more, though not yet healthy.
    fn believed(&self, server: &str, device: &str, path: &PathHealth) -> bool {
        let fails = path.health == Health::Dead && path.last_error.is_some();
        fails
            && match path.silence {
                Some(silence) => self.confirmed(silence),
                None => self.refusal(server, device, path) == Refusal::Believed,
            }
    }

    /// Whether a silence is its server's, and has lasted beyond the last outage of ours.
    fn confirmed(&self, silence: Silence) -> bool {
        let outage_over_ms = self.observed.outage_over_ms;
        self.voices.confirm(silence, self.observed.doubt)
            && outage_over_ms.is_none_or(|over| silence.last_ms > over)
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
        assert!(seen.deaths().held_back().is_some_and(|held| held.outage));
    }

    /// Servers of which the last answer came at these times, and the first `silent` of which have
    /// been silent from 100 on until `last_ms`.
    fn silent_of(silent: usize, answers: &[u64], last_ms: u64) -> Observed {
        let names: Vec<String> = (1..=answers.len()).map(|n| format!("s{n}")).collect();
        let mut paths = Vec::new();
        for (n, (name, answer_at_ms)) in names.iter().zip(answers).enumerate() {
            let mut of = match n < silent {
                true => path(Health::Dead, Some(100), *answer_at_ms),
                false => path(Health::Healthy, None, *answer_at_ms),
            };
            of.since_ms = 400;
            of.silence = of.silence.map(|silence| Silence { last_ms, ..silence });
            paths.push((name.as_str(), "a", of));
        }
        observed(&paths)
    }

    #[test]
    fn when_most_fall_silent_together_nobody_is_dead_until_it_has_lasted() {
        let two_of_three = silent_of(2, &[90, 90, 120], 300);
        assert!(!two_of_three.deaths().server("s1") && !two_of_three.deaths().server("s2"));
        assert!(two_of_three.deaths().held_back().is_some_and(|held| !held.outage));
        let lasting = silent_of(2, &[90, 90, 120], 100 + 5000);
        assert!(lasting.deaths().server("s1") && lasting.deaths().server("s2"));
        assert_eq!(lasting.deaths().held_back(), None);
        assert!(silent_of(2, &[90, 90, 120, 120], 300).deaths().server("s1"), "two of four");
    }

    #[test]
    fn whoever_has_not_been_heard_since_is_no_witness() {
        assert!(!silent_of(1, &[90, 90, 120], 300).deaths().server("s1"));
        assert!(silent_of(1, &[90, 110, 120], 300).deaths().server("s1"));
    }

    #[test]
    fn whose_packets_pass_is_a_witness_without_being_asked() {
        let mut seen = silent_of(1, &[90, 90, 90], 300);
        assert!(!seen.deaths().server("s1"));
        seen.heard = BTreeMap::from([("s2".into(), 110), ("s3".into(), 99)]);
        assert!(!seen.deaths().server("s1"), "one of two is not enough");
        seen.heard.insert("s3".into(), 100);
        assert!(seen.deaths().server("s1"));
    }

    #[test]
    fn whoever_died_before_is_not_waited_for() {
        let mut seen = silent_of(2, &[90, 20, 120], 300);
        seen.paths.entry("s2".into()).or_default().change(&"a".into(), |earlier| {
            let silence = Silence { since_ms: 20, last_ms: 300 };
            (earlier.since_ms, earlier.silence) = (50, Some(silence));
        });
        assert!(seen.deaths().server("s1"));
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
        let s1 = seen.paths.entry("s1".into()).or_default();
        s1.change(&"a".into(), |path| path.silence = Some(still));
        assert!(seen.deaths().server("s1"));
    }

    #[test]
    fn a_path_that_begins_to_answer_is_not_believed_dead() {
        let mut rising = path(Health::Dead, None, 200);
        rising.last_error = None;
        let seen = observed(&[("s1", "a", rising)]);
        assert!(!seen.deaths().server("s1"));
    }
}
