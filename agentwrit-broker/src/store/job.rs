//! A request to the writer: the job and the channel for its result.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use agentwrit_verify::UnixTime;
use tokio::sync::oneshot;

use super::{StoreError, Tx, wants::Wants};

/// A job of any result type.
pub(super) trait Job: Send {
    /// Takes the job on. Returns false if the caller no longer waits for it.
    fn begin(&self) -> bool;

    /// Returns true if the caller no longer waits for the result.
    fn is_abandoned(&self) -> bool;

    /// Takes the keys of the rows that the job will read.
    fn take_wants(&mut self) -> Wants;

    /// Runs the job, which may have run in a transaction that failed. Returns false if its changes must be undone.
    fn run(&mut self, tx: &mut Tx<'_>, writes: Writes) -> bool;

    /// Sends the job's result if the commit succeeded, otherwise the error of the commit.
    fn respond(self: Box<Self>, commit: Result<(), StoreError>);
}

impl fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// Time of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobTime {
    pub(super) now: UnixTime,
    /// Latest time that it may be.
    pub(super) latest: UnixTime,
}

/// When the rows of a job are written that are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// With those of the other jobs, before the commit.
    Together,
    /// At the end of the job: if the store rejects one of them, this job alone fails.
    Apart,
}

/// Decides whether a job is taken on or given up, whichever happens first.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Returns true for the first call.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// A job and its result.
pub(super) struct PendingJob<F, T, E> {
    wants: Wants,
    job: F,
    turn: Turn,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> PendingJob<F, T, E> {
    pub(super) fn new(wants: Wants, job: F, turn: Turn, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self { wants, job, turn, outcome: None, reply }
    }
}

impl<F, T, E> Job for PendingJob<F, T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Clone + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn begin(&self) -> bool {
        !self.is_abandoned() && self.turn.take()
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn take_wants(&mut self) -> Wants {
        std::mem::take(&mut self.wants)
    }

    fn run(&mut self, tx: &mut Tx<'_>, writes: Writes) -> bool {
        let job = self.job.clone();
        // A panicking job is undone, so no half-made state can be seen afterwards.
        let outcome = catch_unwind(AssertUnwindSafe(|| job(tx)))
            .unwrap_or_else(|_| Err(StoreError::internal("a job panicked").into()));
        if outcome.is_ok() && writes == Writes::Apart {
            tx.write_held_back();
        }
        let outcome = match (outcome, tx.failed_write()) {
            (Ok(_), Some(overlooked)) => Err(overlooked.into()),
            (outcome, _) => outcome,
        };
        let keep = outcome.is_ok() && !tx.is_undone();
        self.outcome = Some(outcome);
        keep
    }

    fn respond(self: Box<Self>, commit: Result<(), StoreError>) {
        // Also an error may depend on the changes of an earlier job, which a failed commit undid.
        let outcome = match (commit, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(StoreError::internal("a job did not run").into()),
            (Err(error), _) => Err(error.into()),
        };
        if self.reply.send(outcome).is_err() {
            tracing::debug!(component = "store", "the caller did not wait for a committed job");
        }
    }
}
