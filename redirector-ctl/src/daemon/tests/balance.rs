//! Plans for load: what is recommended, what is carried out, and what keeps it from being done.

use std::collections::BTreeMap;

use super::super::balance::{Balance, PlanError};
use super::super::load::Loads;
use super::super::planned::PlanState;
use super::*;
use crate::config::{LoadConfig, PlanConfig, PlanMode};
use crate::core::load::agent::AgentLine;
use crate::core::load::source::LoadSources;
use crate::core::outlook::{Outlook, Totals};
use crate::core::spec::Device;
use crate::platform::scrape::Scraper;

const LOAD: LoadConfig =
    LoadConfig { interval_ms: 1000, timeout_ms: 100, stale_ms: 60_000, full_pct: 90 };

fn config(mode: PlanMode) -> PlanConfig {
    PlanConfig {
        mode,
        interval_ms: 1,
        horizon: 1,
        trigger_pct: 15,
        trigger_load_pct: 80,
        trigger_floor_pct: 20,
        trigger_window: 1,
        trigger_hits: 1,
        stop_pct: 10,
        rest_ms: 3_600_000,
        fill_ms: 0,
        payback_ms: 300_000,
        gain_per_cost: 3,
        churn_pct: 1,
        moves_max: 100,
    }
}

pub(super) fn loads(clock: Clock) -> Loads {
    let outlook = Outlook::new(config(PlanMode::Recommend).outlook(&LOAD));
    Loads { outlook, scraper: Scraper::mute(clock), shown: None }
}

pub(super) fn planner() -> Balance {
    Balance::new(config(PlanMode::Recommend))
}

/// At rest, with agents on all servers and every device on s1, each with as much traffic.
async fn all_on_s1(mode: PlanMode) -> (Owner<Model>, tempfile::TempDir) {
    let (mut owner, dir) = at_rest().await;
    owner.balance = Balance::new(config(mode));
    for (name, server) in owner.spec.servers.clone() {
        let agent = (server.address, 9999).into();
        let load = LoadSources { agent_address: Some(agent), ..LoadSources::default() };
        let (address, state) = (server.address, Some(server.state));
        owner.change(&Change::PutServer { name, address, state, load }, None).await.unwrap();
    }
    let to_s1 = |device: &str| Move { device: device.into(), server: "s1".into(), policy: None };
    let moves = vec![to_s1("d2"), to_s1("d3")];
    owner.change(&Change::Associate { moves, cause: Cause::Planned }, None).await.unwrap();
    // The daemon learns of these moves in its first period, as it would at a start.
    (owner, dir)
}

/// One period: agents say how much of each server is left, and traffic goes on.
async fn period(owner: &mut Owner<Model>, weights: &[(&str, &str)]) {
    for (server, line) in weights {
        let now_ms = owner.now_ms();
        let known = owner.loads.outlook.servers.get_mut(*server).unwrap();
        known.take_agent(AgentLine::parse(line.as_bytes()).unwrap(), now_ms);
    }
    for _ in 0..2 {
        next_moment(owner).await;
        let now_ms = owner.now_ms();
        let bytes = 1000 * (now_ms - owner.settings.clock.started_at_ms());
        let totals = Totals { packets: bytes / 1000, bytes, ..Totals::default() };
        let all: BTreeMap<u32, Totals> =
            owner.spec.devices.values().map(|device| (device.id, totals)).collect();
        owner.loads.outlook.take_totals(&owner.spec, &all, now_ms);
    }
    owner.balance();
    owner.until_written().await;
}

const UNEVEN: [(&str, &str); 3] = [("s1", "5%\n"), ("s2", "90%\n"), ("s3", "90%\n")];

fn servers(owner: &Owner<Model>) -> Vec<&str> {
    owner.spec.devices.values().map(|device| device.association.server.as_str()).collect()
}

fn texts(owner: &Owner<Model>, kind: EventKind) -> Vec<String> {
    let events = owner.events.after(0, usize::MAX).into_iter();
    events.filter(|event| event.kind == kind).map(|event| event.text).collect()
}

fn state(owner: &Owner<Model>) -> PlanState {
    owner.plan_view().state
}

