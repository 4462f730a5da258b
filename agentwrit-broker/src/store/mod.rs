//! The broker's records, and the only place with SQL: what all stores share is here, each store's own in a module of its own.
//!
//! 1. The result of [`Store::transact`] is durable: it is returned after the commit.
//! 2. One thread writes. It runs all waiting jobs in one transaction, commits once, then returns all results.
//! 3. A job that fails or panics changes nothing and does not affect the other jobs. If the store rejects the rows of a
//!    batch, its jobs are run again, each with a savepoint of its own: that is why they are `Clone`.
//! 4. After a failed commit every caller gets an error, and no change remains, in the store or in memory. A commit whose
//!    outcome can't be learnt is [`StoreError::OutcomeUnknown`]; what it changed reaches memory as another broker's commit.
//!    A job that ignores a failed write is undone too.
//! 5. The queue is bounded: [`StoreError::Busy`] when it is full.
//! 6. An audit event is appended in the transaction that it is about. The trail is never scanned.
//! 7. A store implements [`Reader`], which jobs use, the statements of [`Tx`], and the connections that `writer` and `readers`
//!    use.
//!
//! The store has no rule of the domain: it reads facts and makes atomic changes.

mod acceptance;
mod after_commit;
mod agents;
mod apps;
mod audit_lists;
mod audit_log;
mod audit_query;
mod batch;
mod codec;
mod copied_tables;
mod error;
mod facts;
mod filter;
mod follow;
mod head;
mod health;
mod job;
mod keys;
mod launch_tokens;
mod lost_history;
mod meta;
mod migrate;
mod name;
mod names;
mod pending;
mod postgres;
mod prune;
mod reader;
mod readers;
mod revocations;
mod rows;
mod sqlite;
#[cfg(test)]
pub(crate) mod tests;
mod tokens;
mod trail;
mod transaction;
mod trust_rules;
mod value;
mod verifiers;
mod wants;
mod writer;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentwrit_verify::{
    Clock, SystemClock, UnixTime,
    audit::{ChainBreak, ChainBreakId},
};
pub use audit_query::{AuditPage, AuditQuery};
pub use error::{OpenError, StoreError};
pub use filter::{AgentFilter, TokenFilter, Work};
pub(crate) use follow::{Confirmed, KeysVersion, LogEnd, Mirror, NewLog, When};
pub use lost_history::{LostHistory, LostHistoryOptions, OnLoss, Reaction};
pub(crate) use migrate::{Copied, MigrationError, migrate};
pub(crate) use postgres::{JoinError, apply_schema, has_schema, join, recorded_settings, schema_sql};
pub use prune::Pruned;
pub use reader::Reader;
pub(crate) use readers::Caller;
pub use revocations::{FeedRow, RevocationRow};
pub(crate) use sqlite::{DatabaseState, LockedFile, canonical, database_files, directory_of, probe, probe_keys};
pub use tokens::{EndedTokens, TokenPage};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    time::timeout,
};
pub use transaction::Tx;
pub(crate) use verifiers::{FleetMirror, KeptReports, StoredFleet, StoredReport};
pub use wants::Wants;

use self::{
    batch::Batch,
    health::Health,
    job::{PendingJob, Turn},
    readers::{ReadConnection, Readers},
    writer::{Message, Writer},
};
use crate::domain::InstanceState;

/// No limit on the number of rows that are read.
pub(crate) const ALL_ROWS: u64 = i64::MAX.unsigned_abs();

/// Shorter than the 30 s after which a client or a balancer may give up.
const OUTCOME_LIMIT: Duration = Duration::from_secs(25);
/// Time for which a job waits for its turn while the writer waits for a database that does not respond.
const TURN_LIMIT: Duration = Duration::from_secs(5);
/// Longest timeout of the runtime.
const NO_LIMIT: Duration = Duration::MAX;

/// The store. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: mpsc::Sender<Message>,
    readers: Readers,
    health: Arc<Health>,
    probing: Mutex<()>,
    accepted_breaks: Vec<ChainBreak>,
    clock: Arc<dyn Clock>,
    /// `None` in a store of one broker.
    shared: Option<SharedParts>,
    /// Time for which a job waits for its turn.
    turn_limit: Duration,
}

/// Parts of a store that several brokers use.
#[derive(Debug)]
struct SharedParts {
    /// Follows what other brokers commit.
    follower: postgres::Follower,
    /// Stores reports of verifiers for all brokers.
    reports: postgres::Reports,
    lost_history: watch::Receiver<Option<LostHistory>>,
}

