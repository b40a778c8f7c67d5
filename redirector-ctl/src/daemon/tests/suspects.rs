//! What confirms a suspicion, and what does not.

use super::links::link;
use super::*;
use crate::core::paths::{SAMPLE_LEN, SILENT_LEN};
use crate::daemon::pace::Rest;
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
    assert_eq!(owner.take_report(&report), Urgency::Now);
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
    let signs = |answered| ServerCount { answered, ..ServerCount::default() };
    owner.kernel.signs.insert(id, signs(1));
    owner.take_evidence();
    let report = confirming(&owner, "d1", nobody());
    next_moment(&owner).await;
    // Two looks after it was asked, between which it answered a client.
    for answered in [1, 2] {
        owner.kernel.signs.insert(id, signs(answered));
        owner.pace.evidence = Rest::default();
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

#[tokio::test]
async fn a_server_whose_paths_die_one_after_another_is_left_as_a_whole() {
    let (mut owner, _dir) = at_rest().await;
    let (sender, mut reports) = tokio::sync::mpsc::channel(8);
    let [first, others @ ..] =
        ["d1", "d2", "d3"].map(|device| confirming(&owner, device, nobody()));
    // Whoever is asked before a suspect is no witness.
    well_beside(&mut owner, "s1");
    // It runs when the first one has been looked at, and more is waited for.
    tokio::spawn(async move {
        for report in others {
            sender.send(report).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    owner.take_reports(first, &mut reports).await;
    assert_eq!(
        owner.kernel.writes[0].0, "server 1 state dead life 1",
        "before anything is journalled"
    );
}

#[tokio::test]
async fn a_path_that_alone_is_dead_is_not_waited_with_for_long() {
    let (mut owner, _dir) = at_rest().await;
    let (_sender, mut reports) = tokio::sync::mpsc::channel(8);
    let first = confirming(&owner, "d1", nobody());
    well_beside(&mut owner, "s1");
    owner.take_reports(first, &mut reports).await;
    assert_eq!(owner.spec.devices["d1"].association.server, "s2");
    assert!(!owner.spec.servers["s1"].life_over);
}

#[tokio::test]
async fn clients_of_one_device_that_a_living_server_fails_are_looked_for_at_once() {
    let (mut owner, _dir) = at_rest().await;
    owner.pace.sweep_soon = false;
    owner.pace.sweep = Rest::begin(u64::MAX, Duration::ZERO, 1);
    owner.left.clear();
    let refused = CheckResult::Refused("connection refused".to_owned());
    for _ in 0..2 {
        let report = owner.prober.report("s1", "d1", refused.clone());
        owner.take_report(&report);
    }
    well_beside(&mut owner, "s1");
    owner.replan().await;
    assert!(!owner.spec.servers["s1"].life_over);
    assert_eq!(owner.spec.devices["d1"].association.cause, Cause::Failure);
    assert!(owner.pace.sweep_soon && owner.pace.sweep.is_over(0), "it would rest");
    assert!(owner.left.contains(&owner.spec.servers["s1"].id));
}

#[tokio::test]
async fn a_refusal_waits_for_the_answer_of_another_server() {
    let (mut owner, _dir) = at_rest().await;
    next_moment(&owner).await;
    let refused = CheckResult::Refused("its export has another size".to_owned());
    for _ in 0..2 {
        let report = owner.prober.report("s1", "d1", refused.clone());
        assert_eq!(owner.take_report(&report), Urgency::Now);
    }
    owner.replan().await;
    assert_eq!(owner.spec.devices["d1"].association.server, "s1", "nobody has been asked since");
    let well = CheckResult::Answered { took_us: 100 };
    let report = owner.prober.report("s2", "d1", well);
    assert_eq!(owner.take_report(&report), Urgency::Now, "this may decide");
    owner.replan().await;
    assert_eq!(owner.spec.devices["d1"].association.server, "s2");
}

#[tokio::test]
async fn what_all_servers_refuse_ends_nothing_and_is_said() {
    let (mut owner, _dir) = at_rest().await;
    let refused = CheckResult::Refused("its export has another size".to_owned());
    for server in ["s1", "s2", "s3"] {
        next_moment(&owner).await;
        report_all(&mut owner, server, &refused);
        report_all(&mut owner, server, &refused);
        owner.replan().await;
    }
    assert!(owner.spec.servers.values().all(|server| !server.life_over));
    assert_eq!(owner.spec.devices["d1"].association.server, "s1");
    assert!(!kinds(&owner).contains(&EventKind::Failover));
    let says =
        owner.shown.blocked.iter().map(|blocked| format!("{}: {}", blocked.what, blocked.by));
    let says: Vec<String> = says.collect();
    assert!(says.iter().any(|text| text.contains("correct the check")), "{says:?}");
}

#[tokio::test]
async fn a_lost_link_is_one_failed_check_of_whoever_is_behind_it() {
    let (mut owner, _dir) = at_rest().await;
    let (clients, up) = (link("clients0", 6), link("servers0", 7));
    let down = Link { carrier: false, ..up.clone() };
    owner.shown.interfaces = super::super::start::interfaces(&[clients.clone(), up]);
    let ports: Vec<u16> = owner.observed.next_hops.values().map(|hop| hop.port).collect();
    assert_eq!(ports, [1, 1, 1], "all are behind the second interface");
    owner.take_ways(Ways { links: vec![clients, down], ..Ways::default() }).await;
    for server in ["s1", "s2", "s3"] {
        assert_eq!(owner.observed.path(server, "d1"), Health::Suspect, "{server}");
    }
}

#[tokio::test]
async fn a_silent_server_with_many_devices_is_left_by_one_store_and_one_commit_after_a_sample() {
    let (mut owner, _dir) = at_rest().await;
    owner.settings.limits.devices_max = 256;
    let remove = ["d1", "d2", "d3"].map(str::to_owned).to_vec();
    let many = (1..=150_u8).map(|n| (format!("d{n:03}"), device_spec(n, &["s1", "s2"])));
    owner.change(&Change::PatchDevices { remove, put: many.collect() }, None).await.unwrap();
    let names: Vec<String> = owner.spec.devices.keys().cloned().collect();
    let well = CheckResult::Answered { took_us: 100 };
    for (server, name) in ["s1", "s2"].iter().flat_map(|s| names.iter().map(move |n| (s, n))) {
        let report = owner.prober.report(server, name, well.clone());
        owner.take_report(&report);
    }
    owner.decide().await;
    assert!(owner.spec.devices.values().all(|d| d.association.server == "s1"));
    owner.kernel.writes.clear();

    let began_ms = owner.now_ms();
    while owner.now_ms() < began_ms + 10 {
        tokio::task::yield_now().await;
    }
    let asked: Vec<String> = owner.observed.paths["s1"].sample().cloned().collect();
    assert!(asked.len() <= SAMPLE_LEN, "{} of {} are asked", asked.len(), names.len());
    let mut silent: Vec<Report> =
        asked.iter().map(|device| confirming(&owner, device, nobody())).collect();
    next_moment(&owner).await;
    for name in &names {
        let report = owner.prober.report("s2", name, well.clone());
        owner.take_report(&report);
    }
    let (sender, mut reports) = tokio::sync::mpsc::channel(SAMPLE_LEN);
    silent.truncate(SILENT_LEN);
    let first = silent.remove(0);
    for report in silent {
        sender.send(report).await.unwrap();
    }
    owner.take_reports(first, &mut reports).await;
    let writes: Vec<&str> = owner.kernel.writes.iter().map(|(write, _)| &**write).collect();
    let [death, commit] = writes.as_slice() else { panic!("{} writes", writes.len()) };
    assert_eq!(*death, "server 1 state dead life 1");
    assert!(commit.starts_with("commit [device "), "{commit}");
    assert!(owner.spec.devices.values().all(|d| d.association.server == "s2"));
    let recalls = owner.kernel.recalls.borrow();
    assert_eq!(recalls[..], [(vec![1], 1)], "who waits is served before all devices are moved");
}
