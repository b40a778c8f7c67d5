//! The loop without a kernel: what is written where, in which order, and what happens when a write
//! fails.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redirector_common::wire::ServerCount;
use tokio::sync::{oneshot, watch};

use super::announce::Announcer;
use super::attaching::Attaching;
use super::events::Events;
use super::evidence::Evidence;
use super::journal::{Answer, Journal, Wish};
use super::kernel::Kernel;
use super::owner::{Kept, Owed, Owner, Settings, Shown, Urgency};
use super::pace::Pace;
use super::waking::Waking;
use super::ways::Ways;
use super::{Applied, ChangeError, EventKind, Own, PlanError};
use crate::config::FlowsConfig;
use crate::core::apply::ClientHold;
use crate::core::change::{Change, Move, SpecError};
use crate::core::fixtures::{LIMITS, all_well, device_spec, three_and_three};
use crate::core::health::{CheckResult, Health, Thresholds};
use crate::core::hold_down::{Fallen, HoldDown};
use crate::core::image::Image;
use crate::core::observed::Observed;
use crate::core::op::Op;
use crate::core::seed::Seed;
use crate::core::spec::{Cause, LoadSources};
use crate::core::suspicion::Patience;
use crate::platform::bpf::{AttachError, Interface};
use crate::platform::clock::Clock;
use crate::platform::netlink::{Link, XdpInForce};
use crate::platform::probe::Prober;
use crate::platform::store::{self, Store};
use crate::platform::tables::{Counters, FlowCensus, FlowKey, Gateway, Sweep, TablesError};

mod balance;
mod counts;
mod disk;
mod journal;
mod links;
mod suspects;
mod told;

/// Tables in memory. Notes with each write which generation was on disk then.
#[derive(Debug, Default)]
struct Model {
    image: Image,
    state_dir: PathBuf,
    writes: Vec<(String, u64)>,
    broken: bool,
    signs: BTreeMap<u16, ServerCount>,
    /// Servers whose SYNs were sent again, and how many writes there were before that.
    recalls: RefCell<Vec<(Vec<u16>, usize)>>,
    attached: Vec<(String, u32)>,
    gateway: Gateway,
}

impl Model {
    fn check(&self) -> Result<(), TablesError> {
        let (attempt, source) = ("write".to_owned(), std::io::Error::other("refused"));
        if self.broken { Err(TablesError::Io { attempt, source }) } else { Ok(()) }
    }
}

const PATIENCE: Patience = Patience { interval_ms: 20, silence_ms: 30 };

impl Kernel for Model {
    fn apply(&mut self, op: &Op) -> Result<(), TablesError> {
        self.check()?;
        self.image.take(op);
        self.writes.push((op.to_string(), generation_on_disk(&self.state_dir)));
        Ok(())
    }

    fn counters(&self) -> Result<Counters, TablesError> {
        Ok(Counters::default())
    }

    fn signs(&self, server: u16) -> Result<ServerCount, TablesError> {
        Ok(self.signs.get(&server).copied().unwrap_or_default())
    }

    /// Each dead server had one SYN on its way.
    fn recall(&self, servers: &[u16], _: u64) -> Result<usize, TablesError> {
        let writes_len = self.writes.len();
        self.recalls.borrow_mut().push((servers.to_vec(), writes_len));
        Ok(servers.len())
    }

    fn close_flow(&mut self, _: &FlowKey) -> Result<Option<u32>, TablesError> {
        Ok(None)
    }

    fn hold_client(&mut self, _: &ClientHold) -> Result<(), TablesError> {
        Ok(())
    }

    fn sweep(&mut self, _: &Sweep) -> Result<FlowCensus, TablesError> {
        Ok(FlowCensus::default())
    }

    fn attach(&mut self, _: &Path, interface: &Interface) -> Result<bool, AttachError> {
        self.attached.push((interface.name.clone(), interface.index));
        Ok(true)
    }

    fn set_gateway(&mut self, gateway: &Gateway) -> Result<(), TablesError> {
        self.check().map(|()| self.gateway = gateway.clone())
    }
}

