//! The journal's writer: what is desired goes to disk beside the loop, which goes on checking and
//! failing over meanwhile.
//!
//! One write is under way at a time. Changes that come meanwhile wait, and go to disk together with
//! the next one, in their order. A change is judged when its write begins, comes into force when it
//! is on disk, and is answered then. If a death has changed the spec in between, everything is
//! judged again on top of that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::balance::PlanAsker;
use super::kernel::Kernel;
use super::owner::{Owed, Owner};
use super::tell::{Done, tell};
use super::{Applied, ChangeError, Request};
use crate::core::change::Change;
use crate::core::plan::{Plan, plan};
use crate::core::spec::Spec;
use crate::platform::store::{Last, State, Store, StoreError};

/// How long those whose change came into force at the end may look at it.
const LAST_LOOKS: Duration = Duration::from_millis(250);

/// Changes that wait for the disk at most; whoever comes then is told to try again.
const WAITING_MAX: usize = 1024;

/// Who hears what became of a wish.
#[derive(Debug)]
pub(super) enum Answer {
    /// Whoever asked for the change, who may have gone.
    To(oneshot::Sender<Result<Applied, ChangeError>>),
    /// The planner, and whoever told it to carry its plan out.
    Planner(Option<PlanAsker>),
    /// Nobody; an event that begins so tells of a failure.
    Nobody(&'static str),
}

/// Changes that are made together or not at all.
#[derive(Debug)]
pub(super) struct Wish {
    /// Each with what its events say of the reason.
    pub(super) changes: Vec<(Change, String)>,
    /// The generation that they are made on top of; None for any.
    pub(super) if_match: Option<u64>,
    pub(super) answer: Answer,
}

/// What has still to be written, and what is being written.
#[derive(Debug, Default)]
pub(super) struct Journal {
    waiting: VecDeque<Wish>,
    writing: Option<Writing>,
    /// What the disk has; with the writer while something is being written.
    last: Last,
    /// The spec holds what was measured, and what the disk does not know.
    is_behind: bool,
    /// The planner has decided something that has to be on disk before it is done.
    has_decisions: bool,
}

/// A write under way.
#[derive(Debug)]
struct Writing {
    done: JoinHandle<(Last, Result<(), StoreError>)>,
    batch: Batch,
}

/// Wishes that are written together.
#[derive(Debug)]
struct Batch {
    /// The generation on top of which they were judged.
    base: u64,
    wishes: Vec<(Wish, Result<Vec<Spec>, ChangeError>)>,
    /// The spec with all of them; what follows from it is in `plan`.
    after: Spec,
    plan: Option<Plan>,
    /// The write brings also what the disk did not know of the spec as it was.
    is_behind: bool,
}

impl Journal {
    /// Nothing waits, and the disk has this.
    pub(super) fn after(last: Last) -> Self {
        Self { last, ..Self::default() }
    }

    /// Resolves when the write under way is over; never while there is none. Nothing is lost when
    /// this is dropped before.
    pub(super) async fn written(&mut self) -> Result<(), StoreError> {
        match &mut self.writing {
            Some(writing) => {
                let (last, result) = (&mut writing.done).await.unwrap_or_else(|error| {
                    let (attempt, path) = ("finish writing", "state.json".into());
                    let source = std::io::Error::other(error);
                    (Last::default(), Err(StoreError::Io { attempt, path, source }))
                });
                self.last = last;
                result
            }
            None => std::future::pending().await,
        }
    }

    /// Whether [`Self::written`] would resolve at once.
    pub(super) fn has_written(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.done.is_finished())
    }

    /// Whether something is being written, or waits for it.
    pub(super) fn is_busy(&self) -> bool {
        self.writing.is_some()
    }

    /// Writes without anything beside it, when nothing is being written.
    pub(super) fn write_now(&mut self, store: &Store, state: &State) -> Result<(), StoreError> {
        store.save(state, &mut self.last)
    }

    /// What is in the spec by measurement is to be written.
    pub(super) fn fall_behind(&mut self) {
        self.is_behind = true;
    }

    /// What the planner has decided is to be written, then done.
    pub(super) fn take_decisions(&mut self) {
        self.has_decisions = true;
    }
}

