//! What confirms a suspicion, and what does not.

use super::*;
use crate::platform::probe::{Manner, Report};

/// A report of a check that was made because s1 was under suspicion.
fn confirming(owner: &Owner<Model>, device: &str, result: CheckResult) -> Report {
    let report = owner.prober.report("s1", device, result);
    Report { manner: Manner::Confirming, ..report }
}

fn nobody() -> CheckResult {
    CheckResult::Silent("no connection within 20 ms".to_owned())
}

#[tokio::test]
async fn a_suspect_that_accepts_nothing_is_dead_at_once_and_no_other_server_is() {
    let (mut owner, _dir) = at_rest().await;
    let report = confirming(&owner, "d1", nobody());
    assert!(owner.take_report(&report));
    assert_eq!(owner.observed.path("s1", "d1"), Health::Dead);
    let plain = owner.prober.report("s2", "d1", nobody());
    owner.take_report(&plain);
    assert_eq!(owner.observed.path("s2", "d1"), Health::Suspect, "asked in its turn: once more");
}

#[tokio::test]
async fn a_suspect_that_refuses_or_only_accepts_is_asked_once_more() {
    let (mut owner, _dir) = at_rest().await;
    for text in ["connection refused", "it accepted the connection, but"] {
        let report = confirming(&owner, "d1", CheckResult::Refused(text.to_owned()));
        owner.take_report(&report);
        let health = owner.observed.path("s1", "d1");
        assert_eq!(health == Health::Dead, text.starts_with("it"), "{text}: {health:?}");
    }
}

#[tokio::test]
async fn packets_of_a_suspect_speak_for_it() {
    let (mut owner, _dir) = at_rest().await;
    let id = owner.spec.servers["s1"].id;
    let signs = |answered| Signs { answered, ..Signs::default() };
    owner.kernel.signs.insert(id, signs(1));
    owner.take_evidence();
    let report = confirming(&owner, "d1", nobody());
    next_moment(&owner).await;
    // Two looks after it was asked, between which it answered a client.
    for answered in [1, 2] {
        owner.kernel.signs.insert(id, signs(answered));
        owner.evidence_not_before_ms = 0;
        owner.take_evidence();
    }
    owner.take_report(&report);
    assert_eq!(owner.observed.path("s1", "d1"), Health::Suspect, "as any check that failed");
    let again = confirming(&owner, "d2", nobody());
    next_moment(&owner).await;
    let later = Report { asked_at_ms: owner.now_ms(), ..again };
    owner.take_report(&later);
    assert_eq!(owner.observed.path("s1", "d2"), Health::Dead, "it has said nothing since");
}