#[tokio::test]
async fn a_recommended_plan_moves_nothing_and_says_why_it_would() {
    let (mut owner, _dir) = all_on_s1(PlanMode::Recommend).await;
    period(&mut owner, &UNEVEN).await;
    period(&mut owner, &UNEVEN).await;
    assert_eq!(servers(&owner), ["s1", "s1", "s1"]);
    let view = owner.plan_view();
    assert_eq!((view.state, view.moves.len()), (PlanState::Proposed, 1), "{view:?}");
    let one = &view.moves[0];
    assert_eq!((one.from.as_str(), one.signal.as_str()), ("s1", "agent"), "{one:?}");
    assert!(one.why.starts_with("s1 goes from "), "{}", one.why);
    let told = texts(&owner, EventKind::Plan);
    assert_eq!(told.len(), 1, "the same plan is told once: {told:?}");
    assert!(told[0].starts_with("recommended: move device d"), "{told:?}");
    assert!(told[0].contains(" from s1 to s2: s1 goes from "), "{told:?}");
}

#[tokio::test]
async fn a_plan_is_carried_out_at_a_word_and_only_once() {
    let (mut owner, _dir) = all_on_s1(PlanMode::Recommend).await;
    period(&mut owner, &UNEVEN).await;
    let seen = owner.spec.generation;
    let stale = owner.carry_out_plan(Some(seen - 1)).await;
    assert!(matches!(stale, Err(PlanError::Change(ChangeError::Stale { .. }))), "{stale:?}");
    let applied = owner.carry_out_plan(Some(seen)).await.unwrap();
    assert!(applied.generation > seen);
    assert_ne!(servers(&owner), ["s1", "s1", "s1"]);
    let for_load = |device: &&Device| device.association.cause == Cause::Overload;
    assert_eq!(owner.spec.devices.values().filter(for_load).count(), 1);
    assert_eq!(generation_on_disk(&owner.kernel.state_dir), applied.generation);
    assert_eq!(state(&owner), PlanState::Applied);
    let again = owner.carry_out_plan(None).await;
    assert!(matches!(again, Err(PlanError::Nothing)), "{again:?}");
    let counts = owner.own.planner;
    assert_eq!((counts.plans.len, counts.moves_proposed, counts.applied), (1, 1, 1));
    assert_eq!(owner.snapshot().plan.state, PlanState::Applied);
    let told = texts(&owner, EventKind::Move);
    let last = told.last().unwrap();
    assert!(last.contains("(overload)") && last.contains("of its agent"), "{last}");
    assert!(last.contains(" is expected to need ") && last.contains("; gain "), "{last}");
}

#[tokio::test]
async fn a_plan_that_the_tables_do_not_take_yet_is_carried_out_and_not_proposed_again() {
    let (mut owner, _dir) = all_on_s1(PlanMode::Automatic).await;
    owner.kernel.broken = true;
    period(&mut owner, &UNEVEN).await;
    assert_ne!(servers(&owner), ["s1", "s1", "s1"], "it is made");
    assert_eq!(state(&owner), PlanState::Applied);
    assert_eq!((owner.own.planner.applied, owner.own.planner.refused), (1, 0));
    let told = texts(&owner, EventKind::Error);
    assert_eq!(told.len(), 1, "what is owed is told once: {told:?}");
    assert!(told[0].starts_with("the tables refuse "), "{told:?}");
}

