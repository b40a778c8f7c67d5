//! The loop measure -> plan -> journal -> apply. One task owns all state; everybody else holds a
//! [`DaemonHandle`].
//!
//! No mutex. Not here: what to decide (`core`), how to reach the outside (`platform`), how to talk
//! about it (`api`).

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

use crate::api;
use crate::config::Config;
use crate::core::change::{Change, SpecError};
use crate::core::plan::Plan;
use crate::core::spec::Name;
use crate::platform::files;
use crate::platform::{privileges, supervisor};

mod announce;
mod attaching;
mod balance;
mod clients;
mod events;
mod evidence;
mod handle;
mod inspect;
mod journal;
mod kernel;
mod load;
mod measure;
mod own;
mod owner;
mod pace;
mod planned;
mod recorder;
mod settle;
mod show;
mod start;
mod tell;
#[cfg(test)]
mod tests;
mod view;
mod waking;
mod watching;
mod ways;

pub use crate::platform::bpf::{ExplainError, Explained, Leaves, Question, XdpAction};
pub use crate::platform::dumps::DumpFile;
pub use crate::platform::tables::{
    FlowEntry, FlowFilter, FlowKey, FlowPage, FlowPlace, TablesError,
};
pub use announce::withdraw;
pub use balance::PlanError;
pub(crate) use balance::PlanRequest;
pub use handle::{Applied, ChangeError, DaemonHandle, Unavailable};
pub use inspect::FlowsAt;
pub(crate) use inspect::Inspection;
pub use load::{DeviceLoad, HistoryOf, LoadView, ServerLoad};
pub use own::{CheckCounts, DetectorCounts, Own, PlannerCounts, SPAN_BOUNDS_US, Spans};
pub use planned::{PlanFigures, PlanState, PlanView, PlannedMove};
pub use recorder::{DumpCause, DumpWish, RecorderError, RecorderState};
pub(crate) use recorder::{RecorderQuestion, RecorderRequest};
pub use view::{Event, EventKind, InterfaceStatus, PathsSeen, ServerHealth, Snapshot};

/// Questions waiting at most; then askers wait.
const REQUESTS_MAX: usize = 64;

/// Threads that answer the API's clients.
const API_THREADS: usize = 2;

/// What the owner task is asked for; each carries where the answer goes.
#[derive(Debug)]
pub(crate) enum Request {
    /// Make a change.
    Change {
        change: Box<Change>,
        if_match: Option<u64>,
        answer: oneshot::Sender<Result<Applied, ChangeError>>,
    },
    /// Show everything.
    Snapshot { answer: oneshot::Sender<Arc<Snapshot>> },
    /// Tell what happened.
    Events { after: u64, limit: usize, answer: oneshot::Sender<Vec<Event>> },
    /// About plans and loads.
    Plan(PlanRequest),
    /// Tell when something happens: the last event's id, as it changes.
    Follow { answer: oneshot::Sender<watch::Receiver<u64>> },
    /// Something to be answered beside the loop.
    Inspect(Inspection),
    /// About the flight recorder.
    Recorder(RecorderRequest),
    /// Close a flow; whether there was one.
    CloseFlow { key: FlowKey, answer: oneshot::Sender<Result<Option<u32>, TablesError>> },
    /// What would be done if a server died.
    Death { server: Name, answer: oneshot::Sender<Result<Plan, SpecError>> },
}

/// Runs the daemon until `stop` resolves. Program, maps and links stay in the kernel when it ends:
/// packets go on.
///
/// # Errors
/// When the program cannot be attached, the state file cannot be read or the API cannot listen.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    // First of all, so that a port or socket that is taken stops the start before anything changes.
    let listeners = api::bind(&config.api).await?;
    match files::raise_limit() {
        Ok(limit) => tracing::info!(limit, "files that may be open"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
    let (owner, inputs) = start::start(&config).await.map_err(|error| {
        // The kernel says only that it refuses; what is missing says why.
        match privileges::complaint() {
            Some(complaint) => error.context(complaint),
            None => error,
        }
    })?;
    let (handle, requests) = DaemonHandle::new(REQUESTS_MAX);
    let (stopping, mut stopped) = watch::channel(false);
    let api_stop = async move {
        // An error means that the sender is gone, which is a stop too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let api_threads = api_threads()?;
    let metrics_devices_max = config.api.metrics_devices_max;
    let serving = api::serve(handle, metrics_devices_max, listeners, api_stop);
    let mut api = api_threads.spawn(serving);
    supervisor::ready("redirecting");
    tokio::select! {
        () = owner.run(inputs, requests, stop) => {}
        ended = &mut api => {
            api_threads.shutdown_background();
            ended.context("the API's task failed")?;
            anyhow::bail!("the API ended by itself");
        }
    }
    supervisor::stopping();
    tracing::info!("stopping: program and tables stay in the kernel, packets go on");
    stopping.send_replace(true);
    let ended = api.await.context("the API's task failed");
    api_threads.shutdown_background();
    ended
}

/// Threads of the API's own: whatever its clients ask for, checks and the loop have theirs.
fn api_threads() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(API_THREADS).thread_name("api").enable_all();
    builder.build().context("cannot start the API's threads")
}