/// Options for opening a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Breaks of the audit trail that the operator accepts.
    pub accept_broken_audit: Vec<ChainBreakId>,
    /// Largest number of jobs that wait for the writer.
    pub queue: usize,
    /// Largest number of jobs that share a commit.
    pub batch: usize,
    /// Largest number of reads that run at the same time.
    pub readers: usize,
    /// The clock of this machine.
    pub clock: Arc<dyn Clock>,
    /// Time for which clients wait while the outcome of a commit is looked up, on PostgreSQL.
    pub outcome_limit: Duration,
    /// How commits that the database lost are noticed, on PostgreSQL.
    pub lost_history: LostHistoryOptions,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            accept_broken_audit: Vec::new(),
            queue: 1024,
            batch: 256,
            readers: 2,
            clock: Arc::new(SystemClock),
            outcome_limit: OUTCOME_LIMIT,
            lost_history: LostHistoryOptions::default(),
        }
    }
}

/// A page of a list: up to `limit` entries after a cursor, without the first `offset` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Largest number of entries.
    pub limit: u64,
    /// Number of entries to skip.
    pub offset: u64,
    /// Cursor of the entry before the page.
    pub after: u64,
}

impl Store {
    /// Opens the database at `path`. Creates a missing one.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which names the fault and the remedy.
    #[expect(clippy::needless_pass_by_value, reason = "callers build the options in place")]
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let (accept, clock) = (&options.accept_broken_audit, Arc::clone(&options.clock));
        let database = sqlite::Database::open(path, options.readers.max(1), accept, Arc::clone(&clock))?;
        let sqlite::Database { writer, readers, accepted_breaks } = database;
        Self::start(writer, readers, accepted_breaks, clock, None, &options)
            .map_err(|error| OpenError::io(path, &error))
    }

    /// Connects to the PostgreSQL database at `url`. Creates the tables of an empty one. Blocks the thread, which must be
    /// none of an asynchronous runtime's own.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which names the fault and the remedy.
    #[expect(clippy::needless_pass_by_value, reason = "callers build the options in place")]
    pub fn connect(url: &str, options: StoreOptions) -> Result<Self, OpenError> {
        let database = postgres::Database::connect(url, &options)?;
        let postgres::Database { writer, readers, accepted_breaks, clock, follower, reports, lost_history } = database;
        let shared = Some(SharedParts { follower, reports, lost_history });
        let started = Self::start(writer, readers, accepted_breaks, clock, shared, &options);
        started.map_err(|error| StoreError::Unavailable { cause: error.to_string() }.into())
    }

    fn start(
        connection: impl writer::Connection,
        readers: Vec<Box<dyn ReadConnection>>,
        accepted_breaks: Vec<ChainBreak>,
        clock: Arc<dyn Clock>,
        shared: Option<SharedParts>,
        options: &StoreOptions,
    ) -> io::Result<Self> {
        let health = Arc::new(Health::default());
        let (queue, jobs) = mpsc::channel(options.queue.max(1));
        let limit = options.batch.max(1);
        let batch = Batch::default();
        Writer { connection, queue: jobs, waiting: Vec::new(), limit, batch, health: Arc::clone(&health) }.start()?;
        let readers = Readers::new(readers);
        // A transaction on a local file ends, or fails, by itself.
        let turn_limit = if shared.is_some() { TURN_LIMIT } else { NO_LIMIT };
        let probing = Mutex::new(());
        let inner = Inner { queue, readers, health, probing, accepted_breaks, clock, shared, turn_limit };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs `job` on the writer. Returns its result once its changes are durable. A failed job changes nothing.
    ///
    /// A job whose caller no longer waits when its turn comes is dropped. A job may run twice, the second time after nothing of
    /// the first was kept.
    ///
    /// # Errors
    ///
    /// The job's own error, or a [`StoreError`] converted to it. Nothing was changed, except after
    /// [`StoreError::OutcomeUnknown`].
    pub async fn transact<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Clone + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.transact_with(Wants::none(), job).await
    }

    /// Does the same as [`transact`](Self::transact), faster if `wants` names the rows that `job` will read.
    ///
    /// # Errors
    ///
    /// The same as those of [`transact`](Self::transact).
    pub async fn transact_with<T, E, F>(&self, wants: Wants, job: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Clone + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let ((reply, mut response), turn) = (oneshot::channel(), Turn::default());
        let job = Box::new(PendingJob::new(wants, job, turn.clone(), reply));
        self.inner.queue.try_send(Message::Job(job)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::closed(),
        })?;
        let response = match timeout(self.inner.turn_limit, &mut response).await {
            Ok(response) => response,
            Err(_) if turn.take() => {
                return Err(StoreError::Unavailable { cause: "the writer waits".to_owned() }.into());
            }
            Err(_) => response.await,
        };
        response.unwrap_or_else(|_| Err(StoreError::closed().into()))
    }

    /// Returns the clock by which the store's records are dated: this machine's, or the database server's.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.inner.clock)
    }

    /// Returns the clock by which the end of a lifetime is judged: the latest time that the database server's may be.
    pub(crate) fn expiry_clock(&self) -> Option<Arc<dyn Clock>> {
        self.inner.shared.as_ref().map(|shared| -> Arc<dyn Clock> { Arc::new(shared.follower.expiry_clock()) })
    }

    /// Returns the seconds by which this machine's clock is ahead of the one that the records are dated by.
    pub(crate) fn clock_offset(&self) -> f64 {
        self.inner.shared.as_ref().map_or(0.0, |shared| shared.follower.clock_offset())
    }

    /// Returns true if several brokers may use the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.inner.shared.is_some()
    }

    /// Keeps memory in step with what other brokers commit, from now on. To be called once, in a runtime that stays.
    pub(crate) fn follow(&self, mirror: Arc<dyn Mirror>) {
        if let Some(SharedParts { follower, .. }) = &self.inner.shared {
            let inner = Arc::downgrade(&self.inner);
            let react = move || {
                if let Some(inner) = inner.upgrade() {
                    tokio::spawn(react_to_lost_history(Self { inner }));
                }
            };
            let (inner, recording) = (Arc::downgrade(&self.inner), Arc::new(AtomicBool::new(false)));
            let record_time = move || {
                let Some(inner) = inner.upgrade() else { return };
                if !recording.swap(true, Ordering::Relaxed) {
                    let recording = Arc::clone(&recording);
                    tokio::spawn(async move {
                        // An error means that the database can't be written: a later reading tries again.
                        Self { inner }.probe().await.unwrap_or_default();
                        recording.store(false, Ordering::Relaxed);
                    });
                }
            };
            follower.start(mirror, Box::new(react), Box::new(record_time));
        }
    }

    /// Returns when what any broker acknowledged before the call is in memory, with a time at which that was the state. A
    /// store of one broker does not wait.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: memory may be out of date.
    pub(crate) async fn confirm(&self) -> Result<Confirmed, StoreError> {
        self.confirm_when(When::Now).await
    }

    /// Does the same as [`confirm`](Self::confirm), with a reading of the database that begins then.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: memory may be out of date.
    pub(crate) async fn confirm_when(&self, when: When) -> Result<Confirmed, StoreError> {
        if let Some(shared) = &self.inner.shared {
            return shared.follower.confirm(when).await;
        }
        let now = self.inner.clock.now();
        Ok(Confirmed { at: now, last_commit: now })
    }

    /// Does the same as [`confirm`](Self::confirm), for a time that is not before one that another broker has confirmed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: memory may be out of date.
    pub(crate) async fn confirm_in_order(&self) -> Result<Confirmed, StoreError> {
        if let Some(shared) = &self.inner.shared {
            shared.follower.confirms_in_order().await;
        }
        self.confirm().await
    }

    /// Returns the number of readings of the database's state that were begun.
    #[cfg(test)]
    pub(crate) fn readings(&self) -> u64 {
        self.inner.shared.as_ref().map_or(0, |shared| shared.follower.readings())
    }

    /// Returns the ids of the keys that this broker knows as withdrawn, also by its state file.
    pub(crate) fn withdrawn_keys(&self) -> Vec<String> {
        self.inner.shared.as_ref().map(|shared| shared.follower.withdrawn_keys()).unwrap_or_default()
    }

    /// Returns true if the state file of a shared store could not be written, or is not written in time.
    pub(crate) fn is_state_file_behind(&self) -> bool {
        self.inner.shared.as_ref().is_some_and(|shared| shared.follower.is_state_file_behind())
    }

    /// Keeps memory in step with the reports that other brokers accept, from now on. To be called once, in a runtime that
    /// stays.
    pub(crate) fn follow_reports(&self, mirror: Arc<dyn FleetMirror>) {
        if let Some(SharedParts { reports, .. }) = &self.inner.shared {
            reports.start(mirror);
        }
    }

    /// Returns when the reports that any broker stored before the call are in memory. A store of one broker does not wait.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: memory may be out of date.
    pub(crate) async fn confirm_reports(&self) -> Result<(), StoreError> {
        match &self.inner.shared {
            Some(shared) => shared.reports.confirm().await,
            None => Ok(()),
        }
    }

    /// Stores a report for all brokers. Returns `None` in a store of one broker, which keeps reports in memory.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the report may be stored.
    pub(crate) async fn put_report(&self, state: InstanceState) -> Result<Option<StoredReport>, StoreError> {
        match &self.inner.shared {
            Some(shared) => shared.reports.put(state).await.map(Some),
            None => Ok(None),
        }
    }

    /// Breaks of the audit trail that were accepted for this start and are not recorded yet. To be recorded before the
    /// store is used for anything else, and after the recorded time was read.
    #[must_use]
    pub fn accepted_breaks(&self) -> &[ChainBreak] {
        &self.inner.accepted_breaks
    }

    /// Records the [accepted breaks](Self::accepted_breaks) in a transaction of its own.
    ///
    /// # Errors
    ///
    /// [`StoreError`], and nothing was recorded.
    pub async fn record_accepted_breaks(&self, at: UnixTime) -> Result<(), StoreError> {
        let breaks = self.inner.accepted_breaks.clone();
        if breaks.is_empty() {
            return Ok(());
        }
        self.transact(move |tx| tx.record_accepted_breaks(&breaks, at)).await
    }

    /// Waits until the broker has to stop because the database lost commits: see [`OnLoss::Stop`].
    pub(crate) async fn history_lost(&self) -> LostHistory {
        let mut lost = self.inner.shared.as_ref().map(|shared| shared.lost_history.clone());
        if let Some(lost) = &mut lost
            && let Ok(found) = lost.wait_for(Option::is_some).await
            && let Some(found) = found.clone()
        {
            return found;
        }
        std::future::pending().await
    }

    /// Runs `job` on a snapshot of the committed state.
    ///
    /// # Errors
    ///
    /// The job's own error, or a [`StoreError`] converted to it.
    pub async fn read<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&dyn Reader) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.inner.readers.run(job).await
    }

    /// Number of reads that run or wait.
    #[cfg(test)]
    pub(crate) fn reads_admitted(&self) -> usize {
        self.inner.readers.admitted()
    }

    /// Returns true if the last attempt to write succeeded.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.inner.health.is_writable()
    }

    /// Checks that the store can be written, with a small durable write unless there was a write within the last second.
    ///
    /// # Errors
    ///
    /// [`StoreError`] of the write.
    pub async fn probe(&self) -> Result<(), StoreError> {
        if let Some(outcome) = self.inner.health.recent() {
            return outcome;
        }
        let _alone = self.inner.probing.lock().await;
        if let Some(outcome) = self.inner.health.recent() {
            return outcome;
        }
        #[expect(clippy::redundant_closure_for_method_calls, reason = "a path has one lifetime only")]
        self.transact(|tx| tx.probe()).await
    }

    /// Returns the number of audit events. Checks that the store can be read too, unless it was within the last second and no
    /// other broker writes to it: the number is then that of this broker's last commit.
    ///
    /// # Errors
    ///
    /// [`StoreError`] of the read.
    pub async fn count_audit_events(&self) -> Result<u64, StoreError> {
        let known = if self.is_shared() { None } else { self.inner.health.recent_count() };
        if let Some(events) = known {
            return Ok(events);
        }
        let events = self.read(|reader| reader.audit_total()).await?;
        self.inner.health.record_read(events);
        Ok(events)
    }

    /// Finishes waiting jobs, then releases the database. Later calls fail with
    /// [`StoreError::Unavailable`].
    pub async fn close(self) {
        if let Some(SharedParts { follower, reports, .. }) = &self.inner.shared {
            follower.stop();
            reports.stop();
        }
        self.inner.readers.close().await;
        let (closed, wait) = oneshot::channel();
        if self.inner.queue.send(Message::Close(closed)).await.is_ok() {
            // An error means that the writer has ended.
            wait.await.unwrap_or_default();
        }
    }
}

/// Has the writer begin a transaction: it reacts before the job runs.
async fn react_to_lost_history(store: Store) {
    if let Err(error) = store.transact(|_| Ok::<_, StoreError>(())).await {
        tracing::error!(component = "store", %error, "no reaction to the commits that the database lost yet");
    }
}