/// What the loop does between two inputs, without the loop.
impl Owner<Model> {
    async fn change(
        &mut self,
        change: &Change,
        if_match: Option<u64>,
    ) -> Result<Applied, ChangeError> {
        let heard = self.ask(change, if_match);
        self.until_written().await;
        heard.await.unwrap()
    }

    /// Asks for a change without waiting for the disk.
    fn ask(
        &mut self,
        change: &Change,
        if_match: Option<u64>,
    ) -> oneshot::Receiver<Result<Applied, ChangeError>> {
        let (answer, heard) = oneshot::channel();
        let changes = vec![(change.clone(), String::new())];
        self.wish(Wish { changes, if_match, answer: Answer::To(answer) });
        heard
    }

    async fn carry_out_plan(&mut self, if_match: Option<u64>) -> Result<Applied, PlanError> {
        let (answer, heard) = oneshot::channel();
        self.apply_plan(if_match, Some(answer));
        self.until_written().await;
        heard.await.unwrap()
    }

    async fn decide(&mut self) {
        self.replan().await;
        self.until_written().await;
    }

    async fn tick(&mut self) {
        self.take_stats();
        self.until_written().await;
    }
}

fn generation_on_disk(dir: &Path) -> u64 {
    store::read(dir).unwrap().map_or(0, |state| state.spec.generation)
}

/// An owner that has started: three servers, three devices, all healthy, nothing to do.
async fn at_rest() -> (Owner<Model>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let spec = three_and_three();
    let clock = Clock::start();
    let flows = FlowsConfig {
        tcp_idle_timeout_ms: 1000,
        udp_idle_timeout_ms: 1000,
        closing_timeout_ms: 1000,
        sweep_interval_ms: 1000,
    };
    let settings = Settings {
        limits: LIMITS,
        thresholds: Thresholds { rise: 2, fall: 2 },
        evidence: Evidence { patience: PATIENCE, confirm_fall: 1 },
        hold_down: HoldDown { first_ms: 0, max_ms: 0, forget_ms: 0 },
        flows,
        stats_interval: Duration::from_secs(1),
        seed: Seed::of(&spec).into(),
        clock,
    };
    let owner = Owner {
        settings,
        kernel: Model { state_dir: dir.path().to_owned(), ..Model::default() },
        store: Arc::new(Store::open(dir.path()).unwrap()),
        prober: Prober::mute(clock),
        announcer: Announcer::none(),
        gateway: Gateway::default(),
        attaching: Attaching::default(),
        addresses: watch::channel(BTreeSet::new()).0,
        events: Events::default(),
        observed: Observed { next_hops: all_well(&spec).next_hops, ..Observed::default() },
        spec,
        kept: Kept::default(),
        applied: Image::default(),
        applied_generation: 0,
        shown: Shown::default(),
        owed: Owed::default(),
        journal: Journal::default(),
        refused_clients: BTreeSet::new(),
        pace: Pace::default(),
        left: BTreeSet::new(),
        waking: Waking::default(),
        loads: balance::loads(clock),
        balance: balance::planner(),
        fallen: Fallen::default(),
        watches: BTreeMap::new(),
        own: Own::default(),
        inspector: tokio::sync::mpsc::channel(1).0,
        recorder: super::recorder::Recorder::of_nobody(),
    };
    let mut owner = owner.first(&[], Ways::default()).await.unwrap();
    for server in ["s1", "s2", "s3"] {
        report_all(&mut owner, server, &CheckResult::Answered { took_us: 100 });
    }
    owner.decide().await;
    owner.kernel.writes.clear();
    (owner, dir)
}

fn report_all(owner: &mut Owner<Model>, server: &str, result: &CheckResult) {
    for device in ["d1", "d2", "d3"] {
        let report = owner.prober.report(server, device, result.clone());
        owner.take_report(&report);
    }
}

/// The server refuses all, and after that others are well for all.
fn refuse(owner: &mut Owner<Model>, server: &str) {
    let refused = CheckResult::Refused("connection refused".to_owned());
    report_all(owner, server, &refused);
    report_all(owner, server, &refused);
    well_beside(owner, server);
}

