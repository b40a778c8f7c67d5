//! Plans as text, compared with committed files: a change of behaviour is a readable diff.
//!
//! `REDIRECTOR_BLESS=1 cargo test -p redirector-ctl plan` writes the files anew; look at the diff.

use std::fs;
use std::path::PathBuf;

use super::super::change::{Change, Context, Move, SpecLimits};
use super::super::fixtures::*;
use super::super::health::Health;
use super::super::observed::{Census, Observed};
use super::super::spec::{AdminState, Cause, FlowPolicy, Name, Spec, Standing};
use super::{Plan, plan};

/// The plan for this moment must read as in the file of that name.
fn reads(name: &str, spec: &Spec, observed: &Observed, now_ms: u64) {
    reads_plan(name, &plan(spec, &at(now_ms, observed)));
}

fn reads_plan(name: &str, plan: &Plan) {
    let text = plan.to_string();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/core/testdata/plans")
        .join(format!("{name}.txt"));
    if std::env::var_os("REDIRECTOR_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, text, "\nexpected ({}):\n{expected}\nactual:\n{text}", path.display());
}

/// Three devices on three servers, backups chosen.
fn at_rest() -> (Spec, Observed) {
    let spec = three_and_three();
    let observed = all_well(&spec);
    let spec = plan(&spec, &at(1000, &observed)).spec;
    (spec, observed)
}

fn moved(spec: &Spec, observed: &Observed, server: &str, policy: FlowPolicy) -> Spec {
    let moves = vec![Move { device: "d1".into(), server: server.into(), policy: Some(policy) }];
    changed(spec, &[Change::Associate { moves, cause: Cause::Planned }], &at(2000, observed))
}

#[test]
fn a_new_table_gets_backups_that_spread() {
    let spec = three_and_three();
    reads("first_backups", &spec, &all_well(&spec), 1000);
}

#[test]
fn at_rest_there_is_nothing_to_do() {
    let (spec, observed) = at_rest();
    reads("at_rest", &spec, &observed, 2000);
}

#[test]
fn a_dead_server_loses_its_devices_to_their_backups() {
    let (spec, mut observed) = at_rest();
    kill(&mut observed, "s1", false, 2000);
    reads("server_dead", &spec, &observed, 2001);
}

#[test]
fn a_server_dead_for_one_device_keeps_the_others() {
    let (spec, mut observed) = at_rest();
    set_path(&mut observed, "s1", "d1", Health::Dead, 2000);
    reads("path_dead", &spec, &observed, 2001);
}

/// d1 on s1 and d2 on s2 are to be kept apart, and no backup is chosen yet.
fn apart() -> (Spec, Observed) {
    let mut spec = three_and_three();
    for name in ["d1", "d2"] {
        spec.devices.get_mut(name).unwrap().keep_apart = Some("mirror".into());
    }
    let observed = all_well(&spec);
    (spec, observed)
}

#[test]
fn backups_keep_devices_apart() {
    let (spec, observed) = apart();
    let after = plan(&spec, &at(1000, &observed)).spec;
    for name in ["d1", "d2"] {
        assert_eq!(after.devices[name].association.backup.as_deref(), Some("s3"), "{name}");
    }
    // One that no longer does is replaced, though it is fit.
    let backups = [("d1".to_owned(), Some("s2".to_owned()))].into();
    let met = changed(&after, &[Change::SetBackups { backups }], &at(1000, &observed));
    let again = plan(&met, &at(1000, &observed)).spec;
    assert_eq!(again.devices["d1"].association.backup.as_deref(), Some("s3"));
}

#[test]
fn failovers_keep_devices_apart_where_they_can() {
    let (spec, mut observed) = apart();
    kill(&mut observed, "s1", false, 2000);
    let after = plan(&spec, &at(2001, &observed)).spec;
    assert_eq!(after.devices["d1"].association.server, "s3", "s2 has d2 and as many devices");
    set_path(&mut observed, "s3", "d1", Health::Suspect, 2000);
    let after = plan(&spec, &at(2001, &observed)).spec;
    assert_eq!(after.devices["d1"].association.server, "s2", "to be reached comes first");
}

#[test]
fn what_every_server_refuses_is_kept_and_the_plan_says_so() {
    let (spec, mut observed) = at_rest();
    ["s1", "s2", "s3"].into_iter().for_each(|server| kill(&mut observed, server, false, 2000));
    reads("all_refuse", &spec, &observed, 2001);
}

#[test]
fn a_device_without_a_fit_server_stays_and_the_plan_says_why() {
    let (spec, mut observed) = at_rest();
    let drain = Change::SetServerState { name: "s2".into(), state: AdminState::Draining };
    let spec = changed(&spec, &[drain], &at(2000, &observed));
    kill(&mut observed, "s1", false, 2000);
    set_path(&mut observed, "s3", "d1", Health::Suspect, 2000);
    set_path(&mut observed, "s3", "d2", Health::Unknown, 2000);
    reads("nowhere_to_go", &spec, &observed, 2001);
}

#[test]
fn when_all_servers_fall_silent_nothing_is_decided() {
    let (spec, mut observed) = at_rest();
    for server in ["s1", "s2", "s3"] {
        kill(&mut observed, server, true, 2000);
    }
    reads("all_silent", &spec, &observed, 2400);
}

#[test]
fn a_server_that_answers_again_begins_a_new_life_and_gets_nothing_back() {
    let (spec, mut observed) = at_rest();
    kill(&mut observed, "s1", false, 2000);
    let spec = plan(&spec, &at(2001, &observed)).spec;
    reads("server_back", &spec, &all_well(&spec), 9000);
}

#[test]
fn a_server_that_died_stays_out_for_its_time_unless_nobody_else_can_serve() {
    let (spec, mut observed) = at_rest();
    kill(&mut observed, "s1", false, 2000);
    let spec = plan(&spec, &at(2001, &observed)).spec;
    let mut back = all_well(&spec);
    back.held_down.insert("s1".into(), 3001);
    reads("server_held_down", &spec, &back, 2500);
    assert!(!plan(&spec, &at(3001, &back)).spec.servers["s1"].life_over, "its time is over");
    for server in ["s2", "s3"] {
        kill(&mut back, server, false, 2500);
    }
    reads("held_down_but_needed", &spec, &back, 2500);
}

/// As [`at`], where servers fill for ten seconds.
fn filling_at(now_ms: u64, observed: &Observed) -> Context<'_> {
    let ctx = at(now_ms, observed);
    Context { limits: SpecLimits { fill_ms: 10_000, ..ctx.limits }, ..ctx }
}