impl<K: Kernel> Owner<K> {
    /// Takes a wish; it is answered when it is on disk and in the tables, or refused.
    pub(super) fn wish(&mut self, wish: Wish) {
        if self.journal.waiting.len() >= WAITING_MAX {
            let what = format!("{WAITING_MAX} changes wait for the disk already: try again later");
            return self.tell_wisher(wish.answer, Err(ChangeError::Unavailable(what)));
        }
        self.journal.waiting.push_back(wish);
        self.write_next();
    }

    /// Begins the next write, if there is something to write and none is under way.
    pub(super) fn write_next(&mut self) {
        if self.journal.writing.is_some() {
            return;
        }
        let mut batch = self.judge();
        let changes = batch.wishes.iter().any(|(_, judged)| judged.is_ok());
        let plans = changes || std::mem::take(&mut self.journal.has_decisions);
        // What the planner makes of it goes with it, so that one commit does both.
        batch.plan = plans.then(|| plan(&batch.after, &self.context()));
        let decides = batch.plan.as_ref().is_some_and(|plan| !plan.decisions.is_empty());
        if !changes && !decides && !self.journal.is_behind {
            return;
        }
        batch.is_behind = std::mem::take(&mut self.journal.is_behind);
        self.journal.has_decisions = false;
        let spec = batch.plan.as_ref().map_or(&batch.after, |plan| &plan.spec).clone();
        let state = self.state(spec);
        let (store, mut last) = (Arc::clone(&self.store), std::mem::take(&mut self.journal.last));
        let done = tokio::task::spawn_blocking(move || {
            let result = store.save(&state, &mut last);
            (last, result)
        });
        self.journal.writing = Some(Writing { done, batch });
    }

    /// Judges all that waits, each wish on top of those before it. Wishes that change nothing while
    /// nothing is owed are answered at once, unless they rest on others.
    fn judge(&mut self) -> Batch {
        let mut after = self.spec.clone();
        let mut wishes: Vec<(Wish, Result<Vec<Spec>, ChangeError>)> = Vec::new();
        while let Some(wish) = self.journal.waiting.pop_front() {
            let judged = self.judge_one(&after, &wish);
            let is_new = judged.as_ref().is_ok_and(|steps| !steps.is_empty());
            if let Some(last) = judged.as_ref().ok().and_then(|steps| steps.last()) {
                after = last.clone();
            }
            // Also what the disk holds of it already, and should not.
            let rests_on_others =
                self.journal.is_behind || wishes.iter().any(|(_, judged)| judged.is_ok());
            if is_new || rests_on_others {
                wishes.push((wish, judged));
                continue;
            }
            match judged {
                // Nothing to do, but not nothing to answer for: what says so may be owed still.
                Ok(_) if self.owed.journal.is_some() => {
                    self.journal.is_behind = true;
                    wishes.push((wish, Ok(Vec::new())));
                }
                Ok(_) => {
                    self.pay_tables();
                    let outcome = self.outcome(&wish, Vec::new());
                    self.tell_wisher(wish.answer, outcome);
                }
                Err(error) => self.tell_wisher(wish.answer, Err(error)),
            }
        }
        Batch { base: self.spec.generation, wishes, after, plan: None, is_behind: false }
    }

    /// The specs after each change of a wish that changes something.
    fn judge_one(&self, spec: &Spec, wish: &Wish) -> Result<Vec<Spec>, ChangeError> {
        let current = spec.generation;
        if wish.if_match.is_some_and(|seen| seen != current) {
            return Err(ChangeError::Stale { current });
        }
        let mut steps: Vec<Spec> = Vec::new();
        for (change, _) in &wish.changes {
            let before = steps.last().unwrap_or(spec);
            steps.push(before.apply(change, &self.context()).map_err(ChangeError::Refused)?);
        }
        let is_new = steps.last().is_some_and(|last| last.generation != current);
        Ok(if is_new { steps } else { Vec::new() })
    }

    /// What is to be written for a spec.
    pub(super) fn state(&mut self, spec: Spec) -> State {
        let announced = self.announcer.prepare(&spec);
        State { seed: self.settings.seed.clone(), spec, announced }
    }

