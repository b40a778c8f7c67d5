//! Plans as text, compared with committed files: a change of behaviour is a readable diff.
//!
//! `REDIRECTOR_BLESS=1 cargo test -p redirector-ctl plan` writes the files anew; look at the diff.

use std::fs;
use std::path::PathBuf;

use super::super::change::{Change, Move};
use super::super::fixtures::*;
use super::super::health::Health;
use super::super::observed::{Census, Observed};
use super::super::spec::{AdminState, Cause, FlowPolicy, Spec};
use super::plan;

/// The plan for this moment must read as in the file of that name.
fn reads(name: &str, spec: &Spec, observed: &Observed, now_ms: u64) {
    let text = plan(spec, &at(now_ms, observed)).to_string();
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
