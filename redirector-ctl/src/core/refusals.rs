//! Servers that are there and say no. Their death is believed only while enough other servers are
//! well: a check that is wrong, or a script that broke, says no everywhere. Pure data.
//!
//! Nothing is lost by waiting. Whoever is refused by one server has another only if one is well;
//! and the kernel of a server that is there ends the flows of a process that is not.

use super::health::{Health, PathHealth};
use super::observed::Deaths;
use super::spec::Name;

/// What is to be thought of a server that refuses a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is dead for it: enough others are well for the device since.
    Believed,
    /// Enough others are healthy, but some have not been asked since.
    Unsure,
    /// Too few others are healthy.
    Doubted,
}

/// The refusals that are not acted upon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Some may be as soon as others have answered.
    pub unsure: bool,
    /// Servers that are kept because too few others are well.
    pub doubted: Vec<Doubted>,
}

/// A server that is kept though it refuses devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubted {
    /// The server.
    pub server: Name,
    /// One of the devices, and how many there are.
    pub device: Name,
    /// Devices for which that is so.
    pub devices_len: usize,
    /// What the check of that device met with.
    pub error: String,
}

impl Deaths<'_> {
    /// What the others say of a path that refuses.
    pub(super) fn refusal(&self, server: &str, device: &str, path: &PathHealth) -> Refusal {
        let since_ms = path.refused_since_ms.unwrap_or(path.since_ms);
        let others = self.observed.paths.iter().filter(|(name, _)| *name != server);
        let others = others.filter_map(|(_, of)| of.get(device));
        let healthy = others.filter(|other| other.health == Health::Healthy);
        let (mut well, mut healthy_len) = (0, 0);
        for other in healthy {
            if well >= self.observed.doubt.healthy_min {
                break;
            }
            healthy_len += 1;
            well += usize::from(other.well_at_ms.is_some_and(|at_ms| at_ms >= since_ms));
        }
        match self.observed.doubt.healthy_min {
            min if well >= min => Refusal::Believed,
            min if healthy_len >= min => Refusal::Unsure,
            _ => Refusal::Doubted,
        }
    }

    /// Which refusals are not acted upon.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        let mut refusals = Refusals::default();
        for (server, of) in &self.observed.paths {
            if of.len_of(Health::Dead) == 0 {
                continue;
            }
            let mut doubted: Option<Doubted> = None;
            let refusing =
                of.iter().filter(|(_, path)| path.health == Health::Dead && path.silence.is_none());
            for (device, path) in refusing {
                let Some(error) = &path.last_error else { continue };
                match self.refusal(server, device, path) {
                    Refusal::Believed => {}
                    Refusal::Unsure => refusals.unsure = true,
                    Refusal::Doubted => {
                        let first = || Doubted {
                            server: server.clone(),
                            device: device.clone(),
                            devices_len: 0,
                            error: error.clone(),
                        };
                        doubted.get_or_insert_with(first).devices_len += 1;
                    }
                }
            }
            refusals.doubted.extend(doubted);
        }
        refusals
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::set_path;
    use super::super::observed::Observed;
    use super::*;

    /// s1 refuses d1 since 1000, the others are healthy and were asked last at these times.
    fn refused_by_s1(asked_at_ms: &[u64]) -> Observed {
        let mut seen = Observed::default();
        set_path(&mut seen, "s1", "d1", Health::Dead, 1000);
        for (n, at_ms) in (2..).zip(asked_at_ms) {
            set_path(&mut seen, &format!("s{n}"), "d1", Health::Healthy, *at_ms);
        }
        seen
    }

    fn verdict(seen: &Observed) -> (bool, Refusals) {
        let deaths = seen.deaths();
        assert_eq!(deaths.path("s1", "d1"), deaths.server("s1"), "it has one device");
        (deaths.path("s1", "d1"), deaths.refusals())
    }

    #[test]
    fn a_refusal_is_believed_when_another_is_well_since() {
        assert_eq!(verdict(&refused_by_s1(&[1000])), (true, Refusals::default()));
        assert_eq!(verdict(&refused_by_s1(&[900, 1001])), (true, Refusals::default()));
    }

    #[test]
    fn whoever_was_well_before_is_to_be_asked() {
        let (dead, refusals) = verdict(&refused_by_s1(&[999]));
        assert!(!dead && refusals.unsure && refusals.doubted.is_empty());
    }

    #[test]
    fn when_all_refuse_nobody_is_dead() {
        let mut seen = refused_by_s1(&[900]);
        set_path(&mut seen, "s2", "d1", Health::Dead, 1100);
        let (dead, refusals) = verdict(&seen);
        assert!(!dead && !refusals.unsure && !seen.deaths().server("s2"));
        let kept: Vec<&str> = refusals.doubted.iter().map(|kept| kept.server.as_str()).collect();
        assert_eq!(kept, ["s1", "s2"]);
    }

    #[test]
    fn who_is_well_for_another_device_says_nothing() {
        let mut seen = refused_by_s1(&[]);
        set_path(&mut seen, "s2", "d2", Health::Healthy, 1000);
        assert!(!verdict(&seen).0);
    }

    #[test]
    fn as_many_must_be_well_as_the_configuration_says() {
        let mut seen = refused_by_s1(&[1000]);
        seen.doubt.healthy_min = 2;
        assert!(!verdict(&seen).0);
        seen.doubt.healthy_min = 0;
        assert!(verdict(&seen).0);
        let mut alone = refused_by_s1(&[]);
        alone.doubt.healthy_min = 0;
        assert!(verdict(&alone).0);
    }
}
