//! Which spec to begin with: the state's, the configuration's, or the configuration's with what the
//! state knows.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::core::change::Context;
use crate::core::differing::{Pair, differing};
use crate::core::image::Image;
use crate::core::observed::Observed;
use crate::core::op::NextHop;
use crate::core::seed::Seed;
use crate::core::spec::{Name, Slots, Spec};
use crate::daemon::owner::Settings;
use crate::platform::store::State;

/// What to begin with.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) spec: Spec,
    /// Ways that the tables know.
    pub(super) next_hops: BTreeMap<Name, NextHop>,
    /// What is worth telling.
    pub(super) notes: Vec<String>,
}

/// Chooses the spec. A configuration that says what it said before yields to the state, so that
/// changes over the API survive; one that has changed wins, and what it changes is noted.
pub(super) fn begin(
    settings: &Settings,
    state: Option<State>,
    tables: &Image,
) -> anyhow::Result<Begun> {
    let observed = Observed::default();
    let (now_ms, limits) = (settings.clock.now_ms(), settings.limits);
    let ctx = Context { now_ms, limits, observed: &observed };
    let seed = &settings.seed;
    let (spec, notes) = match state {
        None => {
            let earlier = Spec { slots: slots(tables), ..Spec::default() };
            let note = "there is no state yet: servers and devices are those of the configuration";
            (seed.spec(&earlier, &ctx)?, vec![note.to_owned()])
        }
        Some(mut state) if state.seed == *seed => {
            Seed::verify(&state.spec, &ctx).context(
                "the state file does not fit the configuration: raise what was lowered in [limits] \
                 or move the state file away to start from the configuration",
            )?;
            let notes = state.spec.resume(tables, now_ms);
            (state.spec, notes)
        }
        Some(mut state) => {
            let mut notes = state.spec.resume(tables, now_ms);
            let spec = seed.spec(&state.spec, &ctx)?;
            notes.extend(differences(&state.spec, &spec));
            (spec, notes)
        }
    };
    let next_hops = known_ways(&spec, tables);
    Ok(Begun { spec, next_hops, notes })
}

/// Lives and epochs that the tables' flows may carry, when no journal tells: new ones come after
/// them.
fn slots(tables: &Image) -> Slots {
    let epochs = tables.words.iter().map(|(id, word)| (*id, word.epoch));
    Slots {
        incarnations: tables.servers.iter().map(|(id, line)| (*id, line.incarnation)).collect(),
        epochs: epochs.collect::<BTreeMap<_, _>>().into(),
    }
}

fn known_ways(spec: &Spec, tables: &Image) -> BTreeMap<Name, NextHop> {
    let mut ways = BTreeMap::new();
    for (name, server) in &spec.servers {
        let line = tables.servers.get(&server.id).filter(|line| line.address == server.address);
        if let Some(hop) = line.and_then(|line| line.next_hop) {
            ways.insert(name.clone(), hop);
        }
    }
    ways
}

/// What a changed configuration changes, one line each.
fn differences(before: &Spec, after: &Spec) -> Vec<String> {
    let mut notes = Vec::new();
    let servers = differing(&before.servers, &after.servers, |was, is| was == is);
    compare("server", &servers, &mut notes);
    let devices = before.devices.differing(&after.devices, |was, is| was == is);
    compare("device", &devices, &mut notes);
    if !notes.is_empty() {
        notes
            .insert(0, "the configuration has changed since the state was made from it".to_owned());
    }
    notes
}

