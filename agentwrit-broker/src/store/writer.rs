//! The thread that writes: many jobs in one commit.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{StoreError, Tx, audit_log::TrailHead, files::Claim, job::Job, transaction::AfterCommit};

/// Time for which a transaction accepts jobs before it commits.
const LONGEST_BATCH: Duration = Duration::from_millis(20);
/// Number of pages in the write-ahead log that start a checkpoint: while no job waits, and in any case.
const IDLE_CHECKPOINT_PAGES: i64 = 1000;
const CHECKPOINT_PAGES: i64 = 4000;

#[derive(Debug)]
pub(super) enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    /// End of the audit trail as of the last commit.
    pub(super) head: TrailHead,
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) batch: usize,
    pub(super) health: Arc<Health>,
    /// Held as long as the connection is.
    pub(super) claim: Arc<Claim>,
}

/// The jobs of one commit.
struct Batch {
    jobs: Vec<Box<dyn Job>>,
    head: TrailHead,
    wrote: bool,
    follow_ups: AfterCommit,
    close: Option<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) fn start(self) -> io::Result<()> {
        thread::Builder::new().name("agentwrit-store".to_owned()).spawn(move || self.run()).map(|_| ())
    }

    fn run(mut self) {
        let mut close = None;
        while let Some(message) = self.queue.blocking_recv() {
            close = match message {
                Message::Job(job) => self.serve(job),
                Message::Close(closed) => Some(closed),
            };
            if close.is_some() {
                break;
            }
            self.checkpoint_if_due();
        }
        self.finish(close);
    }

    /// Runs `first` and the jobs that wait behind it in one transaction, then returns their results.
    fn serve(&mut self, first: Box<dyn Job>) -> Option<oneshot::Sender<()>> {
        let mut batch =
            Batch { jobs: Vec::new(), head: self.head, wrote: false, follow_ups: AfterCommit::default(), close: None };
        let done = self.run_batch(&mut batch, first).and_then(|()| self.statement("COMMIT"));
        match &done {
            Ok(()) => {
                self.head = batch.head;
                batch.follow_ups.run();
            }
            Err(error) => self.recover(error, batch.jobs.len()),
        }
        if batch.wrote || done.is_err() {
            self.health.record(&done);
        }
        for job in batch.jobs {
            job.respond(done.clone());
        }
        batch.close
    }

    fn run_batch(&mut self, batch: &mut Batch, first: Box<dyn Job>) -> Result<(), StoreError> {
        let mut outcome = self.statement("BEGIN IMMEDIATE");
        let started = Instant::now();
        let mut next = Some(first);
        while let Some(mut job) = next {
            if !job.is_abandoned() {
                // Once the transaction has failed, the waiting jobs fail with it instead of one by one.
                if outcome.is_ok() {
                    outcome = self.run_job(batch, job.as_mut());
                }
                batch.jobs.push(job);
            }
            let full = batch.jobs.len() >= self.batch || started.elapsed() >= LONGEST_BATCH;
            next = if full { None } else { self.take_waiting(batch) };
        }
        outcome
    }

    /// Runs one job. An error means that the whole transaction is lost.
    fn run_job(&self, batch: &mut Batch, job: &mut dyn Job) -> Result<(), StoreError> {
        let mut tx = Tx::new(&self.connection, batch.head);
        let keep = job.run(&mut tx);
        // Some failures, such as a full disk, make SQLite undo the transaction, and with it every job before this one.
        if self.connection.is_autocommit() {
            let ended_early = || StoreError::internal("the transaction ended early");
            return Err(tx.failed_write().unwrap_or_else(ended_early));
        }
        if keep {
            batch.head = tx.head;
            batch.follow_ups.append(tx.take_follow_ups());
            batch.wrote |= tx.keep()?;
            return Ok(());
        }
        tx.undo()
    }

    fn take_waiting(&mut self, batch: &mut Batch) -> Option<Box<dyn Job>> {
        match self.queue.try_recv().ok()? {
            Message::Job(job) => Some(job),
            Message::Close(closed) => {
                batch.close = Some(closed);
                None
            }
        }
    }

    /// Rolls a failed transaction back, so that the next one starts from the durable state.
    fn recover(&self, error: &StoreError, waiting: usize) {
        tracing::error!(component = "store", %error, waiting, "a transaction failed");
        if !self.connection.is_autocommit()
            && let Err(error) = self.statement("ROLLBACK")
        {
            tracing::error!(component = "store", %error, "a failed transaction could not be rolled back");
        }
    }

    /// Checkpoints a long write-ahead log, after the results were returned.
    fn checkpoint_if_due(&self) {
        let limit = if self.queue.is_empty() { IDLE_CHECKPOINT_PAGES } else { CHECKPOINT_PAGES };
        let due = self.log_pages("PRAGMA wal_checkpoint(NOOP)").is_ok_and(|pages| pages >= limit);
        if due && let Err(error) = self.log_pages("PRAGMA wal_checkpoint(PASSIVE)") {
            tracing::warn!(component = "store", %error, "the write-ahead log could not be checkpointed");
        }
    }

    /// Returns the number of pages that are in the write-ahead log only.
    fn log_pages(&self, checkpoint: &str) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached(checkpoint)?;
        Ok(statement.query_row([], |row| Ok(row.get::<_, i64>(1)?.saturating_sub(row.get(2)?)))?)
    }

    fn statement(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn finish(self, close: Option<oneshot::Sender<()>>) {
        if let Err(error) = self.log_pages("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(component = "store", %error, "the write-ahead log could not be checkpointed");
        }
        drop(self.connection);
        drop(self.queue);
        drop(self.claim);
        if let Some(closed) = close {
            // An error means that the caller no longer waits.
            closed.send(()).unwrap_or_default();
        }
    }
}

/// Time for which the result of a write counts as the present state.
const FRESH: Duration = Duration::from_secs(1);

/// Result of the last attempt to write.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: Mutex<Option<(Instant, Result<(), StoreError>)>>,
}

impl Health {
    pub(super) fn record(&self, outcome: &Result<(), StoreError>) {
        *self.last() = Some((Instant::now(), outcome.clone()));
    }

    /// Returns the result, if it is from the last second.
    pub(super) fn recent(&self) -> Option<Result<(), StoreError>> {
        self.last().as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, outcome)| outcome.clone())
    }

    pub(super) fn is_writable(&self) -> bool {
        self.last().as_ref().is_none_or(|(_, outcome)| outcome.is_ok())
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Result<(), StoreError>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
