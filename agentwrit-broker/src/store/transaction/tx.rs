//! State of a job's transaction.

use std::{
    cell::{Cell, RefCell},
    fmt,
    ops::Deref,
};

use agentwrit_verify::UnixTime;

use crate::store::{
    StoreError,
    after_commit::AfterCommit,
    batch::{Batch, BatchMark},
    codec::micros,
    facts::{Facts, ReadFacts},
    job::JobTime,
    pending::PendingMark,
    reader::Reader,
    rows::Rows,
    wants::Wants,
};

/// Read and write access of one job. Its changes are durable when the caller has the result.
pub struct Tx<'a> {
    rows: &'a dyn Rows,
    pub(super) batch: RefCell<&'a mut Batch>,
    /// State before the job.
    before: BatchMark,
    /// Rows of earlier jobs that are still held back.
    earlier: Cell<PendingMark>,
    time: JobTime,
    /// True if something was written since the savepoint, which is set then.
    savepoint: Cell<bool>,
    after_commit: AfterCommit,
    /// True when the job's changes are undone although it succeeds.
    is_undone: bool,
    /// Interface that the operation was requested by, where its events name it.
    interface: Option<&'static str>,
    failed_write: RefCell<Option<StoreError>>,
    /// Error that ends the whole transaction.
    fatal: RefCell<Option<StoreError>>,
}

impl<'a> Deref for Tx<'a> {
    type Target = dyn Reader + 'a;

    fn deref(&self) -> &Self::Target {
        self
    }
}

impl ReadFacts for Tx<'_> {
    fn with_facts(&self, wants: Wants, read: &mut dyn FnMut(&Facts)) -> Result<(), StoreError> {
        let facts = &mut self.batch.borrow_mut().facts;
        let unknown = facts.unknown(wants);
        if !unknown.is_empty() {
            self.rows.fetch(&unknown, facts)?;
            facts.settle(unknown);
        }
        read(facts);
        Ok(())
    }

    fn with_known(&self, read: &mut dyn FnMut(&Facts)) {
        read(&self.batch.borrow().facts);
    }
}

impl<'a> Tx<'a> {
    pub(in crate::store) fn new(rows: &'a dyn Rows, batch: &'a mut Batch, time: JobTime) -> Self {
        let before = batch.mark();
        Self {
            rows,
            earlier: Cell::new(before.pending),
            before,
            batch: RefCell::new(batch),
            time,
            savepoint: Cell::new(false),
            after_commit: AfterCommit::default(),
            is_undone: false,
            interface: None,
            failed_write: RefCell::default(),
            fatal: RefCell::default(),
        }
    }

