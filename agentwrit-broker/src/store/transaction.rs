//! Access of jobs to the store: a [`Reader`], and a [`Tx`] that also writes.

use std::{
    fmt,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::{StoreError, audit_log::TrailHead, names::Name};

/// Read access to one consistent state.
#[derive(Debug)]
pub struct Reader<'a> {
    connection: &'a Connection,
}

impl<'a> Reader<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection }
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
}

/// Read and write access of one job. Its changes are durable when the caller has the result.
#[derive(Debug)]
pub struct Tx<'a> {
    reader: Reader<'a>,
    pub(super) head: TrailHead,
    pub(super) names: Vec<Name>,
    /// Open from the first write on, so that a job that only reads costs nothing to undo.
    savepoint: bool,
    failed_write: Option<StoreError>,
    after_commit: AfterCommit,
}

/// Functions to run after a commit.
#[derive(Default)]
pub(super) struct AfterCommit(Vec<Box<dyn FnOnce() + Send>>);

impl AfterCommit {
    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    /// Runs the functions in the order of their registration.
    pub(super) fn run(self) {
        for follow_up in self.0 {
            // The job is durable despite a panic here, and the other jobs' functions must still run.
            if catch_unwind(AssertUnwindSafe(follow_up)).is_err() {
                tracing::error!(component = "store", "a function that follows a commit panicked");
            }
        }
    }
}

impl fmt::Debug for AfterCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfterCommit").field("follow_ups", &self.0.len()).finish()
    }
}

impl<'a> Tx<'a> {
    pub(super) fn new(connection: &'a Connection, head: TrailHead) -> Self {
        let after_commit = AfterCommit::default();
        Self {
            reader: Reader::new(connection),
            head,
            names: Vec::new(),
            savepoint: false,
            failed_write: None,
            after_commit,
        }
    }

    /// Registers a function that the writer runs once this job is durable, before its result is returned and also if the
    /// caller no longer waits. It keeps memory in step with the store. It must be quick and must not panic.
    pub fn after_commit(&mut self, follow_up: impl FnOnce() + Send + 'static) {
        self.after_commit.0.push(Box::new(follow_up));
    }

    pub(super) fn take_follow_ups(&mut self) -> AfterCommit {
        std::mem::take(&mut self.after_commit)
    }

    /// Executes a statement that writes. Returns the number of rows that it changed.
    pub(super) fn execute(&mut self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        let changed = self.open_savepoint().and_then(|()| {
            let mut statement = self.reader.connection.prepare_cached(sql)?;
            Ok(statement.execute(params)?)
        });
        if let Err(error) = &changed {
            self.failed_write.get_or_insert_with(|| error.clone());
        }
        changed
    }

    /// Inserts a row. Returns its rowid.
    pub(super) fn insert(&mut self, sql: &str, params: impl Params) -> Result<i64, StoreError> {
        self.execute(sql, params)?;
        Ok(self.reader.connection.last_insert_rowid())
    }

    /// Returns the error of the first failed write, also if the job ignored it.
    pub(super) fn failed_write(&self) -> Option<StoreError> {
        self.failed_write.clone()
    }

    /// Keeps the job's changes for the commit. Returns true if there are any.
    pub(super) fn keep(self) -> Result<bool, StoreError> {
        if self.savepoint {
            self.statement("RELEASE job")?;
        }
        Ok(self.savepoint)
    }

    /// Undoes the job's changes.
    pub(super) fn undo(self) -> Result<(), StoreError> {
        if self.savepoint {
            self.statement("ROLLBACK TO job")?;
            self.statement("RELEASE job")?;
        }
        Ok(())
    }

    /// Makes the smallest durable change.
    pub(super) fn probe(&mut self) -> Result<usize, StoreError> {
        self.execute("UPDATE meta SET probes = probes + 1", [])
    }

    fn open_savepoint(&mut self) -> Result<(), StoreError> {
        if !self.savepoint {
            self.statement("SAVEPOINT job")?;
            self.savepoint = true;
        }
        Ok(())
    }

    fn statement(&self, sql: &str) -> Result<(), StoreError> {
        self.reader.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &'a Connection {
        self.reader.connection
    }
}

impl<'a> Deref for Tx<'a> {
    type Target = Reader<'a>;

    fn deref(&self) -> &Reader<'a> {
        &self.reader
    }
}
