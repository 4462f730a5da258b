//! The connection that writes. Each batch of jobs locks the head row first, so that the brokers of one database take turns.

use std::{sync::Arc, time::Duration};

use futures_util::{
    TryFutureExt as _,
    future::{try_join, try_join_all, try_join5},
};
use tokio_postgres::{Row, types::ToSql};

use super::{
    audit,
    codec::time,
    commit::{Commit, commit},
    connect::Server,
    fate::{self, Fate, LostCommit},
    follow::LogFollower,
    head::{self, Head},
    history::History,
    keys,
    query::Query,
    revocations,
    rows::{learn, queries},
    seen_commit,
    session::{Session, promptly},
    transaction::Transaction,
    write,
};
use crate::{
    clock::{DatabaseClock, ServerTime},
    store::{
        LostHistory, OpenError, Reaction, StoreError, Tx,
        batch::Batch,
        codec::{from_micros, signed},
        job::JobTime,
        rows::Rows,
        wants::Wants,
        writer::{self, Connection as _},
    },
};

/// Begins a transaction. Every statement after the lock sees what the earlier holders committed. A broker that stops
/// in the middle holds the others up for two seconds. A stronger `synchronous_commit` than ours stays.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_backend_pid(); SET LOCAL lock_timeout = '5s'; \
     SET LOCAL idle_in_transaction_session_timeout = '2s'; SELECT set_config('synchronous_commit', 'on', true) \
     WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')";

/// Time limit for the lock and what is read under it: more than [`BEGIN`] lets the server wait for the lock.
const LOCK_LIMIT: Duration = Duration::from_secs(8);

/// The connection that writes.
#[derive(Debug)]
pub(in crate::store) struct WriteConnection {
    server: Server,
    /// None until the first transaction, and after a connection failed.
    session: Option<Session>,
    /// State of the current transaction.
    open: Option<Open>,
    clock: Arc<DatabaseClock>,
    /// Memory that mirrors the revocation log.
    follower: Arc<LogFollower>,
    history: Arc<History>,
    /// Time for which the outcome of a commit is looked up.
    outcome_limit: Duration,
    /// Set when no transaction could begin within the limit: until one does, each makes one attempt.
    away: bool,
    /// True if another broker appended to the trail before the last transaction: then it does before the next one, too.
    shared: bool,
}

/// State of a transaction.
#[derive(Debug)]
struct Open {
    /// The head row before the transaction.
    head: Head,
    time: ServerTime,
}

impl WriteConnection {
    pub(super) fn new(
        server: Server,
        session: Session,
        clock: Arc<DatabaseClock>,
        follower: Arc<LogFollower>,
        history: Arc<History>,
        outcome_limit: Duration,
    ) -> Self {
        let session = Some(session);
        Self { server, session, open: None, clock, follower, history, outcome_limit, away: false, shared: false }
    }

    fn session(&mut self) -> Result<&Session, StoreError> {
        if self.session.as_ref().is_some_and(Session::is_closed) {
            self.session = None;
        }
        if self.session.is_none() {
            self.session = Some(Session::reopen(&self.server)?);
        }
        self.session.as_ref().ok_or_else(StoreError::closed)
    }

    /// Checks before the first transaction that the database holds what this broker saw, and reacts if it does not.
    pub(super) fn check_history(&mut self) -> Result<(), OpenError> {
        let begun = writer::Connection::begin(self, &Wants::none(), &mut Batch::default());
        let checked = begun.and_then(|()| writer::Connection::roll_back(self));
        match (checked, self.history.stopped().borrow().clone()) {
            (Err(_), Some(lost)) => Err(OpenError::HistoryLost(Box::new(lost))),
            (checked, _) => Ok(checked?),
        }
    }

