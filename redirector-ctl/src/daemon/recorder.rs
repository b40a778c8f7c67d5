//! The flight recorder: when its dumps are made, and the thread that makes them.
//!
//! The owner only says what a dump is to hold; reading the rings and writing the file takes
//! milliseconds, and is done by a thread that nobody waits for. A failover is noticed with the next
//! reading of the counters, so that it costs the failover nothing.

use std::net::IpAddr;
use std::path::Path;

use tokio::sync::{mpsc, oneshot};

use super::kernel::Kernel;
use super::owner::Owner;
use super::{Event, EventKind};
use crate::config::RecorderConfig;
use crate::platform::bpf::RecorderLimits;
use crate::platform::dumps::{DumpFile, Dumps, DumpsError};
use crate::platform::pcapng::Names;
use crate::platform::tables::{RecordView, RecorderCounts, TablesError};

mod dump;

use dump::Material;

/// Questions waiting at most; the thread's work is short.
const WAITING_MAX: usize = 16;
/// Directory of the dumps, in that of the state file.
const DIRECTORY: &str = "recorder";

/// Why a dump was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpCause {
    /// A server has died or a device has failed over.
    Failover,
    /// Somebody asked for it.
    Request,
}

impl DumpCause {
    /// The word for it, in names of dumps.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Request => "request",
        }
    }
}

/// What a dump is to hold; `None` for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DumpWish {
    /// Only packets of the device with this id.
    pub device: Option<u32>,
    /// Only packets from or to this address.
    pub client: Option<IpAddr>,
}

/// What the recorder does and has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecorderState {
    /// What it is told to keep.
    pub config: RecorderConfig,
    /// What it has done since the program was loaded.
    pub counts: RecorderCounts,
    /// Memory of its rings, in bytes.
    pub memory_bytes: u64,
    /// Dumps on disk.
    pub dumps: u64,
    /// Bytes that they have together.
    pub dump_bytes: u64,
}

/// Why the recorder cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// It is switched off.
    #[error("the flight recorder is off: set recorder.packets_max above 0 and restart the daemon")]
    Off,
    /// The kernel refuses.
    #[error(transparent)]
    Kernel(#[from] TablesError),
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DumpsError),
    /// A record is none.
    #[error("a record cannot be written as a packet: {0}")]
    Format(String),
}

type Answer<T> = oneshot::Sender<Result<T, RecorderError>>;

/// What the recorder is asked for.
#[derive(Debug)]
pub(crate) enum RecorderRequest {
    /// Make a dump.
    Dump { wish: DumpWish, answer: Answer<DumpFile> },
    /// Something that needs nothing of the owner.
    Ask(RecorderQuestion),
}

/// What the thread alone knows.
#[derive(Debug)]
pub(crate) enum RecorderQuestion {
    /// Say what there is.
    State { answer: Answer<RecorderState> },
    /// List the dumps.
    List { answer: Answer<Vec<DumpFile>> },
    /// Give one.
    Read { name: String, answer: Answer<Option<Vec<u8>>> },
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Order {
    Dump { material: Box<Material>, answer: Option<Answer<DumpFile>> },
    Answer(RecorderQuestion),
}

/// What the owner remembers of the recorder.
#[derive(Debug)]
pub(super) struct Recorder {
    thread: mpsc::Sender<Order>,
    after_failover_ms: u64,
    rest_ms: u64,
    /// Failovers and deaths that have their dump, or will have.
    seen: u64,
    due_at_ms: Option<u64>,
    not_before_ms: u64,
}

impl Recorder {
    pub(super) fn new(config: &RecorderConfig, thread: mpsc::Sender<Order>) -> Self {
        let RecorderConfig { after_failover_ms, rest_ms, .. } = *config;
        Self { thread, after_failover_ms, rest_ms, seen: 0, due_at_ms: None, not_before_ms: 0 }
    }

    /// One that does nothing, for tests of the loop.
    #[cfg(test)]
    pub(super) fn of_nobody() -> Self {
        let (after_failover_ms, rest_ms) = (0, 0);
        let thread = mpsc::channel(1).0;
        Self { thread, after_failover_ms, rest_ms, seen: 0, due_at_ms: None, not_before_ms: 0 }
    }

    /// Takes note of how many failovers there were; whether the dump of some is due.
    fn is_due(&mut self, failovers: u64, now_ms: u64) -> bool {
        if failovers != self.seen {
            self.seen = failovers;
            let at_ms = now_ms.saturating_add(self.after_failover_ms).max(self.not_before_ms);
            self.due_at_ms.get_or_insert(at_ms);
        }
        if self.due_at_ms.is_none_or(|at_ms| now_ms < at_ms) {
            return false;
        }
        self.due_at_ms = None;
        self.not_before_ms = now_ms.saturating_add(self.rest_ms);
        true
    }
}

impl<K: Kernel> Owner<K> {
    /// Has a dump made some time after a failover, when the survivors have the flows.
    pub(super) fn record_failovers(&mut self) {
        let of = |kind| self.events.kinds.get(&kind).copied().unwrap_or_default();
        let failovers = of(EventKind::Failover) + of(EventKind::ServerDead);
        let now_ms = self.now_ms();
        if self.recorder.is_due(failovers, now_ms) {
            self.order_dump(DumpCause::Failover, DumpWish::default(), None);
        }
    }

