//! The owner of all state, and its loop: one thing at a time, and whatever it was, the same
//! question afterwards: what is to be done now?

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::announce::Announcer;
use super::attaching::Attaching;
use super::balance::Balance;
use super::events::Events;
use super::evidence::Evidence;
use super::journal::{Answer, Journal, Wish};
use super::kernel::Kernel;
use super::load::Loads;
use super::pace::Pace;
use super::recorder::Recorder;
use super::show::LastShown;
use super::waking::Waking;
use super::watching::Watched;
use super::ways::Ways;
use super::{Inspection, InterfaceStatus, Own, Request};
use crate::config::FlowsConfig;
use crate::core::change::{Context, SpecLimits};
use crate::core::drained::DrainMarks;
use crate::core::health::{CheckResult, Health, Thresholds};
use crate::core::hold_down::{Fallen, HoldDown};
use crate::core::image::{Image, Imager};
use crate::core::observed::Observed;
use crate::core::plan::Blocked;
use crate::core::seed::Seed;
use crate::core::shared::Shared;
use crate::core::spec::{Name, Spec};
use crate::core::suspicion::Watch;
use crate::core::whatif::death;
use crate::platform::clock::{Clock, Stopwatch};
use crate::platform::probe::{Manner, Prober, Report};
use crate::platform::scrape::Sample;
use crate::platform::store::{Store, StoreError};
use crate::platform::supervisor::Watchdog;
use crate::platform::tables::{Counters, FlowCensus, Gateway};

/// Reports taken in before anything else is looked at; so that a burst is judged as a whole.
const REPORTS_AT_ONCE_MAX: usize = 256;

/// How long reports of a server's other paths are waited for when nobody was there for one of them:
/// that all of it is dead takes effect by one store, and not by a move of each device.
const GATHER: Duration = Duration::from_millis(10);
/// Requests answered between two other things.
const REQUESTS_AT_ONCE_MAX: usize = 16;

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) limits: SpecLimits,
    pub(super) thresholds: Thresholds,
    pub(super) evidence: Evidence,
    pub(super) hold_down: HoldDown,
    pub(super) flows: FlowsConfig,
    pub(super) stats_interval: Duration,
    pub(super) seed: Shared<Seed>,
    pub(super) clock: Clock,
}

/// What was measured besides [`Observed`], for showing.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) interfaces: Vec<InterfaceStatus>,
    pub(super) counters: Arc<Counters>,
    /// What had been carried when drains began.
    pub(super) drain_marks: Arc<DrainMarks>,
    pub(super) census: Arc<FlowCensus>,
    /// The last snapshot, where one takes long to make.
    pub(super) last: Option<LastShown>,
    /// Server -> its health and since when.
    pub(super) health: BTreeMap<Name, (Health, u64)>,
    pub(super) frozen: Option<String>,
    /// What the kernel has not taken of the addresses to be announced and withdrawn.
    pub(super) unannounced: BTreeSet<String>,
    /// Servers whose Ethernet address was known once and is not now.
    pub(super) unresolved: BTreeSet<Name>,
    /// Some refusals may be believed as soon as others have answered.
    pub(super) unsure: bool,
    /// When decisions began to be held back because nobody answers; None while somebody does.
    pub(super) outage_at_ms: Option<u64>,
    pub(super) blocked: Vec<Blocked>,
    /// Server address -> why no frames can be sent to it.
    pub(super) way_problems: BTreeMap<IpAddr, String>,
}

/// What could not be written, and why. It is tried again with every tick.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) journal: Option<String>,
    pub(super) tables: Option<String>,
    /// Clients, by device, that are to be held on a server of their own.
    pub(super) clients: BTreeSet<(Name, IpAddr)>,
}

/// What is kept from turn to turn, so that less has to be done in the next one.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) imager: Imager,
    pub(super) watched: Option<Watched>,
}

