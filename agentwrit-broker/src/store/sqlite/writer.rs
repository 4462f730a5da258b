//! The connection that writes.

use std::sync::Arc;

use agentwrit_verify::Clock;
use rusqlite::Connection;

use super::{files::Claim, transaction::Transaction};
use crate::store::{
    StoreError,
    audit_log::ReadAudit,
    job::Job,
    job_state::JobState,
    trail::Trail,
    wants::Wants,
    writer::{self, Effects},
};

/// Number of pages in the write-ahead log that start a checkpoint: while no job waits, and in any case.
const IDLE_CHECKPOINT_PAGES: i64 = 1000;
const CHECKPOINT_PAGES: i64 = 4000;

/// The connection that writes.
#[derive(Debug)]
pub(in crate::store) struct WriteConnection {
    connection: Connection,
    /// End of the audit trail; none until it is read, also after a failed transaction.
    trail: Option<Trail>,
    clock: Arc<dyn Clock>,
    /// Held as long as the connection is.
    _claim: Arc<Claim>,
}

impl WriteConnection {
    pub(super) fn new(connection: Connection, claim: Arc<Claim>, clock: Arc<dyn Clock>) -> Self {
        Self { connection, trail: None, clock, _claim: claim }
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
    fn begin(&mut self, _wants: &Wants) -> Result<(), StoreError> {
        self.statement("BEGIN IMMEDIATE")?;
        if self.trail.is_none() {
            self.trail = Some(Trail::new(Transaction::reading(&self.connection).trail_head()?));
        }
        Ok(())
    }

    fn fetch(&mut self, _wants: &Wants) -> Result<(), StoreError> {
        Ok(())
    }

    fn run(&mut self, job: &mut dyn Job) -> Result<Effects, StoreError> {
        let trail = self.trail.take().ok_or_else(|| StoreError::internal("a job ran outside of a transaction"))?;
        let before = trail.mark();
        let mut tx = Transaction::new(&self.connection, JobState::new(trail, self.clock.now()));
        let keep = job.run(&mut tx);
        // Some failures, such as a full disk, make SQLite undo the transaction, and with it every job before this one.
        if self.connection.is_autocommit() {
            let ended_early = || StoreError::internal("the transaction ended early");
            return Err(tx.failed_write().unwrap_or_else(ended_early));
        }
        let (wrote, mut job) = if keep { tx.keep()? } else { (false, tx.undo()?) };
        let follow_ups = job.take_follow_ups();
        let trail = self.trail.insert(job.trail);
        if keep {
            return Ok(Effects { wrote, follow_ups });
        }
        trail.return_to(before);
        Ok(Effects::default())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.statement("COMMIT")?;
        if let Some(trail) = &mut self.trail {
            trail.commit();
        }
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), StoreError> {
        self.trail = None;
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
