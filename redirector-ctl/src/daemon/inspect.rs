//! Questions that need neither the owner's state nor its time: flows one by one, and what the
//! program would do with a packet. A thread of its own answers them over read-only views of the
//! tables.

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

use crate::platform::bpf::{ExplainError, Explained, Explainer, Question};
use crate::platform::clock::monotonic_ns;
use crate::platform::tables::{FlowFilter, FlowPage, FlowPlace, FlowView, TablesError};

/// Questions waiting at most; whoever comes then is told to ask again.
const WAITING_MAX: usize = 128;

/// A page of flows and the clock by which their last packets are told: ns of the monotonic clock.
pub type FlowsAt = (FlowPage, u64);

/// A question, with where the answer goes.
#[derive(Debug)]
pub(crate) enum Inspection {
    /// Flows, from a place on.
    Flows {
        filter: FlowFilter,
        place: FlowPlace,
        limit: usize,
        answer: oneshot::Sender<Result<FlowsAt, TablesError>>,
    },
    /// What the program would do with a packet.
    Explain { question: Question, answer: oneshot::Sender<Result<Explained, ExplainError>> },
}

/// Starts the thread; it ends when nobody can ask any more.
///
/// # Errors
/// When no thread can be started.
pub(super) fn start(
    view: FlowView,
    maps_dir: PathBuf,
) -> std::io::Result<mpsc::Sender<Inspection>> {
    let (questions, queue) = mpsc::channel(WAITING_MAX);
    let inspector = Inspector { view, maps_dir, explainer: None };
    std::thread::Builder::new().name("inspector".to_owned()).spawn(move || inspector.run(queue))?;
    Ok(questions)
}

struct Inspector {
    view: FlowView,
    maps_dir: PathBuf,
    /// Loaded with the first question, because most daemons are never asked one.
    explainer: Option<Explainer>,
}

impl Inspector {
    fn run(mut self, mut queue: mpsc::Receiver<Inspection>) {
        while let Some(question) = queue.blocking_recv() {
            // Whoever asked may have gone: then nobody wants the answer, and that is fine.
            match question {
                Inspection::Flows { filter, place, limit, answer } => {
                    let page = self.view.page(&filter, place, limit);
                    let _ = answer.send(page.map(|page| (page, monotonic_ns())));
                }
                Inspection::Explain { question, answer } => {
                    let _ = answer.send(self.explain(&question));
                }
            }
        }
    }

    fn explain(&mut self, question: &Question) -> Result<Explained, ExplainError> {
        if self.explainer.is_none() {
            self.explainer = Some(Explainer::load(&self.maps_dir)?);
        }
        match &mut self.explainer {
            Some(explainer) => explainer.explain(question, &self.view),
            None => Err(ExplainError::NotLoaded),
        }
    }
}
