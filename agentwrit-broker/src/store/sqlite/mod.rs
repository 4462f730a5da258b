//! The store in one SQLite file, on a local file system with a working `fsync`.
//!
//! 1. A commit is on the disk when it returns (WAL, `synchronous=FULL`).
//! 2. Rows are held back and written together, before the commit.
//! 3. The files are created for their owner only, and are used by one broker at a time.

#![expect(clippy::disallowed_types, reason = "this is the module that talks to SQLite")]

mod agents;
mod apps;
mod audit;
mod codec;
mod error;
mod export;
mod files;
mod keys;
mod launch_tokens;
mod meta;
mod names;
mod open;
mod probe;
mod prune;
mod revocations;
mod schema;
#[cfg(test)]
mod tests;
mod tokens;
mod transaction;
mod trust_rules;
mod value;
mod verifiers;
mod write;
mod writer;

use std::{path::Path, sync::Arc};

use agentwrit_verify::{
    Clock,
    audit::{ChainBreak, ChainBreakId},
};
pub(super) use export::Export;
pub(crate) use files::{LockedFile, all as database_files, canonical, directory_of};
pub(crate) use probe::{DatabaseState, probe, probe_keys};
use rusqlite::Connection;

use self::{files::Claim, transaction::Transaction, writer::WriteConnection};
use super::{OpenError, Reader, StoreError, readers::ReadConnection};

/// Connections to one database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) writer: WriteConnection,
    pub(super) readers: Vec<Box<dyn ReadConnection>>,
    /// Accepted breaks of the audit trail that no event records yet.
    pub(super) accepted_breaks: Vec<ChainBreak>,
}

impl Database {
    /// Opens the database at `path`, with this number of connections that read. Creates a missing one.
    pub(super) fn open(
        path: &Path,
        readers: usize,
        accept: &[ChainBreakId],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let claim = Arc::new(Claim::take(path)?);
        let (writer, accepted_breaks) = open::writer(Arc::clone(&claim), accept, clock)?;
        let reader = |_| Ok(Box::new(Snapshots::open(Arc::clone(&claim))?) as Box<dyn ReadConnection>);
        let readers = (0..readers).map(reader).collect::<Result<_, OpenError>>()?;
        Ok(Self { writer, readers, accepted_breaks })
    }
}

/// A connection that only reads.
#[derive(Debug)]
struct Snapshots {
    connection: Connection,
    /// Held as long as the connection is.
    _claim: Arc<Claim>,
}

impl Snapshots {
    fn open(claim: Arc<Claim>) -> Result<Self, OpenError> {
        Ok(Self { connection: open::read_only(claim.path())?, _claim: claim })
    }
}

impl ReadConnection for Snapshots {
    fn snapshot(&mut self, job: &mut dyn FnMut(&dyn Reader)) -> Result<(), StoreError> {
        let snapshot = Snapshot::begin(&self.connection)?;
        job(&Transaction::new(snapshot.connection));
        Ok(())
    }
}

/// A transaction that reads, until this value is dropped.
struct Snapshot<'c> {
    connection: &'c Connection,
}

impl<'c> Snapshot<'c> {
    fn begin(connection: &'c Connection) -> Result<Self, StoreError> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(Self { connection })
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let ended = self.connection.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([]));
        if let Err(error) = ended {
            tracing::warn!(component = "store", %error, "a read of the database did not end");
        }
    }
}
