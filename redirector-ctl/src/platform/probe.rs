//! Checks of servers: one task a path (server and device), results over a channel. It asks and
//! measures; what the results mean is `core::health`'s.
//!
//! Limits: at most [`CHECKS_IN_FLIGHT_MAX`] checks at a time, besides
//! [`CONFIRMING_IN_FLIGHT_MAX`] of suspects and [`PROGRAMS_IN_FLIGHT_MAX`] programs of `exec`
//! checks, and about [`CHECKS_PER_SECOND_MAX`] a second; with more paths than
//! that allows, intervals get longer. While more than [`SPARE_MAX`] attempts are made besides the
//! first ones, checks make do with their first. An attempt reads at most 64 KiB.
//!
//! Each protocol has a file of its own: pure functions that make the bytes to say and read the
//! bytes heard, and one exchange over a [`talk::Talk`].

mod chance;
mod check;
mod exec;
pub mod heard;
mod http;
mod iscsi;
mod knock;
mod nbd;
mod nfs;
mod race;
mod smb;
mod talk;
mod target;
mod timing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use self::chance::Chance;
use self::knock::Knocker;
pub use self::knock::{TunnelEnds, Way, Ways};
use self::race::Means;
pub use self::target::{DirectService, Manner, Path, Report, Target};
pub use self::timing::ProbeTiming;
use self::timing::Usual;
use super::clock::Clock;
use crate::core::check::CheckKind;
use crate::core::health::CheckResult;

/// Most checks under way at a time. Each holds a socket.
pub const CHECKS_IN_FLIGHT_MAX: usize = 256;

/// Most checks of suspects under way at a time. They have turns of their own, so that a server that
/// has fallen silent, and keeps its other checks waiting for an answer, keeps nobody from knowing.
const CONFIRMING_IN_FLIGHT_MAX: usize = 128;

/// Most checks begun in a second over all paths; but suspects are asked at once.
pub const CHECKS_PER_SECOND_MAX: u32 = 2000;

/// Most programs that run at a time. They have turns of their own, so that programs which hang
/// keep no other check waiting.
pub const PROGRAMS_IN_FLIGHT_MAX: usize = 32;

/// Most attempts under way at a time that are not the first one of their check.
const SPARE_MAX: usize = 512;

/// How much later than a suspect its witnesses are asked: enough for two threads to agree on who
/// came first, and a small part of the time that a suspect has.
const AFTER: Duration = Duration::from_millis(2);

/// How often a check that confirms a suspicion is made again because it could not be made properly;
/// then the next one is made in its turn.
const UNHEARD_MAX: u32 = 5;

/// All paths that are being asked.
#[derive(Debug)]
pub struct Prober {
    asker: Asker,
    tasks: BTreeMap<Path, Task>,
    next_serial: u64,
    ways: watch::Sender<Ways>,
}

/// What the tasks share.
#[derive(Debug, Clone)]
struct Asker {
    timing: ProbeTiming,
    clock: Clock,
    turns: Arc<Semaphore>,
    confirming_turns: Arc<Semaphore>,
    program_turns: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
    paths_len: Arc<AtomicU32>,
    knocker: Knocker,
}

#[derive(Debug)]
struct Task {
    target: Target,
    serial: u64,
    calls: Arc<Calls>,
    abort: AbortHandle,
}