fn compare<T>(what: &str, found: &[Pair<'_, Name, T>], notes: &mut Vec<String>) {
    for (name, ..) in found.iter().filter(|(.., is)| is.is_none()) {
        notes.push(format!("the configuration has no {what} {name} any more: it is removed"));
    }
    for (name, was, _) in found.iter().filter(|(.., is)| is.is_some()) {
        notes.push(match was {
            None => format!("the configuration has a new {what} {name}"),
            Some(_) => format!("the configuration changes {what} {name}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::FlowsConfig;
    use crate::core::fixtures::{LIMITS, all_well, ip, three_and_three};
    use crate::core::health::Thresholds;
    use crate::core::hold_down::HoldDown;
    use crate::core::image::diff;
    use crate::core::op::ServerState;
    use crate::core::suspicion::Patience;
    use crate::daemon::evidence::Evidence;
    use crate::platform::clock::Clock;

    fn settings(seed: Seed) -> Settings {
        Settings {
            limits: LIMITS,
            thresholds: Thresholds { rise: 2, fall: 2 },
            evidence: Evidence {
                patience: Patience { interval_ms: 0, silence_ms: 1 },
                confirm_fall: 2,
            },
            hold_down: HoldDown { first_ms: 0, max_ms: 0, forget_ms: 0 },
            flows: FlowsConfig {
                tcp_idle_timeout_ms: 1,
                udp_idle_timeout_ms: 1,
                closing_timeout_ms: 1,
                sweep_interval_ms: 1,
            },
            stats_interval: Duration::from_secs(1),
            seed: seed.into(),
            clock: Clock::start(),
        }
    }

    fn state(spec: &Spec) -> Option<State> {
        Some(State { seed: Seed::of(spec).into(), spec: spec.clone(), ..State::default() })
    }

    #[test]
    fn with_the_same_configuration_the_state_wins_and_nothing_is_written() {
        let spec = three_and_three();
        let tables = Image::of(&spec, &all_well(&spec));
        let begun = begin(&settings(Seed::of(&spec)), state(&spec), &tables).unwrap();
        assert_eq!((&begun.spec, begun.notes.len()), (&spec, 0));
        let unknown = Observed { next_hops: begun.next_hops, ..Observed::default() };
        assert_eq!(diff(&tables, &Image::of(&begun.spec, &unknown)), []);
    }

    #[test]
    fn a_changed_configuration_wins_and_what_remains_keeps_its_association() {
        let spec = three_and_three();
        let mut seed = Seed::of(&spec);
        seed.devices.retain(|device| device.name != "d3");
        seed.servers[0].address = ip("10.0.2.99");
        let begun = begin(&settings(seed), state(&spec), &Image::default()).unwrap();
        assert_eq!(begun.spec.devices["d2"], spec.devices["d2"]);
        assert_eq!(begun.spec.servers["s1"].incarnation, 2);
        assert_eq!(
            begun.notes[1..],
            [
                "the configuration changes server s1",
                "the configuration has no device d3 any more: it is removed",
            ]
        );
    }

    #[test]
    fn a_death_that_only_the_tables_know_is_remembered() {
        let spec = three_and_three();
        let mut tables = Image::of(&spec, &all_well(&spec));
        if let Some(line) = tables.servers.get_mut(&spec.servers["s1"].id) {
            line.state = ServerState::Dead;
        }
        let begun = begin(&settings(Seed::of(&spec)), state(&spec), &tables).unwrap();
        assert!(begun.spec.servers["s1"].life_over && !begun.spec.servers["s2"].life_over);
    }

    #[test]
    fn without_a_state_lives_and_epochs_come_after_those_of_the_tables() {
        let spec = three_and_three();
        let tables = Image::of(&spec, &all_well(&spec));
        let begun = begin(&settings(Seed::of(&spec)), None, &tables).unwrap();
        assert_eq!(begun.spec.servers["s1"].incarnation, 2);
        assert_eq!(begun.spec.devices["d1"].association.epoch, 2);
    }

    #[test]
    fn a_state_that_does_not_fit_the_limits_is_refused_with_a_remedy() {
        let spec = three_and_three();
        let mut settings = settings(Seed::of(&spec));
        settings.limits.devices_max = 2;
        let error = begin(&settings, state(&spec), &Image::default()).unwrap_err();
        assert!(format!("{error:#}").contains("raise what was lowered in [limits]"), "{error:#}");
    }
}
