//! How the rest of the process talks to the daemon: typed questions over a bounded channel, one
//! answer each.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::balance::{PlanError, PlanRequest};
use super::{
    DumpFile, DumpWish, Event, FlowsAt, HistoryOf, Inspection, PlanView, RecorderError,
    RecorderQuestion, RecorderRequest, RecorderState, Request, Snapshot,
};
use crate::core::change::{Change, SpecError};
use crate::core::outlook::Point;
use crate::core::plan::Plan;
use crate::core::spec::Name;
use crate::platform::bpf::{ExplainError, Explained, Question};
use crate::platform::tables::{FlowFilter, FlowKey, FlowPlace, TablesError};

/// A way to the daemon's owner task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DaemonHandle {
    requests: mpsc::Sender<Request>,
}

/// A change that is journalled and in the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Generation of the spec that holds it; unchanged when there was nothing to do.
    pub generation: u64,
    /// Events that tell of it.
    pub events: Vec<u64>,
}

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The caller spoke of another generation than the present one.
    #[error("the state is at generation {current} by now: read it again, then repeat the change")]
    Stale {
        /// The present generation.
        current: u64,
    },
    /// The change does not fit the spec; nothing has changed.
    #[error("refused: {0}")]
    Refused(#[source] SpecError),
    /// The daemon is stopping or the state file cannot be written; nothing has changed.
    #[error("the daemon cannot take changes: {0}")]
    Unavailable(String),
    /// Made, but not yet in the kernel's tables, or not yet safe on disk; the daemon keeps trying.
    #[error("the change is made but not complete yet, the daemon keeps trying: {what}")]
    NotApplied {
        /// Generation of the spec that holds it.
        generation: u64,
        /// What is not complete.
        what: String,
    },
}

impl ChangeError {
    /// Whether the change is made all the same, and only its way to disk or tables is not over.
    #[must_use]
    pub fn is_made(&self) -> bool {
        matches!(self, Self::NotApplied { .. })
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Nobody is there to answer.
    #[error("the daemon is stopping")]
    Stopping,
    /// More of this kind was asked than may wait; nothing was done.
    #[error("too many ask for this at a time: ask again later")]
    Busy,
}

impl DaemonHandle {
    /// A handle and the queue that it fills. Tests of other parts answer the queue themselves.
    #[must_use]
    pub(crate) fn new(requests_max: usize) -> (Self, mpsc::Receiver<Request>) {
        let (requests, queue) = mpsc::channel(requests_max);
        (Self { requests }, queue)
    }

    /// Makes a change: it is journalled and in the tables when this returns.
    ///
    /// # Errors
    /// [`ChangeError`]; `if_match` is the generation that the caller has seen, None for any.
    pub async fn change(
        &self,
        change: Change,
        if_match: Option<u64>,
    ) -> Result<Applied, ChangeError> {
        let change = Box::new(change);
        let answer = self.ask(|answer| Request::Change { change, if_match, answer }).await;
        answer.map_err(|gone| ChangeError::Unavailable(gone.to_string()))?
    }

    /// Everything there is to show, at one moment.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, Unavailable> {
        self.ask(|answer| Request::Snapshot { answer }).await
    }

