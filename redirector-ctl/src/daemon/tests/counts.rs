//! What the daemon counts of its own suspicions and of what follows from them.

use super::*;
use crate::core::health::CheckResult;
use crate::daemon::CheckCounts;
use crate::daemon::pace::Rest;
use crate::platform::probe::{Manner, Report};

#[tokio::test]
async fn a_suspicion_and_the_checks_that_it_leads_to_are_counted_by_kind() {
    let (mut owner, _dir) = at_rest().await;
    let id = owner.spec.servers["s1"].id;
    for refused in [0, 1] {
        owner.kernel.signs.insert(id, ServerCount { refused, ..ServerCount::default() });
        owner.pace.evidence = Rest::default();
        owner.take_evidence();
        next_moment(&owner).await;
    }
    assert_eq!(owner.own.detector.suspicions, BTreeMap::from([("refused", 1)]));
    let routine = owner.prober.report("s1", "d1", CheckResult::Answered { took_us: 100 });
    let confirming = Report { manner: Manner::Confirming, ..routine.clone() };
    for report in [routine, confirming] {
        owner.take_report(&report);
    }
    let expected = CheckCounts { answered: 1, ..CheckCounts::default() };
    assert_eq!(owner.own.detector.confirming, expected, "checks in their turn confirm nothing");
}

#[tokio::test]
async fn a_death_holds_its_server_down_and_what_was_sent_again_is_counted() {
    let (mut owner, _dir) = at_rest().await;
    (owner.settings.hold_down.first_ms, owner.settings.hold_down.max_ms) = (60_000, 60_000);
    assert!(owner.snapshot().held_down.is_empty());
    kill(&mut owner, "s1").await;
    // One is sent again at each look: right after the death, and when the devices have moved.
    let looks = owner.kernel.recalls.borrow().len() as u64;
    assert!(looks > 0);
    assert_eq!(owner.snapshot().own.detector.syns_resent, looks);
    assert_eq!(owner.snapshot().held_down, ["s1".to_owned()].into());
    assert_eq!(owner.own.detector.outages, 0);
}

#[tokio::test]
async fn an_outage_of_ours_is_counted_once_however_long_it_lasts() {
    let (mut owner, _dir) = at_rest().await;
    let silent = CheckResult::Silent("no answer in time".to_owned());
    for _ in 0..3 {
        for server in ["s1", "s2", "s3"] {
            report_all(&mut owner, server, &silent);
        }
        owner.decide().await;
    }
    assert!(owner.shown.frozen.is_some());
    assert_eq!(owner.own.detector.outages, 1);
}