    /// Returns the time of the job: of this machine's clock, or of the database server's.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.time.now
    }

    /// Returns the latest time that it may be. The end of a lifetime is judged by it.
    #[must_use]
    pub fn latest_now(&self) -> UnixTime {
        self.time.latest
    }

    /// Registers a function that the writer runs once this job is durable, before its result is returned and also if the
    /// caller no longer waits. It keeps memory in step with the store. It must be quick and must not panic. If the job or
    /// the commit fails, it is dropped before the result is returned.
    pub fn after_commit(&mut self, follow_up: impl FnOnce() + Send + 'static) {
        self.after_commit.push(follow_up);
    }

    /// Undoes the job's changes at its end, whatever it returns: a dry run.
    pub fn undo(&mut self) {
        self.is_undone = true;
    }

    /// Sets the interface that the operation was requested by.
    pub(crate) fn set_interface(&mut self, interface: Option<&'static str>) {
        self.interface = interface;
    }

    /// Returns the interface that the operation was requested by, where its events name it.
    pub(crate) fn interface(&self) -> Option<&'static str> {
        self.interface
    }

    pub(in crate::store) fn is_undone(&self) -> bool {
        self.is_undone
    }

    /// Returns the error of the first failed write, also if the job ignored it.
    pub(in crate::store) fn failed_write(&self) -> Option<StoreError> {
        self.failed_write.borrow().clone()
    }

    /// Keeps the job's changes for the commit, or undoes them. Returns the functions that follow the commit. An error means
    /// that the whole transaction is lost.
    pub(in crate::store) fn finish(mut self, keep: bool) -> Result<AfterCommit, StoreError> {
        if let Some(error) = self.fatal.take() {
            return Err(error);
        }
        // Some failures, such as a full disk, end the transaction, and with it every job before this one.
        if let Some(lost) = self.rows.lost() {
            return Err(self.failed_write().unwrap_or(lost));
        }
        let written = self.savepoint.get();
        if written && keep {
            self.rows.release_savepoint()?;
        } else if written {
            self.rows.roll_back_to_savepoint()?;
        }
        let batch = self.batch.into_inner();
        let wrote = written || batch.head != self.before.head || batch.pending.mark() != self.earlier.get();
        if keep {
            batch.wrote |= wrote;
            batch.head.last_time = micros(self.time.now);
            return Ok(self.after_commit);
        }
        // Rows of earlier jobs were written before the savepoint, or are held back still.
        self.before.pending = self.earlier.get();
        batch.return_to(self.before);
        Ok(AfterCommit::default())
    }

    /// Writes the rows that were held back, so that the next statement sees them.
    pub(super) fn flushed(&self) -> Result<&'a dyn Rows, StoreError> {
        let (earlier, own) = {
            let pending = &mut self.batch.borrow_mut().pending;
            let own = pending.split_off(&self.earlier.take());
            (std::mem::take(pending), own)
        };
        if !earlier.is_empty() {
            // The jobs that wrote these rows have ended: they can't fail alone any more.
            self.rows.write(&earlier).inspect_err(|error| {
                self.fatal.borrow_mut().get_or_insert_with(|| error.clone());
            })?;
        }
        if !own.is_empty() {
            self.set_savepoint()?;
            self.note_failure(self.rows.write(&own))?;
        }
        Ok(self.rows)
    }

    /// Writes the rows of this job that were held back, behind a savepoint. The error of one is that of the job.
    pub(in crate::store) fn write_held_back(&self) {
        // `failed_write` returns the error of a row.
        drop(self.flushed());
    }

    /// Makes a change that is not held back.
    pub(super) fn change<T>(&self, change: impl FnOnce(&dyn Rows) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let rows = self.flushed()?;
        self.set_savepoint()?;
        self.note_failure(change(rows))
    }

    pub(super) fn rows(&self) -> &'a dyn Rows {
        self.rows
    }

    /// Rejects a row that is known already. Random ids are not read before they are written: the store rejects rows whose ids it
    /// has, and with them this job alone.
    pub(super) fn check_new<R>(&self, id: &impl fmt::Display, known: Option<&R>) -> Result<(), StoreError> {
        match known {
            Some(_) => self.note_failure(Err(StoreError::internal(format!("`{id}` exists")))),
            None => Ok(()),
        }
    }

    /// Notes the error of a failed write, also for a job that ignores it.
    pub(super) fn note_failure<T>(&self, written: Result<T, StoreError>) -> Result<T, StoreError> {
        written.inspect_err(|error| {
            self.failed_write.borrow_mut().get_or_insert_with(|| error.clone());
        })
    }

    fn set_savepoint(&self) -> Result<(), StoreError> {
        if !self.savepoint.get() {
            self.note_failure(self.rows.set_savepoint())?;
            self.savepoint.set(true);
        }
        Ok(())
    }

    /// Executes statements in the store's own dialect.
    #[cfg(test)]
    pub(crate) fn execute_batch(&self, sql: &str) -> Result<(), StoreError> {
        self.flushed()?.execute_batch(sql)
    }

    /// Continues the trail from its last event.
    #[cfg(test)]
    pub(in crate::store) fn reread_trail(&self) -> Result<(), StoreError> {
        let head = self.trail_head()?;
        self.batch.borrow_mut().head.trail = head;
        Ok(())
    }

    #[cfg(test)]
    pub(in crate::store) fn round_trips(&self) -> u64 {
        self.rows.round_trips()
    }
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("time", &self.time).finish_non_exhaustive()
    }
}
