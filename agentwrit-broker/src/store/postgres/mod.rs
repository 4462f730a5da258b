//! The store in a PostgreSQL database, which several brokers share.
//!
//! 1. The row `head` orders everything: each transaction that writes locks it first and rewrites it last. Every number that
//!    others rely on (event, cursor, name, launch token) comes from it, so that the order of numbers is that of commits.
//!    Sequences and timestamps are not: a transaction that takes a number first may commit last.
//! 2. READ COMMITTED: after the lock is granted, each statement sees what the earlier holders committed.
//! 3. The update of `head` fails, and with it the commit, if the row changed since it was locked.
//! 4. A batch is two round trips, if its jobs read what they name beforehand: one locks the row and reads, one writes and
//!    commits. Statements of a round trip are sent together, one for all rows of a table.
//! 5. A commit whose answer was lost is looked up by the hash of its last event ([`fate`]).
//! 6. Commits that this broker saw and that the database lacks are noticed ([`history`]).
//! 7. Reads are REPEATABLE READ snapshots on connections of their own. One that lacks what this broker saw before is rejected:
//!    a connection may lead to a server that was the primary once.

mod agents;
mod apps;
mod audit;
mod cluster;
mod codec;
mod commit;
mod connect;
mod error;
mod fate;
mod follow;
mod head;
mod history;
mod import;
mod keys;
mod launch_tokens;
mod meta;
mod names;
mod prune;
mod query;
mod remembered;
mod reports;
mod revocations;
mod rows;
mod schema;
mod seen_commit;
mod session;
mod state_file;
mod state_writes;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod transaction;
mod trust_rules;
mod value;
mod verifiers;
mod write;
mod writer;

use std::{sync::Arc, time::Duration};

use agentwrit_verify::audit::ChainBreak;
pub(crate) use cluster::{JoinError, join, recorded_settings};
pub(super) use import::Import;
pub(crate) use schema::{apply as apply_schema, exists as has_schema, sql as schema_sql};

use futures_util::future::try_join3;
use tokio::sync::watch;

use self::{
    connect::Server,
    follow::LogFollower,
    head::Head,
    history::History,
    session::{SHORT_LIMIT, Session},
    transaction::Transaction,
    writer::WriteConnection,
};
pub(super) use self::{follow::Follower, reports::Reports};
use super::{LostHistory, OpenError, Reader, StoreError, StoreOptions, acceptance, readers::ReadConnection};
use crate::clock::DatabaseClock;

/// Begins a snapshot. The first statement takes it.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_backend_pid(); \
     SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// Time limit for each response to a read.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// Connections to one database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) writer: WriteConnection,
    pub(super) readers: Vec<Box<dyn ReadConnection>>,
    /// Accepted breaks of the audit trail that no event records yet.
    pub(super) accepted_breaks: Vec<ChainBreak>,
    /// The server's clock.
    pub(super) clock: Arc<DatabaseClock>,
    pub(super) follower: Follower,
    pub(super) reports: Reports,
    pub(super) lost_history: watch::Receiver<Option<LostHistory>>,
}

impl Database {
    /// Connects to the database at `url` and brings its schema up to date. Blocks the thread.
    pub(super) fn connect(url: &str, options: &StoreOptions) -> Result<Self, OpenError> {
        let history = History::open(&options.lost_history)?;
        let server = Server::parse(url)?;
        let session = Session::open(&server)?;
        session.check_pooling(&server)?;
        session.check_server()?;
        schema::prepare(&session, &server.name())?;
        history.check_identity(&session)?;
        let sent = options.clock.monotonic();
        let clock = Arc::new(DatabaseClock::new(Arc::clone(&options.clock), sent, session.time()?));
        let mut readers = (0..options.readers.max(1))
            .map(|_| Snapshots { server: server.clone(), known: None, session: None, reading: false })
            .collect::<Vec<_>>();
        let mut accepted_breaks = Ok(Vec::new());
        if let Some(first) = readers.first_mut() {
            first.snapshot(&mut |reader| {
                accepted_breaks = acceptance::verify_trail(reader, &options.accept_broken_audit);
            })?;
        }
        let accepted_breaks = accepted_breaks?;
        let lost_history = history.stopped();
        let unrecorded = LogFollower::unrecorded(session.time()?, session.last_time()?);
        let log = LogFollower::new(Arc::clone(&clock), Arc::clone(&history), unrecorded);
        let follower = Follower::new(server.clone(), Arc::clone(&log));
        let reports = Reports::new(server.clone());
        // Not before the writer has reacted to a history that was lost while the broker was stopped.
        for reader in &mut readers {
            reader.known = Some((Arc::clone(&log), Arc::clone(&history)));
        }
        let mut writer = WriteConnection::new(server, session, Arc::clone(&clock), log, history, options.outcome_limit);
        writer.check_history()?;
        Ok(Self {
            writer,
            readers: readers.into_iter().map(|reader| Box::new(reader) as Box<dyn ReadConnection>).collect(),
            accepted_breaks,
            clock,
            follower,
            reports,
            lost_history,
        })
    }
}

/// A connection that only reads.
#[derive(Debug)]
struct Snapshots {
    server: Server,
    /// Commits that each snapshot must hold.
    known: Option<(Arc<LogFollower>, Arc<History>)>,
    /// None until the first read, and after the connection failed.
    session: Option<Session>,
    /// Set during a read: one that panics leaves its snapshot open.
    reading: bool,
}

impl Snapshots {
    fn open(&mut self) -> Result<(), StoreError> {
        if self.reading || self.session.as_ref().is_none_or(Session::is_closed) {
            self.session = None;
            self.session = Some(Session::reopen(&self.server)?.limited_to(READ_LIMIT));
        }
        Ok(())
    }

    /// Begins a snapshot. Returns the head row.
    fn begin(&mut self) -> Result<Head, StoreError> {
        self.open()?;
        self.reading = true;
        let session = self.session.as_ref().ok_or_else(StoreError::closed)?;
        let select = session.statement(head::SELECT)?;
        let check = session.statement(seen_commit::CHECK)?;
        let client = session.client();
        let known = self.known.as_ref().map(|(log, history)| (log, log.end(), history.question()));
        let sequence = known.as_ref().map_or(0, |(_, _, question)| question.sequence());
        let (begun, row, checked) = session.wait_for(
            SHORT_LIMIT,
            try_join3(
                client.simple_query(BEGIN),
                client.query_one(&select, &[]),
                client.query_one(&check, &[&sequence]),
            ),
        )?;
        session.check_process(&begun)?;
        let head = Head::read(&row)?;
        if let Some((log, before, question)) = known {
            History::check_snapshot(&question, &checked)?;
            log.check_snapshot(before.as_ref(), &head.log_end())?;
        }
        Ok(head)
    }
}

impl ReadConnection for Snapshots {
    fn snapshot(&mut self, job: &mut dyn FnMut(&dyn Reader)) -> Result<(), StoreError> {
        let idle = self.session.is_some();
        let head = match self.begin() {
            // An idle connection may have been lost unnoticed, or lead to the primary before this one. Nothing has been read.
            Err(StoreError::Unavailable { .. }) if idle => {
                self.session = None;
                self.begin()?
            }
            begun => begun?,
        };
        let session = self.session.as_ref().ok_or_else(StoreError::closed)?;
        job(&Transaction::new(session, &head));
        session.batch("COMMIT")?;
        self.reading = false;
        Ok(())
    }
}