/// The servers beside this one are well for all devices.
fn well_beside(owner: &mut Owner<Model>, server: &str) {
    for other in ["s1", "s2", "s3"].into_iter().filter(|other| *other != server) {
        report_all(owner, other, &CheckResult::Answered { took_us: 100 });
    }
}

async fn kill(owner: &mut Owner<Model>, server: &str) {
    refuse(owner, server);
    owner.decide().await;
}

fn move_d1(server: &str) -> Change {
    let moves = vec![Move { device: "d1".into(), server: server.into(), policy: None }];
    Change::Associate { moves, cause: Cause::Planned }
}

/// Waits until the clock, which counts in ms, has moved on.
async fn next_moment(owner: &Owner<Model>) {
    let last = owner.now_ms();
    while owner.now_ms() <= last {
        tokio::task::yield_now().await;
    }
}

fn kinds(owner: &Owner<Model>) -> Vec<EventKind> {
    owner.events.after(0, usize::MAX).iter().map(|event| event.kind).collect()
}

#[tokio::test]
async fn a_change_is_on_disk_before_it_is_in_the_tables() {
    let (mut owner, _dir) = at_rest().await;
    let seen = owner.spec.generation;
    let applied = owner.change(&move_d1("s2"), Some(seen)).await.unwrap();
    assert!(applied.generation > seen && owner.applied_generation == applied.generation);
    let [(write, on_disk)] = owner.kernel.writes.as_slice() else {
        panic!("one commit does it all: {:?}", owner.kernel.writes)
    };
    assert!(write.starts_with("commit [device 0: server 2 previous 1"), "{write}");
    assert_eq!(*on_disk, applied.generation);
    assert_eq!(owner.kernel.image, Image::of(&owner.spec, &owner.observed));
    let told = owner.events.after(applied.events[0] - 1, 1);
    assert_eq!(told[0].kind, EventKind::Move);
    assert!(told[0].text.contains("d1 moved from s1 to s2 (planned)"), "{}", told[0].text);
    assert!(told[0].text.ends_with("open flows on s1 stay for at most 1 h"), "{}", told[0].text);
}

#[tokio::test]
async fn a_stale_or_refused_change_leaves_everything_as_it_was() {
    let (mut owner, _dir) = at_rest().await;
    let before = (owner.spec.clone(), generation_on_disk(&owner.kernel.state_dir));
    let current = owner.spec.generation;
    let stale = owner.change(&move_d1("s2"), Some(current - 1)).await;
    assert!(matches!(stale, Err(ChangeError::Stale { current: at }) if at == current));
    let refused = owner.change(&move_d1("nobody"), None).await;
    let Err(ChangeError::Refused(SpecError { problems })) = refused else { panic!("{refused:?}") };
    assert_eq!(problems[0].code, "unknown_server");
    let same = owner.change(&move_d1("s1"), None).await.unwrap();
    assert_eq!((same.generation, same.events.len()), (current, 0));
    assert_eq!(before, (owner.spec.clone(), generation_on_disk(&owner.kernel.state_dir)));
    assert_eq!(owner.kernel.writes, []);
}

#[tokio::test]
async fn a_death_is_in_the_tables_before_it_is_on_disk() {
    let (mut owner, _dir) = at_rest().await;
    let seen = owner.spec.generation;
    kill(&mut owner, "s1").await;
    let writes = &owner.kernel.writes;
    assert_eq!(writes[0], ("server 1 state dead life 1".to_owned(), seen));
    assert!(writes[1].0.starts_with("commit [device 0: server 2 "), "{writes:?}");
    assert_eq!(writes[1].1, seen, "the moves do not wait for the disk either");
    assert_eq!(generation_on_disk(&owner.kernel.state_dir), owner.spec.generation);
    assert_eq!(owner.spec.devices["d1"].association.cause, Cause::Failure);
    assert!(owner.spec.servers["s1"].life_over);
    assert!(kinds(&owner).contains(&EventKind::Failover));
}

