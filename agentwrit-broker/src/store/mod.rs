//! The broker's memory: one SQLite file, and the only place with SQL.
//!
//! 1. Whatever [`Store::transact`] answers is durable: the answer waits for the commit (WAL, `synchronous=FULL`).
//! 2. One thread writes. It takes whatever waits into one transaction, commits once, then answers all of it.
//! 3. Each job stands alone: one that fails or panics leaves no trace and harms no other of its commit.
//! 4. When a commit fails, everyone in it is told so ([`StoreError::Unavailable`]), and nothing of it stays, in the file
//!    or in memory. A job that overlooks a failed write is undone all the same.
//! 5. The queue is bounded: [`StoreError::Busy`] when it is full.
//! 6. The audit trail is appended to in the transaction that it speaks of, and is never scanned.
//! 7. The file and its side files are made for their owner only, and are for one broker at a time.
//!
//! No rule of the domain is in here: only facts, and changes that happen wholly or not at all.
//!
//! The file must lie on a local file system whose `fsync` means it.

#![expect(clippy::disallowed_types, reason = "this is the one module that talks to SQLite")]

mod acceptance;
mod agents;
mod apps;
mod audit_lists;
mod audit_log;
mod audit_query;
mod codec;
mod error;
mod files;
mod job;
mod launch_tokens;
mod meta;
mod names;
mod open;
mod probe;
mod prune;
mod readers;
mod revocations;
mod schema;
#[cfg(test)]
mod tests;
mod tokens;
mod transaction;
mod writer;

use std::{path::Path, sync::Arc};

use agentwrit_verify::{
    UnixTime,
    audit::{ChainBreak, ChainBreakId},
};
pub use audit_query::{AuditPage, AuditQuery};
pub use error::{OpenError, StoreError};
pub(crate) use files::{all as database_files, directory_of};
pub(crate) use probe::{DatabaseState, probe};
pub use prune::Pruned;
pub(crate) use readers::Caller;
pub use revocations::{FeedRow, RevocationRow};
pub use tokens::EndedTokens;
use tokio::sync::{Mutex, mpsc, oneshot};
pub use transaction::{Reader, Tx};

use self::{
    files::Claim,
    job::Transaction,
    readers::Readers,
    writer::{Health, Message},
};

/// No limit on the number of rows that are read.
pub(crate) const ALL_ROWS: u64 = i64::MAX.unsigned_abs();

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
}

/// How to open a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Breaks of the audit trail that the operator accepts.
    pub accept_broken_audit: Vec<ChainBreakId>,
    /// How many jobs may wait for the writer.
    pub queue: usize,
    /// How many jobs share a commit at most.
    pub batch: usize,
    /// How many reads run at the same time.
    pub readers: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { accept_broken_audit: Vec::new(), queue: 1024, batch: 256, readers: 2 }
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
    /// Opens the database at `path`, or makes it.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong and what to do about it.
    #[expect(clippy::needless_pass_by_value, reason = "callers build the options in place")]
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let health = Arc::new(Health::default());
        let (queue, jobs) = mpsc::channel(options.queue.max(1));
        let claim = Arc::new(Claim::take(path)?);
        let (writer, accepted_breaks) = open::writer(Arc::clone(&claim), &options, jobs, Arc::clone(&health))?;
        let readers = Readers::open(claim, options.readers.max(1))?;
        writer.start().map_err(|error| OpenError::io(path, &error))?;
        Ok(Self { inner: Arc::new(Inner { queue, readers, health, probing: Mutex::new(()), accepted_breaks }) })
    }

    /// Runs `job` on the writer and answers once what it did is durable. When it fails, nothing of it stays.
    ///
    /// A job that nobody waits for any more when its turn comes is dropped.
    ///
    /// # Errors
    ///
    /// The job's own; otherwise a [`StoreError`] turned into it, and nothing was done.
    pub async fn transact<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Transaction::new(job, reply));
        self.inner.queue.try_send(Message::Job(job)).map_err(|refusal| match refusal {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::closed(),
        })?;
        answer.await.unwrap_or_else(|_| Err(StoreError::closed().into()))
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

    /// Runs `job` on a snapshot of what is committed.
    ///
    /// # Errors
    ///
    /// The job's own; otherwise a [`StoreError`] turned into it.
    pub async fn read<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&Reader<'_>) -> Result<T, E> + Send + 'static,
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

    /// Whether the last attempt to write succeeded.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.inner.health.is_writable()
    }

    /// Whether the store can be written now: a tiny durable write, unless one of the last second tells already.
    ///
    /// # Errors
    ///
    /// Why it can't.
    pub async fn probe(&self) -> Result<(), StoreError> {
        if let Some(outcome) = self.inner.health.recent() {
            return outcome;
        }
        let _alone = self.inner.probing.lock().await;
        if let Some(outcome) = self.inner.health.recent() {
            return outcome;
        }
        self.transact(|tx| tx.probe().map(|_| ())).await
    }

    /// Finishes what waits, folds the log into the file and lets go of it. Later calls are [`StoreError::Unavailable`].
    pub async fn close(self) {
        self.inner.readers.close().await;
        let (closed, wait) = oneshot::channel();
        if self.inner.queue.send(Message::Close(closed)).await.is_ok() {
            // An error means that the writer is gone, which is what we wait for.
            wait.await.unwrap_or_default();
        }
    }
}
