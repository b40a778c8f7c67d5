//! The loop measure -> plan -> journal -> apply. One task owns all state; everybody else holds a
//! [`DaemonHandle`].
//!
//! No mutex. Not here: what to decide (`core`), how to reach the outside (`platform`), how to talk
//! about it (`api`).

use std::future::Future;
use std::sync::Arc;

use crate::config::Config;
use crate::core::change::Change;

mod handle;
mod view;

pub use handle::{Applied, ChangeError, DaemonHandle, Unavailable};
pub use view::{Event, EventKind, InterfaceStatus, ServerHealth, Snapshot};

/// What the owner task is asked for; each carries where the answer goes.
pub(crate) enum Request {
    Change {
        change: Change,
        if_match: Option<u64>,
        answer: tokio::sync::oneshot::Sender<Result<Applied, ChangeError>>,
    },
    Snapshot {
        answer: tokio::sync::oneshot::Sender<Arc<Snapshot>>,
    },
    Events {
        after: u64,
        limit: usize,
        answer: tokio::sync::oneshot::Sender<Vec<Event>>,
    },
}

/// Runs the daemon until `stop` resolves. Program, maps and links stay in the kernel when it ends:
/// packets go on.
///
/// # Errors
/// When the program cannot be attached, the state file cannot be read or the API cannot listen.
pub async fn run(_config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    stop.await;
    Ok(())
}