    /// Makes one attempt to begin a transaction. A connection on which it fails is not used any more.
    fn try_begin(&mut self, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>, StoreError> {
        let begun = self.begin_after_reaction(queries);
        if begun.is_err() {
            (self.session, self.open) = (None, None);
        }
        begun
    }

    /// Begins a transaction, after one that reacts to a lost history, if it is lost.
    fn begin_after_reaction(&mut self, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>, StoreError> {
        // Lost, then covered by the reaction's mark, then gone on with.
        for _ in 0..3 {
            let (lost, rows) = self.lock_head(queries)?;
            let Some(lost) = lost else { return Ok(rows) };
            let lost = LostHistory { withdrawn_keys: self.history.withdrawn_keys(), ..lost };
            let (session, open) = (self.session.as_ref().ok_or_else(outside)?, self.open.as_ref().ok_or_else(outside)?);
            let now = open.time.at(self.clock.local().monotonic());
            if History::is_covered(session, &lost, &open.head, now)? {
                let head = open.head.clone();
                match self.history.withdraw_again(&lost) {
                    Some(withdraw) => self.react(&lost, &[withdraw])?,
                    None => writer::Connection::roll_back(self)?,
                }
                self.history.accept(&head);
            } else {
                let mut reactions = vec![self.history.reaction(&lost)?];
                reactions.extend(self.history.withdraw_again(&lost));
                tracing::error!(component = "store", "{lost}; everything issued until now is revoked");
                self.react(&lost, &reactions)?;
            }
        }
        Err(StoreError::internal("a reaction to a lost history had no effect"))
    }

    /// Reacts to a lost history, in the transaction that found it.
    fn react(&mut self, lost: &LostHistory, reactions: &[Reaction]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.begin(self.open.as_ref().ok_or_else(outside)?.head.clone());
        let rows = self.rows()?;
        let mut tx = Tx::new(&rows, &mut batch, self.now());
        reactions.iter().try_for_each(|reaction| reaction.run(&mut tx, lost))?;
        if let Some(overlooked) = tx.failed_write() {
            return Err(overlooked);
        }
        let follow_ups = tx.finish(true)?;
        writer::Connection::commit(self, &batch)?;
        follow_ups.run();
        Ok(())
    }

    /// Locks the head row and executes `queries`, in one round trip. Returns the history that is lost, if it is.
    fn lock_head(&mut self, queries: &[Query<'_>]) -> Result<(Option<LostHistory>, Vec<Vec<Row>>), StoreError> {
        let (clock, follower, history) =
            (Arc::clone(&self.clock), Arc::clone(&self.follower), Arc::clone(&self.history));
        let session = self.session()?;
        let lock = session.statement(head::LOCK)?;
        let read_time = session.statement(head::TIME)?;
        let after = session.statement(revocations::AFTER)?;
        let check = session.statement(seen_commit::CHECK)?;
        let changed_keys = session.statement(keys::CHANGED)?;
        let requests = session.requests(queries)?;
        let client = session.client();
        let (sent, known, question) = (clock.local().monotonic(), follower.end(), history.question());
        let (cursor, sequence) = (known.as_ref().map_or(i64::MAX, |known| signed(known.cursor)), question.sequence());
        let (cursor, sequence): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 1]) = ([&cursor], [&sequence]);
        let (known_epoch, known_cursor) = follower.known_keys();
        let known_keys: [&(dyn ToSql + Sync); 2] = [&known_epoch, &known_cursor];
        let locked = try_join5(
            client.query_one(&lock, &[]),
            client.query_one(&read_time, &[]),
            try_join(client.query(&after, &cursor), client.query(&changed_keys, &known_keys)),
            try_join_all(requests.iter().map(|request| request.send(client))),
            client.query_one(&check, &sequence),
        );
        let transaction = try_join(promptly(client.simple_query(BEGIN)), locked.err_into());
        let (begun, (row, now, (others, keys), rows, checked)) = session.wait_for(LOCK_LIMIT, transaction)?;
        session.check_process(&begun)?;
        let head = Head::read(&row)?;
        let lost = history.judge(&question, &checked)?;
        if lost.is_none() {
            // Before the jobs run: what they revoke continues the log that memory holds, and they sign with the present key.
            follower.deliver_locked(known, head.log_end(), &others, &keys)?;
        }
        let time = clock.note(sent, time(&now, 0)?, from_micros(head.last_time));
        self.open = Some(Open { head, time });
        Ok((lost, rows))
    }

    /// Reads the ordinals of wanted events that are still unknown, when their names have become known.
    fn fetch_ordinals(&self, wants: &Wants, batch: &mut Batch) -> Result<(), StoreError> {
        let keys = batch.wanted_ordinals(&wants.events);
        if !keys.is_empty() {
            let ordinals = self.rows()?.last_ordinals(&keys)?;
            keys.into_iter().zip(ordinals).for_each(|(key, ordinal)| batch.ordinals.set(key, ordinal));
        }
        Ok(())
    }

    /// Finds out whether a commit took place whose answer was lost.
    fn resolve(&mut self, lost: LostCommit) -> Result<(), StoreError> {
        tracing::warn!(component = "store", error = %lost.error, "a commit was not answered and is looked up");
        match fate::repeat(self.outcome_limit, || self.look_up(&lost)) {
            Ok(fate) => lost.result(fate),
            Err(error) => Err(StoreError::OutcomeUnknown { cause: format!("{}; then {error}", lost.error) }),
        }
    }

    fn look_up(&mut self, lost: &LostCommit) -> Result<Fate, StoreError> {
        self.session = None;
        if self.lock_head(&[])?.0.is_some() {
            // The next transaction reacts.
            self.session = None;
            return Ok(Fate::NotCommitted);
        }
        let Open { head, .. } = self.open.take().ok_or_else(outside)?;
        let session = self.session.as_ref().ok_or_else(outside)?;
        let fate = lost.fate(session, head.generation)?;
        if fate == Fate::NotCommitted {
            session.batch("ROLLBACK")?;
            return Ok(fate);
        }
        match commit(session, &[], &head)? {
            Commit::Done => Ok(fate),
            Commit::Failed(error) | Commit::Unknown(error) => Err(error),
        }
    }
}

fn outside() -> StoreError {
    StoreError::internal("there is no transaction")
}

impl writer::Connection for WriteConnection {
    type Rows<'c> = Transaction<'c>;
    const IS_SHARED: bool = true;