/// How a path's task is called upon.
#[derive(Debug, Default)]
struct Calls {
    nudge: Notify,
    confirm: Notify,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Prober {
    /// Nothing is asked yet. Results will come over `reports`. Must be called within a tokio
    /// runtime.
    #[must_use]
    pub fn new(timing: ProbeTiming, clock: Clock, reports: mpsc::Sender<Report>) -> Self {
        let turns =
            [CHECKS_IN_FLIGHT_MAX, CONFIRMING_IN_FLIGHT_MAX, PROGRAMS_IN_FLIGHT_MAX, SPARE_MAX];
        Self::with_turns(timing, clock, reports, turns)
    }

    /// With so many turns for checks, for those that confirm, for programs, and so many spare ones.
    fn with_turns(
        timing: ProbeTiming,
        clock: Clock,
        reports: mpsc::Sender<Report>,
        turns: [usize; 4],
    ) -> Self {
        let [turns, confirming_turns, program_turns, spare] =
            turns.map(|len| Arc::new(Semaphore::new(len)));
        let (ways, knocker) = Knocker::new();
        let asker = Asker {
            timing,
            clock,
            turns,
            confirming_turns,
            program_turns,
            spare,
            reports,
            paths_len: Arc::default(),
            knocker,
        };
        Self { asker, tasks: BTreeMap::new(), next_serial: 1, ways }
    }

    /// How packets get to the servers now, for what the kernel is not to route.
    pub fn set_ways(&self, ways: Ways) {
        self.ways.send_if_modified(|known| {
            let differs = *known != ways;
            *known = ways;
            differs
        });
    }

    /// Asks these paths from now on, and no others. Paths whose target stays go on undisturbed.
    /// Returns the paths that begin anew. Must be called within a tokio runtime.
    pub fn set_targets(&mut self, targets: &BTreeMap<Path, Target>) -> Vec<Path> {
        self.tasks.retain(|path, _| targets.contains_key(path));
        self.change_targets(&[], targets)
    }

    /// The same for some paths; the others go on.
    pub fn change_targets(&mut self, gone: &[Path], targets: &BTreeMap<Path, Target>) -> Vec<Path> {
        for path in gone {
            self.tasks.remove(path);
        }
        let mut begun = Vec::new();
        for (path, target) in targets {
            if self.tasks.get(path).is_some_and(|task| task.target == *target) {
                continue;
            }
            let (serial, calls) = (self.next_serial, Arc::new(Calls::default()));
            self.next_serial += 1;
            let ask =
                ask_on(self.asker.clone(), path.clone(), serial, target.clone(), calls.clone());
            let abort = tokio::spawn(ask).abort_handle();
            self.tasks.insert(path.clone(), Task { target: target.clone(), serial, calls, abort });
            begun.push(path.clone());
        }
        let paths_len = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        self.asker.paths_len.store(paths_len, Ordering::Relaxed);
        begun
    }

    /// Asks a path again at once, or right after the check that is under way.
    pub fn nudge(&self, path: &Path) {
        if let Some(task) = self.tasks.get(path) {
            task.calls.nudge.notify_one();
        }
    }

    /// Asks a path a moment later than whoever is asked now, so that its answer speaks for the time
    /// since. Must be called within a tokio runtime.
    pub fn nudge_after(&self, path: &Path) {
        if let Some(task) = self.tasks.get(path) {
            let calls = task.calls.clone();
            tokio::spawn(async move {
                tokio::time::sleep(AFTER).await;
                calls.nudge.notify_one();
            });
        }
    }

    /// Asks a path at once and with little patience. A check in its turn that is under way is given
    /// up: it would take longer than the new one. One of this manner goes on, but wants a new
    /// connection.
    pub fn confirm(&self, path: &Path) {
        if let Some(task) = self.tasks.get(path) {
            task.calls.confirm.notify_one();
        }
    }

    /// Whether a report is about what is being asked now, and not about an earlier address of the
    /// same path.
    #[must_use]
    pub fn is_current(&self, report: &Report) -> bool {
        self.tasks.get(&report.path).is_some_and(|task| task.serial == report.serial)
    }
}

#[cfg(test)]
impl Prober {
    /// A prober that never asks: tests say what the servers answer.
    pub(crate) fn mute(clock: Clock) -> Self {
        let (interval, timeout) = (Duration::from_secs(1), Duration::from_secs(1));
        let timing = ProbeTiming { interval, timeout, confirm_timeout: timeout, jitter_pct: 0 };
        let (reports, _) = mpsc::channel(1);
        Self::with_turns(timing, clock, reports, [0; 4])
    }

    /// A report as if a check of this path had ended now.
    pub(crate) fn report(&self, server: &str, device: &str, result: CheckResult) -> Report {
        let path = (server.to_owned(), device.to_owned());
        let serial = self.tasks.get(&path).map_or(0, |task| task.serial);
        let manner = Manner::Routine;
        Report { path, serial, manner, asked_at_ms: self.asker.clock.now_ms(), result }
    }
}

/// Asks one path for ever.
async fn ask_on(asker: Asker, path: Path, serial: u64, target: Target, calls: Arc<Calls>) {
    let mut chance = Chance::new();
    let mut usual = Usual::default();
    let mut manner = Manner::Routine;
    let mut again = 0;
    let timing = asker.timing.at(&target.pace);
    let is_program = target.check.kind() == CheckKind::Exec;
    loop {
        let turns = match manner {
            _ if is_program => &asker.program_turns,
            Manner::Confirming => &asker.confirming_turns,
            Manner::Routine => &asker.turns,
        };
        // A program that was started is waited for: another one would be no sooner.
        let patient = is_program || manner == Manner::Confirming;
        let turn = tokio::select! {
            biased;
            turn = turns.acquire() => turn,
            () = calls.confirm.notified(), if !patient => {
                manner = Manner::Confirming;
                continue;
            }
        };
        let Ok(turn) = turn else { return };
        let asked_at_ms = asker.clock.now_ms();
        let limits = timing.limits(manner, &target, &usual);
        let anew = (manner == Manner::Confirming).then_some(&calls.confirm);
        let means = Means { chance: chance.next_u32(), spare: &asker.spare, anew };
        let check = knock::ask(&target, &path, &asker.knocker, (limits, means));
        let finding = tokio::select! {
            biased;
            finding = check => finding,
            () = calls.confirm.notified(), if !patient => {
                manner = Manner::Confirming;
                continue;
            }
        };
        drop(turn);
        usual.note(&finding);
        let result = finding.result;
        tracing::trace!(server = path.0, device = path.1, ?manner, asked_at_ms, ?result, "checked");
        let unheard = matches!(result, CheckResult::NotAsked(_));
        let report = Report { path: path.clone(), serial, manner, asked_at_ms, result };
        if asker.reports.send(report).await.is_err() {
            return;
        }
        // A suspicion stands while it was we who did not listen, but not for ever.
        if unheard && manner == Manner::Confirming && again < UNHEARD_MAX {
            again += 1;
            continue;
        }
        again = 0;
        let interval = timing.interval.max(turn_of(asker.paths_len.load(Ordering::Relaxed)));
        let pause = chance.jittered(interval, timing.jitter_pct);
        manner = tokio::select! {
            biased;
            () = calls.confirm.notified() => Manner::Confirming,
            () = calls.nudge.notified() => Manner::Routine,
            () = tokio::time::sleep(pause) => Manner::Routine,
        };
    }
}

/// Time in which each of so many paths has its turn.
fn turn_of(paths_len: u32) -> Duration {
    Duration::from_secs(1) * paths_len / CHECKS_PER_SECOND_MAX
}

#[cfg(test)]
mod tests;