/// At rest after s1 died and, at 5000, began a new life, in which it fills.
fn returned() -> (Spec, Observed) {
    let (spec, mut observed) = at_rest();
    kill(&mut observed, "s1", false, 2000);
    let spec = plan(&spec, &filling_at(2001, &observed)).spec;
    let mut back = all_well(&spec);
    for device in ["d1", "d2", "d3"] {
        set_path(&mut back, "s1", device, Health::Healthy, 5000);
    }
    let made = plan(&spec, &filling_at(5000, &back));
    assert_eq!(made.spec.servers["s1"].standing(), Standing::Filling);
    (made.spec, back)
}

#[test]
fn a_server_that_returned_fills_until_its_time_is_over() {
    let (spec, observed) = returned();
    let before = plan(&spec, &filling_at(14_999, &observed));
    assert_eq!((before.decisions.len(), before.wake_at_ms), (0, Some(15_000)));
    reads_plan("server_filled", &plan(&spec, &filling_at(15_000, &observed)));
    let active = plan(&spec, &filling_at(15_000, &observed)).spec;
    assert_eq!(active.servers["s1"].standing(), Standing::Active);
}

#[test]
fn a_filling_server_inherits_only_what_no_other_server_may_have() {
    let (spec, mut observed) = returned();
    let backups = |spec: &Spec| -> Vec<Option<Name>> {
        spec.devices.values().map(|device| device.association.backup.clone()).collect()
    };
    assert!(!backups(&spec).contains(&Some("s1".into())), "{:?}", backups(&spec));
    kill(&mut observed, "s2", false, 6000);
    let spec = plan(&spec, &filling_at(6000, &observed)).spec;
    let on = |spec: &Spec, server: &str| {
        spec.devices.values().filter(|device| device.association.server == server).count()
    };
    assert_eq!((on(&spec, "s1"), on(&spec, "s3")), (0, 3), "s3 may have them");
    assert!(backups(&spec).iter().all(|backup| *backup == Some("s1".into())), "the last resort");
    kill(&mut observed, "s3", false, 7000);
    let spec = plan(&spec, &filling_at(7000, &observed)).spec;
    assert_eq!((on(&spec, "s1"), spec.servers["s1"].standing()), (3, Standing::Filling));
}

#[test]
fn devices_go_back_to_a_filling_server_no_faster_than_it_fills() {
    let (mut spec, observed) = returned();
    for (_, device) in spec.devices.iter_mut() {
        device.servers = names(&["s1", "s2", "s3"]);
        (device.fail_back_after_ms, device.association.cause) = (Some(0), Cause::Failure);
    }
    let mut went_at_ms = Vec::new();
    let mut now_ms = 5000;
    while now_ms < 20_000 {
        let made = plan(&spec, &filling_at(now_ms, &observed));
        let wishes =
            made.decisions.iter().filter(|one| matches!(one.change, Change::Associate { .. }));
        went_at_ms.extend(wishes.map(|_| now_ms));
        let Some(wake_at_ms) = made.wake_at_ms else { break };
        (spec, now_ms) = (made.spec, wake_at_ms);
    }
    assert_eq!(went_at_ms, [8334, 11_667, 15_000], "a third of ten seconds each");
}

#[test]
fn when_most_servers_fall_silent_together_nothing_is_decided() {
    let (spec, mut observed) = at_rest();
    for server in ["s1", "s2"] {
        kill(&mut observed, server, true, 2000);
    }
    for device in ["d1", "d2", "d3"] {
        set_path(&mut observed, "s3", device, Health::Healthy, 2100);
    }
    reads("most_silent", &spec, &observed, 2400);
}