    fn begin(&mut self, wants: &Wants, batch: &mut Batch) -> Result<(), StoreError> {
        let unknown = batch.unknown(wants);
        let keys = if self.shared { batch.all_ordinals(&wants.events) } else { batch.wanted_ordinals(&wants.events) };
        let mut queries = queries(&unknown);
        let facts = queries.len();
        queries.extend(audit::ordinal_queries(&keys));
        let limit = if self.away { Duration::ZERO } else { fate::BEGIN_LIMIT };
        let begun = fate::repeat(limit, || self.try_begin(&queries));
        self.away = begun.is_err();
        let rows = begun?;
        let head = self.open.as_ref().ok_or_else(outside)?.head.clone();
        self.shared = head.trail != batch.head.trail;
        batch.begin(head);
        learn(&queries, &rows, &mut batch.facts)?;
        let ordinals = audit::ordinals(keys.len(), rows.get(facts..).unwrap_or_default())?;
        keys.into_iter().zip(ordinals).for_each(|(key, ordinal)| batch.ordinals.set(key, ordinal));
        drop(queries);
        batch.facts.settle(unknown);
        self.fetch_ordinals(wants, batch)
    }

    fn fetch(&mut self, wants: &Wants, batch: &mut Batch) -> Result<(), StoreError> {
        let unknown = batch.unknown(wants);
        if !unknown.is_empty() {
            self.rows()?.fetch(&unknown, &mut batch.facts)?;
            batch.facts.settle(unknown);
        }
        self.fetch_ordinals(wants, batch)
    }

    fn rows(&self) -> Result<Transaction<'_>, StoreError> {
        let session = self.session.as_ref().ok_or_else(outside)?;
        Ok(Transaction::new(session, &self.open.as_ref().ok_or_else(outside)?.head))
    }

    fn now(&self) -> JobTime {
        let local = self.clock.local().monotonic();
        let time = self.open.as_ref().map_or_else(|| self.clock.latest_reading(), |open| open.time);
        JobTime { now: time.at(local), latest: time.at_most(local) }
    }

    /// Makes the transaction durable. `COMMIT` of a transaction that failed is answered without an error, so the answers to
    /// all statements must be good.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let Open { head: before, .. } = self.open.take().ok_or_else(outside)?;
        let session = self.session.as_ref().ok_or_else(outside)?;
        let Batch { head, wrote, pending, withdrawn_keys, .. } = batch;
        if !wrote {
            return session.batch("COMMIT");
        }
        match commit(session, &write::queries(pending)?, head)? {
            Commit::Done => {}
            Commit::Failed(error) => return Err(error),
            Commit::Unknown(error) => {
                let event = (head.trail != before.trail).then_some(head.trail.chain);
                self.resolve(LostCommit { event, generation: head.generation, error })?;
            }
        }
        self.follower.committed(head.cursor);
        self.history.committed(head);
        // In the state file before the response: if the database loses the commit, a broker that restarts repeats it.
        self.history.record_withdrawals(withdrawn_keys);
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), StoreError> {
        self.open = None;
        match &self.session {
            Some(session) if !session.is_closed() => session.batch("ROLLBACK"),
            _ => Ok(()),
        }
    }

    fn maintain(&mut self, _idle: bool) {}

    fn close(self) {
        self.history.close();
    }
}