#[tokio::test]
async fn a_plan_for_another_generation_is_refused() {
    let (mut owner, _dir) = all_on_s1(PlanMode::Recommend).await;
    period(&mut owner, &UNEVEN).await;
    owner.change(&move_d1("s3"), None).await.unwrap();
    assert_eq!(state(&owner), PlanState::Stale);
    assert_eq!(owner.snapshot().plan.state, PlanState::Stale);
    let refused = owner.carry_out_plan(None).await;
    assert!(matches!(refused, Err(PlanError::Stale { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_planner_that_may_moves_one_device_and_then_lets_it_rest() {
    let (mut owner, _dir) = all_on_s1(PlanMode::Automatic).await;
    period(&mut owner, &UNEVEN).await;
    let after = servers(&owner).join(" ");
    assert_eq!(after.matches("s1").count(), 2, "{after}");
    let moved = texts(&owner, EventKind::Move).len();
    for _ in 0..5 {
        period(&mut owner, &UNEVEN).await;
    }
    assert_eq!(servers(&owner).join(" "), after, "one move a minute, and each device rests");
    assert_eq!(texts(&owner, EventKind::Move).len(), moved);
}

#[tokio::test]
async fn servers_of_which_nothing_is_known_get_nothing() {
    let (mut owner, _dir) = all_on_s1(PlanMode::Automatic).await;
    period(&mut owner, &UNEVEN[..1]).await;
    assert_eq!(servers(&owner), ["s1", "s1", "s1"]);
    let refusals = owner.plan_view().refusals;
    assert_eq!(refusals.len(), 3, "s1 is full: {refusals:?}");
    assert_eq!(refusals[1].1, "its agent has not been read");
    period(&mut owner, &[("s1", "5%\n"), ("s2", "drain\n"), ("s3", "90%\n")]).await;
    assert!(owner.plan_view().refusals.iter().any(|(_, why)| why == "its agent says drain"));
    let after = servers(&owner).join(" ");
    assert!(after.contains("s3") && !after.contains("s2"), "{after}");
}

#[tokio::test]
async fn pinned_devices_stay_and_the_plan_says_so() {
    let (mut owner, _dir) = all_on_s1(PlanMode::Automatic).await;
    for n in 1..=3 {
        let mut device = device_spec(n, &["s1", "s2", "s3"]);
        device.pinned = true;
        let put = Change::PutDevice { name: format!("d{n}"), device };
        owner.change(&put, None).await.unwrap();
    }
    period(&mut owner, &UNEVEN).await;
    assert_eq!(servers(&owner), ["s1", "s1", "s1"]);
    let blocked = owner.plan_view().blocked;
    assert!(blocked.iter().any(|one| one.by.contains("3 pinned")), "{blocked:?}");
}

#[tokio::test]
async fn a_device_that_an_operator_moved_rests_too() {
    let (mut owner, _dir) = all_on_s1(PlanMode::Automatic).await;
    let even = [("s1", "50%\n"), ("s2", "50%\n"), ("s3", "50%\n")];
    period(&mut owner, &even).await;
    owner.change(&move_d1("s2"), None).await.unwrap();
    period(&mut owner, &[("s1", "50%\n"), ("s2", "1%\n"), ("s3", "90%\n")]).await;
    assert_eq!(owner.spec.devices["d1"].association.server, "s2");
    let blocked = owner.plan_view().blocked;
    assert!(blocked.iter().any(|one| one.by.contains("1 resting")), "{blocked:?}");
}

#[tokio::test]
async fn backups_leave_a_server_that_could_not_carry_what_it_would_inherit() {
    let (mut owner, _dir) = all_on_s1(PlanMode::Recommend).await;
    for n in 1..=3 {
        let mut device = device_spec(n, &["s1", "s2", "s3"]);
        device.pinned = true;
        let put = Change::PutDevice { name: format!("d{n}"), device };
        owner.change(&put, None).await.unwrap();
    }
    let backups = |owner: &Owner<Model>| {
        let of = |device: &Device| device.association.backup.clone().unwrap_or_default();
        owner.spec.devices.values().map(of).collect::<Vec<_>>().join(" ")
    };
    let before = backups(&owner);
    assert!(before.contains("s2"), "{before}");
    period(&mut owner, &[("s1", "50%\n"), ("s2", "1%\n"), ("s3", "90%\n")]).await;
    assert_eq!(backups(&owner), "s3 s3 s3");
    assert_eq!(servers(&owner), ["s1", "s1", "s1"], "nothing moves");
    let known = owner.spec.generation;
    period(&mut owner, &[("s1", "50%\n"), ("s2", "90%\n"), ("s3", "80%\n")]).await;
    assert_eq!((backups(&owner).as_str(), owner.spec.generation), ("s3 s3 s3", known), "they stay");
}
