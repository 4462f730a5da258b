//! Statements of one job or of one read.

use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::store::{
    Reader, StoreError, Tx,
    job_state::{HasJobState, JobState},
};

/// Access to one state of the database: of a job, or of a read, which is given as a [`Reader`] only.
#[derive(Debug)]
pub(in crate::store) struct Transaction<'a> {
    connection: &'a Connection,
    job: JobState,
    /// Open from the first write on, so that a job that only reads costs nothing to undo.
    savepoint: bool,
}

impl Reader for Transaction<'_> {}

impl Tx for Transaction<'_> {
    #[cfg(test)]
    fn execute_batch(&mut self, sql: &str) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch(sql)?)
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
    pub(super) fn new(connection: &'a Connection, job: JobState) -> Self {
        Self { connection, job, savepoint: false }
    }

    /// Reads only.
    pub(super) fn reading(connection: &'a Connection) -> Self {
        Self::new(connection, JobState::default())
    }

    /// Returns the first row, if there is one.
    pub(super) fn find<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    /// Returns the only row of a statement that always has one.
    pub(super) fn single<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(params, read)?)
    }

    /// Visits all rows, for results that are too large to collect.
    pub(super) fn each(
        &self,
        sql: &str,
        params: impl Params,
        mut visit: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            visit(row)?;
        }
        Ok(())
    }

    /// Returns all rows.
    pub(super) fn list<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.query_map(params, read)?.collect::<Result<_, _>>()?)
    }

    /// Executes a statement that writes. Returns the number of rows that it changed.
    pub(super) fn execute(&mut self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        let changed = self.open_savepoint().and_then(|()| {
            let mut statement = self.connection.prepare_cached(sql)?;
            Ok(statement.execute(params)?)
        });
        self.job.note_failure(changed)
    }

    /// Executes a statement that writes. Returns the rows of its `RETURNING`.
    pub(super) fn execute_returning<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.open_savepoint().and_then(|()| self.list(sql, params, read));
        self.job.note_failure(rows)
    }

    /// Inserts a row. Returns its rowid.
    pub(super) fn insert(&mut self, sql: &str, params: impl Params) -> Result<i64, StoreError> {
        self.execute(sql, params)?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Returns the error of the first failed write, also if the job ignored it.
    pub(super) fn failed_write(&self) -> Option<StoreError> {
        self.job.failed_write()
    }

    /// Keeps the job's changes for the commit. Returns true if there are any, and the state of the job.
    pub(super) fn keep(self) -> Result<(bool, JobState), StoreError> {
        if self.savepoint {
            self.statement("RELEASE job")?;
        }
        Ok((self.savepoint, self.job))
    }

    /// Undoes the job's changes. Returns the state of the job.
    pub(super) fn undo(self) -> Result<JobState, StoreError> {
        if self.savepoint {
            self.statement("ROLLBACK TO job")?;
            self.statement("RELEASE job")?;
        }
        Ok(self.job)
    }

    fn open_savepoint(&mut self) -> Result<(), StoreError> {
        if !self.savepoint {
            self.statement("SAVEPOINT job")?;
            self.savepoint = true;
        }
        Ok(())
    }

    fn statement(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}
