//! Which servers fill after a change, and which do not.

use super::super::super::change::{Change, Context, SpecLimits};
use super::super::super::fixtures::{self, all_well, names, server, spec, three_and_three};
use super::super::super::observed::Observed;
use super::super::super::seed::Seed;
use super::super::super::spec::{AdminState, Name, Spec};

/// The spec after a change at this time, where servers fill for a second.
fn changed(spec: &Spec, change: Change, now_ms: u64) -> Spec {
    let observed = Observed::default();
    fixtures::changed(spec, &[change], &at(now_ms, &observed))
}

fn at(now_ms: u64, observed: &Observed) -> Context<'_> {
    let ctx = fixtures::at(now_ms, observed);
    Context { limits: SpecLimits { fill_ms: 1000, ..ctx.limits }, ..ctx }
}

/// Servers that fill, and until when.
fn filling(spec: &Spec) -> Vec<(Name, u64)> {
    let of = |(name, known): (&Name, &super::super::super::spec::Server)| {
        Some((name.clone(), known.filling?.until_ms))
    };
    spec.servers.iter().filter_map(of).collect()
}

fn state(spec: &Spec, state: AdminState, now_ms: u64) -> Spec {
    changed(spec, Change::SetServerState { name: "s1".into(), state }, now_ms)
}

#[test]
fn a_server_that_is_new_or_was_out_fills_and_one_that_only_drained_does_not() {
    let old = spec(&[server(1)]);
    assert_eq!(filling(&old), [], "fill_ms is 0");
    let drained = state(&state(&old, AdminState::Draining, 2000), AdminState::Active, 2500);
    assert_eq!(filling(&drained), []);
    let added = changed(&old, server(2), 3000);
    assert_eq!(filling(&added), [("s2".into(), 4000)]);
    assert_eq!(filling(&changed(&added, server(2), 3500)), [("s2".into(), 4000)], "the same again");
    let out = state(&added, AdminState::Inactive, 3600);
    let back = state(&out, AdminState::Active, 3800);
    assert_eq!(filling(&back), [("s1".into(), 4800), ("s2".into(), 4000)]);
    assert_eq!(filling(&state(&back, AdminState::Failed, 3900)), [("s2".into(), 4000)]);
}

#[test]
fn a_server_that_dies_fills_no_more_and_does_so_anew_when_it_returns() {
    let spec = three_and_three();
    let dead = Change::EndLives { servers: names(&["s1", "s2"]) };
    let spec = changed(&spec, dead, 2000);
    let back = Change::BeginLives { servers: names(&["s1"]) };
    let spec = changed(&spec, back, 3000);
    assert_eq!(filling(&spec), [("s1".into(), 4000)]);
    let spec = changed(&spec, Change::EndLives { servers: names(&["s1"]) }, 3500);
    assert_eq!(filling(&spec), []);
}

#[test]
fn a_first_configuration_lets_nobody_fill_and_a_later_one_whom_it_adds() {
    let spec = three_and_three();
    let well = all_well(&spec);
    let first = Seed::of(&spec).spec(&Spec::default(), &at(2000, &well)).unwrap();
    assert_eq!(filling(&first), []);
    let again = Seed::of(&first).spec(&first, &at(3000, &well)).unwrap();
    assert_eq!(again, first, "a restart changes nothing");
    let mut more = Seed::of(&first);
    let mut s4 = more.servers[0].clone();
    (s4.name, s4.address) = ("s4".into(), fixtures::ip("10.0.2.4"));
    more.servers.push(s4);
    let later = more.spec(&first, &at(3000, &well)).unwrap();
    assert_eq!(filling(&later), [("s4".into(), 4000)]);
    let restarted = more.spec(&later, &at(3500, &well)).unwrap();
    assert_eq!(restarted, later, "it goes on, and nobody else begins");
}