    pub(super) fn answer_recorder(&self, request: RecorderRequest) {
        match request {
            RecorderRequest::Dump { wish, answer } => {
                self.order_dump(DumpCause::Request, wish, Some(answer));
            }
            // Beyond so many at a time they are dropped, which those who asked hear of.
            RecorderRequest::Ask(question) => {
                let _ = self.recorder.thread.try_send(Order::Answer(question));
            }
        }
    }

    fn order_dump(&self, cause: DumpCause, wish: DumpWish, answer: Option<Answer<DumpFile>>) {
        let interfaces = self.shown.interfaces.iter();
        let names = Names {
            interfaces: interfaces.map(|of| (of.index, of.name.clone())).collect(),
            devices: self.spec.devices.iter().map(|(name, of)| (of.id, name.clone())).collect(),
            servers: self.spec.servers.iter().map(|(name, of)| (of.id, name.clone())).collect(),
        };
        let (clock, now_ms) = (self.settings.clock, self.now_ms());
        let events: Vec<Event> = self.events.after(0, usize::MAX);
        let material = Box::new(Material { cause, wish, now_ms, clock, names, events });
        if self.recorder.thread.try_send(Order::Dump { material, answer }).is_err() {
            tracing::warn!("the flight recorder has too much to do: a dump is left out");
        }
    }
}

/// The sizes of its rings.
pub(super) fn limits(config: &RecorderConfig) -> RecorderLimits {
    let RecorderConfig { packets_max, sample_one_in, snap_len, .. } = *config;
    RecorderLimits { packets_max, sample_one_in, snap_len }
}

/// Starts the thread; it ends when nobody can ask any more.
///
/// # Errors
/// When no thread can be started.
pub(super) fn start(
    config: &RecorderConfig,
    state_dir: &Path,
    view: RecordView,
) -> std::io::Result<mpsc::Sender<Order>> {
    let (orders, queue) = mpsc::channel(WAITING_MAX);
    let len_max = usize::try_from(config.dumps_max).unwrap_or(usize::MAX);
    let dumps = Dumps::new(state_dir.join(DIRECTORY), len_max, config.dump_bytes_max);
    let worker = Worker { view, dumps, config: *config };
    std::thread::Builder::new().name("recorder".to_owned()).spawn(move || worker.run(queue))?;
    Ok(orders)
}

struct Worker {
    view: RecordView,
    dumps: Dumps,
    config: RecorderConfig,
}

impl Worker {
    fn run(self, mut queue: mpsc::Receiver<Order>) {
        while let Some(order) = queue.blocking_recv() {
            // Whoever asked may have gone: then nobody wants the answer, and that is fine.
            match order {
                Order::Dump { material, answer } => {
                    let made = self.dump(&material);
                    if let Some(answer) = answer {
                        let _ = answer.send(made);
                    }
                }
                Order::Answer(RecorderQuestion::State { answer }) => {
                    let _ = answer.send(self.state());
                }
                Order::Answer(RecorderQuestion::List { answer }) => {
                    let _ = answer.send(self.dumps.list().map_err(Into::into));
                }
                Order::Answer(RecorderQuestion::Read { name, answer }) => {
                    let _ = answer.send(self.dumps.read(&name).map_err(Into::into));
                }
            }
        }
    }

    fn dump(&self, material: &Material) -> Result<DumpFile, RecorderError> {
        let made = self.make(material);
        match &made {
            Ok(dump) => tracing::info!(name = dump.name, bytes = dump.bytes, "recorder: dumped"),
            Err(RecorderError::Off) => {}
            Err(error) => tracing::error!(%error, "recorder: no dump"),
        }
        made
    }

    fn make(&self, material: &Material) -> Result<DumpFile, RecorderError> {
        if self.config.packets_max == 0 {
            return Err(RecorderError::Off);
        }
        let content = material.render(self.view.all()?, self.dumps.bytes_max())?;
        Ok(self.dumps.write(material.now_ms, material.cause.name(), &content)?)
    }

    fn state(&self) -> Result<RecorderState, RecorderError> {
        let dumps = self.dumps.list()?;
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        Ok(RecorderState {
            config: self.config,
            counts: self.view.counts()?,
            memory_bytes: limits(&self.config).memory(cpus),
            dumps: dumps.len() as u64,
            dump_bytes: dumps.iter().map(|dump| dump.bytes).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failovers_that_follow_each_other_have_one_dump_and_then_a_rest() {
        let mut recorder =
            Recorder { after_failover_ms: 1000, rest_ms: 10_000, ..Recorder::of_nobody() };
        let looks = [(0, 0), (1, 100), (5, 900), (5, 1100), (5, 1200), (6, 2000), (6, 11_000)];
        let due: Vec<bool> =
            looks.iter().map(|(failovers, at_ms)| recorder.is_due(*failovers, *at_ms)).collect();
        assert_eq!(due, [false, false, false, true, false, false, false]);
        assert!(recorder.is_due(6, 11_100), "what came in the rest has its dump after it");
    }
}
