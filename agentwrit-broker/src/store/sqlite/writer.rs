//! The connection that writes.

use std::sync::Arc;

use agentwrit_verify::Clock;
use rusqlite::Connection;

use super::{files::Claim, transaction::Transaction};
use crate::store::{StoreError, batch::Batch, head::Head, job::JobTime, rows::Rows, wants::Wants, writer};

/// Number of pages in the write-ahead log that start a checkpoint: while no job waits, and in any case.
const IDLE_CHECKPOINT_PAGES: i64 = 1000;
const CHECKPOINT_PAGES: i64 = 8000;

/// The connection that writes.
#[derive(Debug)]
pub(in crate::store) struct WriteConnection {
    connection: Connection,
    /// State after the last commit; none until it is read, also after a failed transaction.
    head: Option<Head>,
    clock: Arc<dyn Clock>,
    /// Held as long as the connection is.
    _claim: Arc<Claim>,
}

impl WriteConnection {
    pub(super) fn new(connection: Connection, claim: Arc<Claim>, clock: Arc<dyn Clock>) -> Self {
        Self { connection, head: None, clock, _claim: claim }
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn statement(&self, sql: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Returns the number of pages that are in the write-ahead log only.
    fn log_pages(&self, checkpoint: &str) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached(checkpoint)?;
        Ok(statement.query_row([], |row| Ok(row.get::<_, i64>(1)?.saturating_sub(row.get(2)?)))?)
    }
}

impl writer::Connection for WriteConnection {
    type Rows<'c> = Transaction<'c>;
    const IS_SHARED: bool = false;

    fn begin(&mut self, _wants: &Wants, batch: &mut Batch) -> Result<(), StoreError> {
        self.statement("BEGIN IMMEDIATE")?;
        let head = match self.head.take() {
            Some(head) => head,
            None => Transaction::new(&self.connection).head()?,
        };
        batch.begin(head.clone());
        self.head = Some(head);
        Ok(())
    }

    /// Reads nothing: a row is read when a job needs it, without a round trip.
    fn fetch(&mut self, _wants: &Wants, _batch: &mut Batch) -> Result<(), StoreError> {
        Ok(())
    }

    fn rows(&self) -> Result<Transaction<'_>, StoreError> {
        Ok(Transaction::new(&self.connection))
    }

    fn now(&self) -> JobTime {
        let now = self.clock.now();
        JobTime { now, latest: now }
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let transaction = Transaction::new(&self.connection);
        transaction.write(&batch.pending)?;
        if let Some(before) = &self.head {
            transaction.write_meta(before, &batch.head)?;
        }
        self.statement("COMMIT")?;
        self.head = Some(batch.head.clone());
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), StoreError> {
        self.head = None;
        if self.connection.is_autocommit() { Ok(()) } else { self.statement("ROLLBACK") }
    }

    /// Checkpoints a long write-ahead log.
    fn maintain(&mut self, idle: bool) {
        let limit = if idle { IDLE_CHECKPOINT_PAGES } else { CHECKPOINT_PAGES };
        let due = self.log_pages("PRAGMA wal_checkpoint(NOOP)").is_ok_and(|pages| pages >= limit);
        if due && let Err(error) = self.log_pages("PRAGMA wal_checkpoint(PASSIVE)") {
            tracing::warn!(component = "store", %error, "the write-ahead log could not be checkpointed");
        }
    }

    fn close(self) {
        if let Err(error) = self.log_pages("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(component = "store", %error, "the write-ahead log could not be checkpointed");
        }
    }
}