#[test]
fn a_draining_server_hands_its_devices_over_as_planned() {
    let (spec, observed) = at_rest();
    let drain = Change::SetServerState { name: "s1".into(), state: AdminState::Draining };
    let spec = changed(&spec, &[drain], &at(2000, &observed));
    reads("server_draining", &spec, &observed, 2000);
}

#[test]
fn an_inactive_servers_flows_are_reset() {
    let (spec, observed) = at_rest();
    let off = Change::SetServerState { name: "s1".into(), state: AdminState::Inactive };
    let spec = changed(&spec, &[off], &at(2000, &observed));
    reads("server_inactive", &spec, &observed, 2000);
}

#[test]
fn a_server_that_is_declared_failed_loses_its_devices_as_a_dead_one() {
    let (spec, observed) = at_rest();
    let fail = Change::SetServerState { name: "s1".into(), state: AdminState::Failed };
    let spec = changed(&spec, &[fail], &at(2000, &observed));
    reads("server_failed", &spec, &observed, 2000);
    let planned = plan(&spec, &at(2000, &observed)).spec;
    let back = Change::SetServerState { name: "s1".into(), state: AdminState::Active };
    let back = changed(&planned, &[back], &at(3000, &observed));
    assert_eq!(back.servers["s1"].incarnation, spec.servers["s1"].incarnation + 1, "a new life");
}

#[test]
fn devices_go_back_to_a_server_that_returned_only_when_told_to_and_one_by_one() {
    let returning = |n: u8, after_ms: Option<u64>| {
        let mut device = device_spec(n, &["s1", "s2", "s3"]);
        device.fail_back_after_ms = after_ms;
        Change::PutDevice { name: format!("d{n}"), device }
    };
    let devices = [returning(1, Some(5000)), returning(2, Some(5000)), returning(3, None)];
    let spec = spec(&[server(1), server(2), server(3)]);
    let spec = changed(&spec, &devices, &at(1000, &Observed::default()));
    let mut observed = all_well(&spec);
    let spec = plan(&spec, &at(1000, &observed)).spec;
    kill(&mut observed, "s1", false, 2000);
    let spec = plan(&spec, &at(2001, &observed)).spec;
    let mut back = all_well(&spec);
    for device in ["d1", "d2", "d3"] {
        set_path(&mut back, "s1", device, Health::Healthy, 4000);
    }
    let spec = plan(&spec, &at(4000, &back)).spec;
    reads("fail_back_waits", &spec, &back, 5000);
    reads("fail_back_first", &spec, &back, 9000);
    let spec = plan(&spec, &at(9000, &back)).spec;
    reads("fail_back_second", &spec, &back, 10_000);
    let spec = plan(&spec, &at(10_000, &back)).spec;
    assert_ne!(spec.devices["d3"].association.server, "s1", "it was not told to");
}

#[test]
fn a_drain_waits_for_its_deadline() {
    let (spec, observed) = at_rest();
    let spec = moved(&spec, &observed, "s2", FlowPolicy::Drain { deadline_ms: 5000 });
    let spec = plan(&spec, &at(2000, &observed)).spec;
    reads("drain_waits", &spec, &observed, 4500);
    reads("drain_deadline", &spec, &observed, 7000);
}

#[test]
fn a_drain_ends_when_a_later_census_finds_no_flow_of_it() {
    let (spec, mut observed) = at_rest();
    let spec = moved(&spec, &observed, "s2", FlowPolicy::Keep);
    let spec = plan(&spec, &at(2000, &observed)).spec;
    let census = |began_at_ms, flows: &[((u32, u16), u64)]| {
        Some(Census { began_at_ms, flows: flows.iter().copied().collect() })
    };
    let device = spec.devices["d1"].id;
    observed.census = census(2500, &[]);
    reads("census_too_early", &spec, &observed, 2600);
    observed.census = census(9000, &[((device, 1), 3)]);
    reads("census_with_flows", &spec, &observed, 9100);
    observed.census = census(9000, &[((device, 2), 3)]);
    reads("census_empty", &spec, &observed, 9100);
}

#[test]
fn a_drain_on_a_dead_server_is_over() {
    let (spec, mut observed) = at_rest();
    let spec = moved(&spec, &observed, "s2", FlowPolicy::Keep);
    let spec = plan(&spec, &at(2000, &observed)).spec;
    kill(&mut observed, "s1", false, 3000);
    reads("drain_on_dead_server", &spec, &observed, 3001);
}

#[test]
fn backups_of_many_devices_spread_over_the_survivors() {
    let mut changes = vec![server(1), server(2), server(3)];
    changes.extend((1..=6).map(|n| device(n, &["s1", "s2", "s3"])));
    let spec = spec(&changes);
    let observed = all_well(&spec);
    let spec = plan(&spec, &at(1000, &observed)).spec;
    let backups: Vec<_> =
        spec.devices.values().map(|d| d.association.backup.clone().unwrap()).collect();
    assert_eq!(backups, ["s2", "s3", "s2", "s3", "s2", "s3"]);
}
