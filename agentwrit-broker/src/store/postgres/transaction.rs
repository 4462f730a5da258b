//! Statements of one job or of one read.

use tokio_postgres::Row;

use super::{head::Head, session::Session, value::Value};
use crate::store::{
    Reader, StoreError, Tx,
    job_state::{HasJobState, JobState},
};

/// Access to one state of the database: of a job, or of a read, which is given as a [`Reader`] only.
#[derive(Debug)]
pub(in crate::store) struct Transaction<'a> {
    session: &'a Session,
    /// The head row, with the job's changes, which are written with the commit.
    head: Head,
    job: JobState,
    /// Open from the first write on, so that a job that only reads costs nothing to undo.
    savepoint: bool,
    wrote: bool,
}

/// State of a transaction after a job.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) wrote: bool,
    pub(super) head: Head,
    pub(super) job: JobState,
}

impl Reader for Transaction<'_> {}

impl Tx for Transaction<'_> {
    #[cfg(test)]
    fn execute_batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.session.batch(sql)
    }
}

impl HasJobState for Transaction<'_> {
    fn job(&self) -> &JobState {
        &self.job
    }

    fn job_mut(&mut self) -> &mut JobState {
        &mut self.job
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn new(session: &'a Session, head: Head, job: JobState) -> Self {
        Self { session, head, job, savepoint: false, wrote: false }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the head row for a change, which is written with the commit.
    pub(super) fn head_mut(&mut self) -> &mut Head {
        self.wrote = true;
        &mut self.head
    }

    /// Returns the first row, if there is one.
    pub(super) fn find<T>(
        &self,
        sql: &str,
        values: &[Value],
        read: impl FnOnce(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.session.rows(sql, values)?.first().map(read).transpose()
    }

    /// Returns the only row of a statement that always has one.
    pub(super) fn single<T>(
        &self,
        sql: &str,
        values: &[Value],
        read: impl FnOnce(&Row) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.find(sql, values, read)?.ok_or_else(|| StoreError::internal("a statement returned no row"))
    }

    /// Visits all rows, for results that are too large to collect.
    pub(super) fn each(
        &self,
        sql: &str,
        values: &[Value],
        visit: impl FnMut(&Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.session.each(sql, values, visit)
    }

    /// Returns all rows.
    pub(super) fn list<T>(
        &self,
        sql: &str,
        values: &[Value],
        read: impl FnMut(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.session.rows(sql, values)?.iter().map(read).collect()
    }

    /// Executes a statement that writes. Returns the number of rows that it changed.
    pub(super) fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let changed = self.open_savepoint().and_then(|()| self.session.execute(sql, values));
        self.job.note_failure(changed)
    }

    /// Executes a statement that writes. Returns the rows of its `RETURNING`.
    pub(super) fn execute_returning(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let rows = self.open_savepoint().and_then(|()| self.session.rows(sql, values));
        self.job.note_failure(rows)
    }

    pub(super) fn failed_write(&self) -> Option<StoreError> {
        self.job.failed_write()
    }

    /// Keeps the job's changes for the commit.
    pub(super) fn keep(self) -> Result<Done, StoreError> {
        if self.savepoint {
            self.session.batch("RELEASE SAVEPOINT job")?;
        }
        Ok(self.done())
    }

    /// Undoes the job's changes. Those of the head row are the caller's to undo.
    pub(super) fn undo(self) -> Result<Done, StoreError> {
        if self.savepoint {
            self.session.batch("ROLLBACK TO SAVEPOINT job; RELEASE SAVEPOINT job")?;
        }
        Ok(self.done())
    }

    fn done(self) -> Done {
        Done { wrote: self.wrote, head: self.head, job: self.job }
    }

    fn open_savepoint(&mut self) -> Result<(), StoreError> {
        if !self.savepoint {
            self.session.batch("SAVEPOINT job")?;
            (self.savepoint, self.wrote) = (true, true);
        }
        Ok(())
    }
}
