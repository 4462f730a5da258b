//! The thread that writes: many jobs in one commit.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    StoreError,
    after_commit::AfterCommit,
    batch::Batch,
    health::Health,
    job::{Job, JobTime, Writes},
    rows::Rows,
    transaction::Tx,
    wants::Wants,
};

/// Time for which a transaction accepts jobs before it commits.
const LONGEST_BATCH: Duration = Duration::from_millis(20);
/// Number of jobs in a transaction in which each has a savepoint of its own. PostgreSQL remembers 64 of them quickly.
const LARGEST_APART: usize = 32;

#[derive(Debug)]
pub(super) enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// The connection of a store that writes.
pub(super) trait Connection: Send + 'static {
    /// Statements of its current transaction.
    type Rows<'c>: Rows
    where
        Self: 'c;

    /// True if other brokers may write too. Then rows are known until the commit only, and those that jobs want are read before
    /// the jobs run, because a read is a round trip.
    const IS_SHARED: bool;

    /// Begins a transaction and `batch`. Reads the rows that its first jobs want.
    fn begin(&mut self, wants: &Wants, batch: &mut Batch) -> Result<(), StoreError>;

    /// Reads the rows that jobs want which join the transaction.
    fn fetch(&mut self, wants: &Wants, batch: &mut Batch) -> Result<(), StoreError>;

    /// Returns the statements of the transaction.
    fn rows(&self) -> Result<Self::Rows<'_>, StoreError>;

    /// Returns the time for the next job.
    fn now(&self) -> JobTime;

    /// Writes what `batch` holds back, and makes the transaction durable.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Rolls a failed transaction back, so that the next one starts from the durable state.
    fn roll_back(&mut self) -> Result<(), StoreError>;

    /// Does what should not delay a result, after the results were returned. `idle` if no job waits.
    fn maintain(&mut self, idle: bool);

    /// Closes the connection.
    fn close(self);
}

#[derive(Debug)]
pub(super) struct Writer<C> {
    pub(super) connection: C,
    pub(super) queue: mpsc::Receiver<Message>,
    /// Jobs that were taken from the queue and wait for the next transaction.
    pub(super) waiting: Vec<Box<dyn Job>>,
    /// Largest number of jobs in a batch.
    pub(super) limit: usize,
    pub(super) batch: Batch,
    pub(super) health: Arc<Health>,
}

/// The jobs of one commit.
#[derive(Default)]
struct Jobs {
    ran: Vec<Box<dyn Job>>,
    follow_ups: AfterCommit,
    close: Option<oneshot::Sender<()>>,
}

impl<C: Connection> Writer<C> {
    pub(super) fn start(self) -> io::Result<()> {
        thread::Builder::new().name("agentwrit-store".to_owned()).spawn(move || self.run()).map(|_| ())
    }

    fn run(mut self) {
        let mut close = None;
        while close.is_none() || !self.waiting.is_empty() {
            if self.waiting.is_empty() {
                match self.queue.blocking_recv() {
                    Some(Message::Job(job)) => self.waiting.extend(Some(job).filter(|job| job.begin())),
                    Some(Message::Close(closed)) => {
                        close = Some(closed);
                        break;
                    }
                    None => break,
                }
            }
            close = self.serve(close);
            if close.is_none() {
                self.connection.maintain(self.queue.is_empty());
            }
        }
        self.finish(close);
    }

    /// Runs the waiting jobs, and those behind them in the queue, in one transaction, then returns their results. `close` is
    /// given if no more of them are to be taken.
    fn serve(&mut self, close: Option<oneshot::Sender<()>>) -> Option<oneshot::Sender<()>> {
        let mut jobs = Jobs { close, ..Jobs::default() };
        let waiting = self.take_waiting(&mut jobs);
        if waiting.is_empty() {
            return jobs.close;
        }
        let done = self.run_jobs(&mut jobs, waiting).and_then(|()| self.connection.commit(&self.batch));
        let Jobs { ran, follow_ups, close } = jobs;
        match self.settle(done, follow_ups, ran.len()) {
            // The store may have rejected the rows of one job.
            Err(StoreError::Internal { .. }) => self.repeat_apart(ran),
            done => self.respond(ran, &done),
        }
        close
    }

    /// Runs the jobs of a batch again, none of which was committed, so that only those fail whose own rows are rejected.
    fn repeat_apart(&mut self, jobs: Vec<Box<dyn Job>>) {
        let mut waiting = jobs.into_iter().filter(|job| !job.is_abandoned()).peekable();
        while waiting.peek().is_some() {
            let mut jobs = Jobs::default();
            let done = self.run_apart(&mut jobs, &mut waiting).and_then(|()| self.connection.commit(&self.batch));
            let done = self.settle(done, jobs.follow_ups, jobs.ran.len());
            self.respond(jobs.ran, &done);
        }
    }