    /// The plan for load.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn plan(&self) -> Result<PlanView, Unavailable> {
        self.ask(|answer| Request::Plan(PlanRequest::Show { answer })).await
    }

    /// Carries the plan for load out: all of it is journalled and in the tables when this returns.
    ///
    /// # Errors
    /// [`PlanError`]; `if_match` is the generation that the caller has seen, None for any.
    pub async fn apply_plan(&self, if_match: Option<u64>) -> Result<Applied, PlanError> {
        let answer =
            self.ask(|answer| Request::Plan(PlanRequest::Apply { if_match, answer })).await;
        answer.map_err(|gone| ChangeError::Unavailable(gone.to_string()))?
    }

    /// Throws the plan for load away until the next one is made.
    ///
    /// # Errors
    /// As [`DaemonHandle::apply_plan`].
    pub async fn discard_plan(&self, if_match: Option<u64>) -> Result<PlanView, PlanError> {
        let answer =
            self.ask(|answer| Request::Plan(PlanRequest::Discard { if_match, answer })).await;
        answer.map_err(|gone| ChangeError::Unavailable(gone.to_string()))?
    }

    /// The last hour of a load, oldest first; None when there is no such server or device.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn history(&self, of: HistoryOf) -> Result<Option<Vec<Point>>, Unavailable> {
        self.ask(|answer| Request::Plan(PlanRequest::History { of, answer })).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Unavailable> {
        let (answer, wait) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| Unavailable::Stopping)?;
        // Who is there and does not answer has dropped the question.
        let is_gone = || self.requests.is_closed();
        wait.await.map_err(|_| if is_gone() { Unavailable::Stopping } else { Unavailable::Busy })
    }

    /// Events with an id above `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, Unavailable> {
        self.ask(|answer| Request::Events { after, limit, answer }).await
    }

    /// About `limit` flows from `place` on; the loop is not held up by it.
    ///
    /// # Errors
    /// When the daemon is stopping or too many ask; inside, when the kernel refuses.
    pub async fn flows(
        &self,
        filter: FlowFilter,
        place: FlowPlace,
        limit: usize,
    ) -> Result<Result<FlowsAt, TablesError>, Unavailable> {
        self.ask(|answer| Request::Inspect(Inspection::Flows { filter, place, limit, answer }))
            .await
    }

    /// What the program would do with a packet; neither the loop nor the tables feel it.
    ///
    /// # Errors
    /// When the daemon is stopping or too many ask; inside, when the kernel refuses.
    pub async fn explain(
        &self,
        question: Question,
    ) -> Result<Result<Explained, ExplainError>, Unavailable> {
        self.ask(|answer| Request::Inspect(Inspection::Explain { question, answer })).await
    }

    /// What the flight recorder does and has.
    ///
    /// # Errors
    /// When the daemon is stopping or too many ask; inside, when kernel or disk refuse.
    pub async fn recorder(&self) -> Result<Result<RecorderState, RecorderError>, Unavailable> {
        self.ask_recorder(|answer| RecorderQuestion::State { answer }).await
    }

    /// Makes a dump of what the flight recorder has now.
    ///
    /// # Errors
    /// As [`DaemonHandle::recorder`].
    pub async fn dump(
        &self,
        wish: DumpWish,
    ) -> Result<Result<DumpFile, RecorderError>, Unavailable> {
        self.ask(|answer| Request::Recorder(RecorderRequest::Dump { wish, answer })).await
    }

    /// The dumps on disk, oldest first.
    ///
    /// # Errors
    /// As [`DaemonHandle::recorder`].
    pub async fn dumps(&self) -> Result<Result<Vec<DumpFile>, RecorderError>, Unavailable> {
        self.ask_recorder(|answer| RecorderQuestion::List { answer }).await
    }

    /// The content of a dump; `None` when there is none of this name.
    ///
    /// # Errors
    /// As [`DaemonHandle::recorder`].
    pub async fn read_dump(
        &self,
        name: String,
    ) -> Result<Result<Option<Vec<u8>>, RecorderError>, Unavailable> {
        self.ask_recorder(|answer| RecorderQuestion::Read { name, answer }).await
    }

    async fn ask_recorder<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> RecorderQuestion,
    ) -> Result<T, Unavailable> {
        self.ask(|answer| Request::Recorder(RecorderRequest::Ask(question(answer)))).await
    }

    /// Closes a flow; gives its device's id, None when there is no such flow.
    ///
    /// # Errors
    /// When the daemon is stopping; inside, when the kernel refuses.
    pub async fn close_flow(
        &self,
        key: FlowKey,
    ) -> Result<Result<Option<u32>, TablesError>, Unavailable> {
        self.ask(|answer| Request::CloseFlow { key, answer }).await
    }

    /// What would be done if a server died now.
    ///
    /// # Errors
    /// When the daemon is stopping; inside, when there is no such server.
    pub async fn death(&self, server: Name) -> Result<Result<Plan, SpecError>, Unavailable> {
        self.ask(|answer| Request::Death { server, answer }).await
    }

    /// The last event's id, as it changes. Closed when the daemon stops.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn follow(&self) -> Result<watch::Receiver<u64>, Unavailable> {
        self.ask(|answer| Request::Follow { answer }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_not_answered_hears_whether_to_ask_again() {
        let (handle, mut queue) = DaemonHandle::new(1);
        let drops_one = async {
            drop(queue.recv().await);
            queue
        };
        let (asked, queue) = tokio::join!(handle.recorder(), drops_one);
        assert!(matches!(asked, Err(Unavailable::Busy)), "{asked:?}");
        drop(queue);
        let asked = handle.recorder().await;
        assert!(matches!(asked, Err(Unavailable::Stopping)), "{asked:?}");
    }
}
