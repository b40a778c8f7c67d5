//! What becomes of flows when a device leaves a server that failed or was taken out of service.

use redirector_common::wire::Association as Word;

use super::super::super::change::{Change, Move};
use super::super::super::fixtures::*;
use super::super::super::image::Image;
use super::super::super::observed::Observed;
use super::super::super::spec::{AdminState, Association, Cause, FlowPolicy, Spec};
use super::move_to;

fn fail(server: &str) -> Change {
    let moves = vec![Move { device: "d1".into(), server: server.into(), policy: None }];
    Change::Associate { moves, cause: Cause::Failure }
}

fn die(server: &str) -> Change {
    Change::EndLives { servers: names(&[server]) }
}

fn backup(server: &str) -> Change {
    Change::SetBackups { backups: [("d1".to_owned(), Some(server.to_owned()))].into() }
}

fn after(changes: &[Change]) -> (Spec, Association) {
    let spec = three_and_three();
    let after = changed(&spec, changes, &at(2000, &all_well(&spec)));
    let now = after.devices["d1"].association.clone();
    (after, now)
}

/// Whether the packet path lets flows of this epoch go on.
fn accepts(spec: &Spec, epoch: u16) -> bool {
    let word = Image::of(spec, &Observed::default()).words[&spec.devices["d1"].id];
    Word::new(word.server, word.previous, word.backup, word.epoch, word.epochs_open).accepts(epoch)
}

#[test]
fn a_failure_leaves_flows_alone_that_drain_elsewhere() {
    let spec = three_and_three();
    let well = all_well(&spec);
    let alone = changed(&spec, &[fail("s2")], &at(2000, &well));
    assert_eq!(alone.devices["d1"].association.drains, []);
    let draining = changed(&spec, &[move_to("d1", "s2", None), fail("s3")], &at(2000, &well));
    let drains = &draining.devices["d1"].association.drains;
    let seen: Vec<_> = drains.iter().map(|d| (d.server.as_str(), d.deadline_at_ms)).collect();
    assert_eq!(seen, [("s1", Some(2000 + HOUR_MS)), ("s2", Some(2000))]);
}

#[test]
fn a_failover_keeps_the_epoch_in_which_clients_have_come_back_to_the_backup() {
    let (spec, now) = after(&[backup("s2"), die("s1"), fail("s2")]);
    assert_eq!((now.server.as_str(), now.epoch, now.drains.len()), ("s2", 1, 0));
    assert!(accepts(&spec, 1));
    assert_eq!(now.backup, None, "not the dead one");
    assert_eq!((now.cause, now.changed_at_ms), (Cause::Failure, 2000));
}

#[test]
fn clients_that_came_back_to_a_backup_stay_there_when_another_server_takes_over() {
    let (spec, now) = after(&[backup("s2"), die("s1"), fail("s3")]);
    let drains: Vec<_> = now.drains.iter().map(|d| (d.server.as_str(), d.epoch)).collect();
    assert_eq!((now.server.as_str(), now.epoch, drains), ("s3", 2, vec![("s2", 1)]));
    assert!(accepts(&spec, 1) && accepts(&spec, 2));
    let (_, now) = after(&[backup("s2"), die("s1"), die("s2"), fail("s3")]);
    assert_eq!((now.epoch, now.drains.len()), (1, 0), "a dead backup has none");
}

#[test]
fn a_server_that_fails_for_one_device_only_has_its_flows_reset_by_a_new_epoch() {
    let (spec, now) = after(&[backup("s2"), fail("s2")]);
    assert_eq!((now.server.as_str(), now.epoch), ("s2", 2));
    assert!(!accepts(&spec, 1));
}

#[test]
fn clients_that_came_back_from_an_inactive_server_are_left_alone() {
    let off = Change::SetServerState { name: "s1".into(), state: AdminState::Inactive };
    for policy in [None, Some(FlowPolicy::Keep)] {
        let (spec, now) = after(&[backup("s2"), off.clone(), move_to("d1", "s2", policy)]);
        assert_eq!((now.server.as_str(), now.epoch), ("s2", 1));
        assert!(accepts(&spec, 1));
    }
    let reset = move_to("d1", "s2", Some(FlowPolicy::Reset));
    let (spec, _) = after(&[backup("s2"), off, reset]);
    assert!(!accepts(&spec, 1), "unless somebody wishes all of them reset");
}

#[test]
fn a_server_that_failed_gets_no_flows_taken_in_for_it_while_an_older_one_drains() {
    let previous = |changes: &[Change]| {
        let (spec, now) = after(changes);
        let word = Image::of(&spec, &Observed::default()).words[&spec.devices["d1"].id];
        (now.server, now.epoch, word.previous)
    };
    let drain = move_to("d1", "s2", Some(FlowPolicy::Keep));
    assert_eq!(previous(std::slice::from_ref(&drain)), ("s2".into(), 2, 1));
    // Not s1 either: what is taken in would get the epoch of the failed one.
    assert_eq!(previous(&[drain, fail("s3")]), ("s3".into(), 3, 0));
}

#[test]
fn flows_that_a_move_for_load_leaves_behind_have_less_time() {
    let deadline_after_ms = |cause, on_overload| {
        let mut spec = three_and_three();
        let device = spec.devices.get_mut("d1").unwrap();
        device.on_planned = FlowPolicy::Drain { deadline_ms: 3_600_000 };
        device.on_overload = on_overload;
        let moves = vec![Move { device: "d1".into(), server: "s2".into(), policy: None }];
        let change = Change::Associate { moves, cause };
        let after = changed(&spec, &[change], &at(2000, &all_well(&spec)));
        let drains = &after.devices["d1"].association.drains;
        drains.first().and_then(|drain| drain.deadline_at_ms).map(|at_ms| at_ms - 2000)
    };
    assert_eq!(deadline_after_ms(Cause::Planned, None), Some(3_600_000));
    assert_eq!(deadline_after_ms(Cause::Overload, None), Some(60_000));
    let longer = FlowPolicy::Drain { deadline_ms: 90_000 };
    assert_eq!(deadline_after_ms(Cause::Overload, Some(longer)), Some(90_000));
    assert_eq!(deadline_after_ms(Cause::Overload, Some(FlowPolicy::Keep)), None);
}