/// All state.
#[derive(Debug)]
pub(super) struct Owner<K> {
    pub(super) settings: Settings,
    pub(super) kernel: K,
    pub(super) store: Arc<Store>,
    pub(super) prober: Prober,
    pub(super) announcer: Announcer,
    /// What the program knows of the gateway.
    pub(super) gateway: Gateway,
    pub(super) attaching: Attaching,
    pub(super) addresses: watch::Sender<BTreeSet<IpAddr>>,
    pub(super) events: Events,
    /// Intent, measurement, and what the tables hold.
    pub(super) spec: Spec,
    pub(super) observed: Observed,
    pub(super) kept: Kept,
    pub(super) applied: Image,
    pub(super) applied_generation: u64,
    pub(super) shown: Shown,
    pub(super) owed: Owed,
    pub(super) journal: Journal,
    /// Those of `owed.clients` of which an event has told.
    pub(super) refused_clients: BTreeSet<(Name, IpAddr)>,
    pub(super) pace: Pace,
    /// Servers that died in this turn, for one device at least, by number: their unanswered SYNs
    /// are still to be sent again.
    pub(super) left: BTreeSet<u16>,
    pub(super) waking: Waking,
    pub(super) loads: Loads,
    pub(super) balance: Balance,
    /// Who has died how often.
    pub(super) fallen: Fallen,
    /// What the packets of each server have said so far, by its id.
    pub(super) watches: BTreeMap<u16, Watch>,
    pub(super) own: Own,
    /// Answers what needs no state.
    pub(super) inspector: mpsc::Sender<Inspection>,
    pub(super) recorder: Recorder,
}

/// What comes in besides requests.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) ways: mpsc::Receiver<Ways>,
    pub(super) samples: mpsc::Receiver<Sample>,
}

/// How soon something is to be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// There is nothing to decide.
    Nothing,
    /// Somebody is fit again: when the last look at all devices has rested.
    Rested,
    /// At once.
    Now,
}

/// What one turn of the loop is about.
enum Input {
    Report(Report),
    Evidence,
    /// The state file's writer has finished.
    Written(Result<(), StoreError>),
    Ways(Ways),
    Request(Request),
    Sample(Sample),
    Balance,
    /// The counters are to be read; since when.
    Stats(tokio::time::Instant),
    Sweep,
    Wake,
    /// There are more addresses to be announced or withdrawn.
    Announce,
}

impl<K: Kernel> Owner<K> {
    /// Runs until `stop` resolves. What is in the kernel stays there.
    pub(super) async fn run(
        mut self,
        mut inputs: Inputs,
        mut requests: mpsc::Receiver<Request>,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = std::pin::pin!(stop);
        let mut stats = ticks(self.settings.stats_interval);
        let mut sweeps = ticks(Duration::from_millis(self.settings.flows.sweep_interval_ms));
        let mut plans = ticks(Duration::from_millis(self.balance.config.interval_ms));
        let mut evidence = self.settings.evidence.ticks();
        let watchdog = Watchdog::of_environment();
        let mut alive = watchdog.as_ref().map(|watchdog| ticks(watchdog.interval));
        loop {
            let wake = self.until_wake();
            // In this order: what may have died is looked at before anything else.
            let input = tokio::select! {
                biased;
                () = &mut stop => return self.finish(requests).await,
                () = next(&mut alive) => {
                    watchdog.iter().for_each(Watchdog::alive);
                    continue;
                }
                Some(report) = inputs.reports.recv() => Input::Report(report),
                () = next(&mut evidence) => Input::Evidence,
                result = self.journal.written() => Input::Written(result),
                Some(ways) = inputs.ways.recv() => Input::Ways(ways),
                Some(request) = requests.recv() => Input::Request(request),
                Some(sample) = inputs.samples.recv() => Input::Sample(sample),
                due = stats.tick() => Input::Stats(due),
                _ = sweeps.tick() => Input::Sweep,
                _ = plans.tick() => Input::Balance,
                () = wake => Input::Wake,
                () = std::future::ready(()), if self.announcer.has_more() => Input::Announce,
            };
            self.timed_turn(input, &mut inputs.reports).await;
            // With many devices there is always something to be looked at first: whoever asks still
            // waits for one turn only, and for the disk.
            if self.journal.has_written() {
                let result = self.journal.written().await;
                self.timed_turn(Input::Written(result), &mut inputs.reports).await;
            }
            for _ in 0..REQUESTS_AT_ONCE_MAX {
                let Ok(request) = requests.try_recv() else { break };
                self.timed_turn(Input::Request(request), &mut inputs.reports).await;
            }
        }
    }

    async fn timed_turn(&mut self, input: Input, reports: &mut mpsc::Receiver<Report>) {
        let watch = Stopwatch::start();
        self.turn(input, reports).await;
        self.own.turns.add(watch.elapsed());
    }

