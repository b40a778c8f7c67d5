//! Devices without entries for their flows: whose the flows are while the device drains, and when
//! that is over.

use super::super::super::image::Image;
use super::super::super::observed::Census;
use super::super::super::plan::plan;
use super::super::super::spec::Tracking;
use super::*;

/// Three servers and device `d9`, stateless, on the first of them.
fn stateless(on_planned: FlowPolicy) -> Spec {
    let put = put("d9", |d| {
        (d.tracking, d.on_planned) = (Tracking::Stateless, on_planned);
        d.servers = names(&["s1", "s2", "s3"]);
    });
    changed(&three_and_three(), &[put], &at(1000, &Observed::default()))
}

const DRAIN: FlowPolicy = FlowPolicy::Drain { deadline_ms: 5000 };

#[test]
fn flows_without_an_entry_belong_to_the_oldest_server_that_still_drains() {
    let spec = stateless(DRAIN);
    let well = all_well(&spec);
    let moves = [move_to("d9", "s2", None), move_to("d9", "s3", None)];
    let moved = changed(&spec, &moves, &at(2000, &well));
    let device = &moved.devices["d9"];
    assert_eq!(device.previous(), Some(&"s1".to_owned()));
    assert_eq!(device.association.previous(), Some(&"s2".to_owned()), "of a tracked one");
    let word = Image::of(&moved, &well).words[&device.id];
    assert_eq!((word.previous, word.epochs_open), (moved.servers["s1"].id, 2));
}

#[test]
fn a_failed_server_gets_nothing_more() {
    let spec = stateless(DRAIN);
    let well = all_well(&spec);
    let moves = vec![Move { device: "d9".into(), server: "s3".into(), policy: None }];
    let failover = Change::Associate { moves, cause: Cause::Failure };
    let moved = changed(&spec, &[move_to("d9", "s2", None), failover.clone()], &at(2000, &well));
    assert_eq!(moved.devices["d9"].previous(), Some(&"s1".to_owned()), "that one drains still");
    let moved = changed(&spec, &[failover], &at(2000, &well));
    assert_eq!(moved.devices["d9"].previous(), None);
}

#[test]
fn a_move_with_policy_keep_is_refused() {
    let spec = stateless(DRAIN);
    let keep = move_to("d9", "s2", Some(FlowPolicy::Keep));
    assert_eq!(refused(&spec, &keep), [problem("stateless_keep", Refused, "moves[0].policy")]);
}

#[test]
fn a_drain_ends_by_time_and_not_by_a_census_that_sees_no_flows() {
    let spec = stateless(DRAIN);
    let mut observed = all_well(&spec);
    let moved = changed(&spec, &[move_to("d9", "s2", None)], &at(2000, &observed));
    observed.census = Some(Census { began_at_ms: 4000, ..Census::default() });
    let before = plan(&moved, &at(6999, &observed));
    assert_eq!(before.spec.devices["d9"].association.drains.len(), 1);
    assert_eq!(before.wake_at_ms, Some(7000));
    let after = plan(&moved, &at(7000, &observed));
    assert_eq!(after.spec.devices["d9"].association.drains, []);
}

#[test]
fn what_a_backup_has_taken_over_drains_no_longer_than_a_planned_move() {
    let spec = stateless(DRAIN);
    let observed = all_well(&spec);
    let backups = [("d9".to_owned(), Some("s2".to_owned()))].into();
    let changes = [
        Change::SetBackups { backups },
        Change::EndLives { servers: names(&["s1"]) },
        move_to("d9", "s3", None),
    ];
    let moved = changed(&spec, &changes, &at(2000, &observed));
    let device = &moved.devices["d9"];
    assert_eq!(device.previous(), Some(&"s2".to_owned()));
    let drains_at = |now_ms| plan(&moved, &at(now_ms, &observed)).spec.devices["d9"].clone();
    assert_eq!(drains_at(6999).association.drains.len(), 1);
    assert_eq!(drains_at(7000).association.drains, []);
}