    fn run_apart(
        &mut self,
        jobs: &mut Jobs,
        waiting: &mut impl Iterator<Item = Box<dyn Job>>,
    ) -> Result<(), StoreError> {
        let mut outcome = self.connection.begin(&Wants::none(), &mut self.batch);
        let keys_cursor = self.batch.head.keys_cursor;
        for mut job in waiting.take(LARGEST_APART) {
            if outcome.is_ok() {
                outcome =
                    self.run_job(job.as_mut(), Writes::Apart).map(|follow_ups| jobs.follow_ups.append(follow_ups));
            }
            jobs.ran.push(job);
            if outcome.is_ok() && self.batch.head.keys_cursor != keys_cursor {
                break;
            }
        }
        outcome
    }

    /// Brings memory in step with a transaction that was committed, or undoes one that failed.
    fn settle(
        &mut self,
        done: Result<(), StoreError>,
        follow_ups: AfterCommit,
        jobs: usize,
    ) -> Result<bool, StoreError> {
        match done {
            Ok(()) => {
                let wrote = self.batch.wrote;
                self.batch.commit(C::IS_SHARED);
                self.health.count(self.batch.head.trail.chain.sequence);
                follow_ups.run();
                Ok(wrote)
            }
            Err(error) => {
                self.batch = Batch::default();
                // Before the responses: what they hold is given back when they are dropped.
                drop(follow_ups);
                self.recover(&error, jobs);
                Err(error)
            }
        }
    }

    /// Returns the results of jobs. `done` tells whether their transaction wrote.
    fn respond(&self, jobs: Vec<Box<dyn Job>>, done: &Result<bool, StoreError>) {
        let wrote = done.as_ref().map_or(true, |wrote| *wrote);
        let done = done.clone().map(|_| ());
        if wrote {
            self.health.record(&done);
        }
        for job in jobs {
            job.respond(done.clone());
        }
    }

    /// Runs `waiting`, and the jobs that arrive in the meantime.
    fn run_jobs(&mut self, jobs: &mut Jobs, waiting: Vec<Box<dyn Job>>) -> Result<(), StoreError> {
        let mut waiting = waiting;
        let mut outcome = self.connection.begin(&wants_of::<C>(&mut waiting), &mut self.batch);
        let started = Instant::now();
        while !waiting.is_empty() {
            let keys_cursor = self.batch.head.keys_cursor;
            let mut rest = waiting.into_iter();
            while let Some(mut job) = rest.next() {
                // Once the transaction has failed, the waiting jobs fail with it instead of one by one.
                if outcome.is_ok() {
                    outcome = self
                        .run_job(job.as_mut(), Writes::Together)
                        .map(|follow_ups| jobs.follow_ups.append(follow_ups));
                }
                jobs.ran.push(job);
                if outcome.is_ok() && self.batch.head.keys_cursor != keys_cursor {
                    // The next job must sign with the keys that this one leaves in force, which are in memory after the commit.
                    self.waiting.extend(rest);
                    return Ok(());
                }
            }
            let over = jobs.close.is_some() || started.elapsed() >= LONGEST_BATCH;
            waiting = if over { Vec::new() } else { self.take_waiting(jobs) };
            if outcome.is_ok() && !waiting.is_empty() {
                outcome = self.connection.fetch(&wants_of::<C>(&mut waiting), &mut self.batch);
            }
        }
        outcome
    }

    fn run_job(&mut self, job: &mut dyn Job, writes: Writes) -> Result<AfterCommit, StoreError> {
        let now = self.connection.now();
        let rows = self.connection.rows()?;
        let mut tx = Tx::new(&rows, &mut self.batch, now);
        let keep = job.run(&mut tx, writes);
        tx.finish(keep)
    }

    /// Takes the jobs that wait, as far as they fit into the batch.
    fn take_waiting(&mut self, jobs: &mut Jobs) -> Vec<Box<dyn Job>> {
        let mut taken: Vec<Box<dyn Job>> = std::mem::take(&mut self.waiting);
        taken.retain(|job| !job.is_abandoned());
        taken.reserve(self.queue.len().min(self.limit));
        while jobs.close.is_none() && jobs.ran.len().saturating_add(taken.len()) < self.limit {
            match self.queue.try_recv() {
                Ok(Message::Job(job)) => taken.extend(Some(job).filter(|job| job.begin())),
                Ok(Message::Close(closed)) => {
                    jobs.close = Some(closed);
                    break;
                }
                Err(_) => break,
            }
        }
        taken
    }

    fn recover(&mut self, error: &StoreError, waiting: usize) {
        tracing::error!(component = "store", %error, waiting, "a transaction failed");
        if let Err(error) = self.connection.roll_back() {
            tracing::error!(component = "store", %error, "a failed transaction could not be rolled back");
        }
    }

    fn finish(self, close: Option<oneshot::Sender<()>>) {
        self.connection.close();
        drop(self.queue);
        if let Some(closed) = close {
            // An error means that the caller no longer waits.
            closed.send(()).unwrap_or_default();
        }
    }
}

fn wants_of<C: Connection>(jobs: &mut [Box<dyn Job>]) -> Wants {
    let mut wants = Wants::none();
    if !C::IS_SHARED {
        return wants;
    }
    for job in jobs {
        wants.extend(job.take_wants());
    }
    wants
}