    /// Takes in the end of a write: what was written comes into force.
    pub(super) async fn take_written(&mut self, result: Result<(), StoreError>) {
        let Some(Writing { batch, .. }) = self.journal.writing.take() else { return };
        let owed = self.owed != Owed::default();
        match result {
            Ok(()) => self.owed.journal = None,
            // What is written but may be lost again is what a start would find: owed, not refused.
            Err(error @ StoreError::Unsynced { .. }) => self.owe_journal(error.to_string()),
            Err(error) => return self.give_up(batch, &error.to_string()).await,
        }
        self.announcer.journalled();
        if batch.base == self.spec.generation {
            self.bring_into_force(batch).await;
            self.tell_paid(owed);
        } else {
            // Somebody died meanwhile. In their order, before those that came later.
            for (wish, _) in batch.wishes.into_iter().rev() {
                self.journal.waiting.push_front(wish);
            }
            self.journal.has_decisions = true;
            // What the disk has may be more than what comes of it now.
            self.journal.is_behind = true;
        }
        // What was measured meanwhile may speak against what has just come into force.
        self.replan().await;
    }

    /// The disk has it: so do the tables, and whoever wished it hears of it.
    async fn bring_into_force(&mut self, batch: Batch) {
        let Batch { wishes, after, plan, .. } = batch;
        let mut before = self.spec.clone();
        let mut answers = Vec::new();
        for (wish, judged) in wishes {
            let steps = match judged {
                Ok(steps) => steps,
                Err(error) => {
                    self.tell_wisher(wish.answer, Err(error));
                    continue;
                }
            };
            let mut events = Vec::new();
            for ((change, why), next) in wish.changes.iter().zip(steps) {
                let now_ms = self.now_ms();
                let done = Done { before: &before, after: &next, change, why, now_ms };
                events.extend(tell(&mut self.events, &done));
                self.owe_client(change);
                before = next;
            }
            answers.push((wish, events));
        }
        if let Some(plan) = plan {
            self.carry_out(after, plan).await;
        }
        for (wish, events) in answers {
            let outcome = self.outcome(&wish, events);
            self.tell_wisher(wish.answer, outcome);
        }
    }

    /// The disk did not take it. Wishes are refused; what was measured takes effect all the same.
    async fn give_up(&mut self, batch: Batch, what: &str) {
        let plan = plan(&self.spec, &self.context());
        let decides = !plan.decisions.is_empty();
        let has_died = self.spec.generation != batch.base;
        if decides || batch.is_behind || has_died || self.owed.journal.is_some() {
            self.owe_journal(what.to_owned());
        }
        for (wish, judged) in batch.wishes {
            let outcome = match judged {
                Ok(steps) if steps.is_empty() => self.outcome(&wish, Vec::new()),
                _ => Err(ChangeError::Unavailable(what.to_owned())),
            };
            self.tell_wisher(wish.answer, outcome);
        }
        self.note(&plan);
        if decides {
            self.carry_out(self.spec.clone(), plan).await;
        }
        if !self.journal.waiting.is_empty() {
            self.write_next();
        }
    }

    fn tell_wisher(&mut self, answer: Answer, outcome: Result<Applied, ChangeError>) {
        match answer {
            Answer::To(asker) => {
                let _ = asker.send(outcome);
            }
            Answer::Planner(asker) => self.plan_has_ended(asker, outcome),
            Answer::Nobody(failure) => {
                if let Err(error) = outcome
                    && !error.is_made()
                {
                    self.error(format!("{failure}: {error}"));
                }
            }
        }
    }

    /// Waits until nothing is being written any more: at a start and at a stop.
    pub(super) async fn until_written(&mut self) {
        while self.journal.is_busy() {
            let result = self.journal.written().await;
            self.take_written(result).await;
        }
    }

    /// The end: whoever has been told nothing yet is told what became of his change, and may still
    /// look at it, which is part of the answer. All else is refused by nobody being there.
    pub(super) async fn finish(mut self, mut requests: mpsc::Receiver<Request>) {
        if !self.journal.is_busy() {
            return;
        }
        self.until_written().await;
        let end = tokio::time::Instant::now() + LAST_LOOKS;
        while let Ok(Some(request)) = tokio::time::timeout_at(end, requests.recv()).await {
            if matches!(request, Request::Snapshot { .. }) {
                self.answer(request);
            }
        }
    }
}