#[tokio::test]
async fn clients_that_come_back_while_a_death_is_journalled_are_not_reset() {
    let (mut owner, _dir) = at_rest().await;
    // From the first write on, new flows go to the backup in the epoch of this word.
    let word = owner.kernel.image.words[&0];
    kill(&mut owner, "s1").await;
    let now = owner.kernel.image.words[&0];
    assert_eq!((now.server, now.epoch), (word.backup, word.epoch));
}

#[tokio::test]
async fn a_server_that_comes_back_is_alive_only_in_a_new_life() {
    let (mut owner, _dir) = at_rest().await;
    kill(&mut owner, "s1").await;
    owner.kernel.writes.clear();
    let well = CheckResult::Answered { took_us: 100 };
    report_all(&mut owner, "s1", &well);
    owner.decide().await;
    assert_eq!(owner.kernel.writes, [], "one answer is not enough");
    report_all(&mut owner, "s1", &well);
    owner.decide().await;
    assert_eq!(owner.kernel.writes[0].0, "server 1 state alive life 2");
    assert_eq!(owner.spec.devices["d1"].association.server, "s2", "no fail-back");
}

#[tokio::test]
async fn silence_of_all_servers_changes_nothing_and_says_so() {
    let (mut owner, _dir) = at_rest().await;
    next_moment(&owner).await;
    let silent = CheckResult::Silent("no answer within 200 ms".to_owned());
    for server in ["s1", "s2", "s3", "s1", "s2", "s3"] {
        report_all(&mut owner, server, &silent);
    }
    owner.decide().await;
    assert_eq!(owner.kernel.writes, []);
    assert!(owner.shown.frozen.is_some() && kinds(&owner).contains(&EventKind::Frozen));
    assert_eq!(owner.snapshot().health["s1"].health, Health::Dead, "it is shown as measured");

    // The outage ends: whoever answers has lost nothing, and whoever does not is dead after one
    // more check.
    let well = CheckResult::Answered { took_us: 100 };
    report_all(&mut owner, "s2", &well);
    owner.decide().await;
    report_all(&mut owner, "s2", &well);
    report_all(&mut owner, "s3", &well);
    report_all(&mut owner, "s3", &well);
    owner.decide().await;
    assert_eq!(owner.kernel.writes, []);
    next_moment(&owner).await;
    report_all(&mut owner, "s1", &silent);
    owner.decide().await;
    assert_eq!(owner.kernel.writes[0].0, "server 1 state dead life 1");
    assert!(owner.spec.servers["s1"].life_over && owner.shown.frozen.is_none());
    assert!(!owner.spec.servers["s2"].life_over && !owner.spec.servers["s3"].life_over);
}

#[tokio::test]
async fn a_report_about_an_earlier_address_is_ignored() {
    let (mut owner, _dir) = at_rest().await;
    let refused = CheckResult::Refused("connection refused".to_owned());
    let old = owner.prober.report("s1", "d1", refused);
    let address = "10.0.2.99".parse().unwrap();
    let (state, load) = (None, LoadSources::default());
    let put = Change::PutServer { name: "s1".into(), address, state, load };
    owner.change(&put, None).await.unwrap();
    assert_eq!(owner.take_report(&old), Urgency::Nothing);
    assert_eq!(owner.observed.path("s1", "d1"), Health::Unknown);
    assert!(!owner.observed.next_hops.contains_key("s1"), "the way is looked for anew");
}

#[tokio::test]
async fn a_device_with_a_fall_of_its_own_is_judged_by_it() {
    let (mut owner, _dir) = at_rest().await;
    let mut device = device_spec(1, &["s1", "s2", "s3"]);
    device.check_pace.fall = Some(1);
    owner.change(&Change::PutDevice { name: "d1".into(), device }, None).await.unwrap();
    let refused = CheckResult::Refused("connection refused".to_owned());
    assert_eq!(owner.observed.path("s1", "d1"), Health::Healthy, "what was measured stays");
    report_all(&mut owner, "s1", &refused);
    assert_eq!(owner.observed.path("s1", "d1"), Health::Dead);
    assert_eq!(owner.observed.path("s1", "d2"), Health::Suspect);
}