    /// Takes in one thing and does all that follows from it.
    async fn turn(&mut self, input: Input, reports: &mut mpsc::Receiver<Report>) {
        match input {
            Input::Report(report) => self.take_reports(report, reports).await,
            Input::Evidence => self.take_evidence(),
            Input::Written(result) => self.take_written(result).await,
            Input::Ways(ways) => self.take_ways(ways).await,
            Input::Request(request) => self.answer(request),
            Input::Sample(sample) => self.take_sample(&sample),
            Input::Balance => self.balance(),
            Input::Stats(due) => {
                self.own.lag_us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.take_stats();
            }
            Input::Sweep => {
                self.attach_again().await;
                self.announce_again().await;
                self.sweep().await;
            }
            Input::Wake => self.replan().await,
            Input::Announce => self.announce().await,
        }
        self.recall();
        // It may have to rest first; whatever comes next asks again.
        if self.pace.sweep_soon {
            self.sweep().await;
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.settings.clock.now_ms()
    }

    /// What a change is judged against now.
    pub(super) fn context(&self) -> Context<'_> {
        let (now_ms, limits) = (self.now_ms(), self.settings.limits);
        Context { now_ms, limits, observed: &self.observed }
    }

    /// One report and those that have come with it, or will at once.
    pub(super) async fn take_reports(&mut self, first: Report, more: &mut mpsc::Receiver<Report>) {
        let mut urgency = self.take_report(&first);
        let mut dying = self.is_half_dead(&first).then_some(first.path.0);
        for _ in 1..REPORTS_AT_ONCE_MAX {
            let Ok(report) = more.try_recv() else { break };
            urgency = urgency.max(self.take_report(&report));
            dying = self.is_half_dead(&report).then_some(report.path.0).or(dying);
        }
        if let Some(server) = dying.filter(|_| urgency > Urgency::Nothing) {
            let all = async {
                while self.observed.server(&server) != Health::Dead {
                    let Some(report) = more.recv().await else { return };
                    urgency = urgency.max(self.take_report(&report));
                }
            };
            // Whatever has come by then is decided upon.
            let _ = tokio::time::timeout(GATHER, all).await;
        }
        match urgency {
            Urgency::Nothing => {}
            Urgency::Rested => self.replan_rested().await,
            Urgency::Now => self.replan().await,
        }
    }

    /// Whether the server is dead for this device, and is being asked for others at this moment.
    fn is_half_dead(&self, report: &Report) -> bool {
        let (server, device) = &report.path;
        let of = self.observed.paths.get(server);
        let is_asked = of.is_some_and(|of| of.len_of(Health::Suspect) > 0);
        let is_silent = matches!(report.result, CheckResult::Silent(_));
        let is_refused = matches!(report.result, CheckResult::Refused(_));
        self.observed.path(server, device) == Health::Dead
            && self.observed.server(server) != Health::Dead
            && ((is_silent && report.manner == Manner::Confirming) || (is_refused && is_asked))
    }

    pub(super) fn answer(&mut self, request: Request) {
        // Whoever asked may have gone: then nobody wants the answer, and that is fine.
        match request {
            Request::Change { change, if_match, answer } => {
                let changes = vec![(*change, String::new())];
                self.wish(Wish { changes, if_match, answer: Answer::To(answer) });
            }
            Request::Snapshot { answer } => {
                let _ = answer.send(self.shown_snapshot());
            }
            Request::Events { after, limit, answer } => {
                let _ = answer.send(self.events.after(after, limit));
            }
            Request::Plan(request) => self.answer_plan(request),
            Request::Follow { answer } => {
                let _ = answer.send(self.events.latest.subscribe());
            }
            // Beyond so many at a time they are dropped, which those who asked hear of.
            Request::Inspect(inspection) => {
                let _ = self.inspector.try_send(inspection);
            }
            Request::Recorder(request) => self.answer_recorder(request),
            Request::CloseFlow { key, answer } => {
                let closed = self.kernel.close_flow(&key);
                // A client that only waits has to be woken to hear of it.
                self.pace.sweep_soon |= matches!(closed, Ok(Some(_)));
                let _ = answer.send(closed);
            }
            Request::Death { server, answer } => {
                let _ = answer.send(death(&self.spec, &self.context(), &server));
            }
        }
    }

    fn until_wake(&self) -> impl Future<Output = ()> + use<K> {
        let wait_ms = self.pace.wake_at_ms.map(|at| at.saturating_sub(self.now_ms()));
        async move {
            match wait_ms {
                Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                None => std::future::pending().await,
            }
        }
    }
}

/// The next tick, if there are any.
async fn next(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

pub(super) fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
