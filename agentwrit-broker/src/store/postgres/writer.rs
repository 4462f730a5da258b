//! The connection that writes. Each batch of jobs locks the head row first, so that the brokers of one database take turns.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join, try_join, try_join4};
use tokio::sync::oneshot;
use tokio_postgres::types::ToSql;

use super::{
    codec::time,
    connect::Server,
    fate::{self, Fate, LostCommit},
    follow::LogFollower,
    head::{self, Head},
    history::{self, History},
    revocations,
    session::{COMMIT_LIMIT, Session},
    transaction::{Done, Transaction},
};
use crate::{
    clock::{DatabaseClock, ServerTime},
    store::{
        LostHistory, OpenError, StoreError, Tx,
        codec::{from_micros, micros, signed},
        job::{Job, PendingJob},
        job_state::JobState,
        trail::{Trail, TrailHead},
        wants::Wants,
        writer::{self, Effects},
    },
};

/// Begins a transaction. Every statement after the lock sees what the earlier holders committed. A broker that stops
/// in the middle holds the others up for two seconds. A stronger `synchronous_commit` than ours stays.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s'; \
     SET LOCAL idle_in_transaction_session_timeout = '2s'; SELECT set_config('synchronous_commit', 'on', true) \
     WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')";

/// The connection that writes.
#[derive(Debug)]
pub(in crate::store) struct WriteConnection {
    server: Server,
    /// None until the first transaction, and after a connection failed.
    session: Option<Session>,
    /// State of the current transaction.
    open: Option<Open>,
    /// End of the trail after the last commit. Its ordinals are true as long as no other broker appends.
    committed: Trail,
    clock: Arc<DatabaseClock>,
    /// Memory that mirrors the revocation log.
    follower: Arc<LogFollower>,
    history: Arc<History>,
    /// Time for which the outcome of a commit is looked up.
    outcome_limit: Duration,
    /// Set when no transaction could begin within the limit: until one does, each makes one attempt.
    away: bool,
}

/// State of a transaction.
#[derive(Debug)]
struct Open {
    head: Head,
    trail: Trail,
    /// End of the trail before the transaction.
    before: TrailHead,
    wrote: bool,
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
        let (session, committed) = (Some(session), Trail::default());
        Self { server, session, open: None, committed, clock, follower, history, outcome_limit, away: false }
    }

    fn session(&mut self) -> Result<&Session, StoreError> {
        if self.session.as_ref().is_some_and(Session::is_closed) {
            self.session = None;
        }
        if self.session.is_none() {
            self.session = Some(Session::open(&self.server)?);
        }
        self.session.as_ref().ok_or_else(StoreError::closed)
    }

    /// Checks before the first transaction that the database holds what this broker saw, and reacts if it does not.
    pub(super) fn check_history(&mut self) -> Result<(), OpenError> {
        let checked =
            writer::Connection::begin(self, &Wants::none()).and_then(|()| writer::Connection::roll_back(self));
        match (checked, self.history.stopped().borrow().clone()) {
            (Err(_), Some(lost)) => Err(OpenError::HistoryLost(Box::new(lost))),
            (checked, _) => Ok(checked?),
        }
    }

    /// Makes one attempt to begin a transaction. A connection on which it fails is not used any more.
    fn try_begin(&mut self) -> Result<(), StoreError> {
        let begun = self.begin_after_reaction();
        if begun.is_err() {
            (self.session, self.open) = (None, None);
        }
        begun
    }

    /// Begins a transaction, after one that reacts to a lost history, if it is lost.
    fn begin_after_reaction(&mut self) -> Result<(), StoreError> {
        // Lost, then covered by the reaction's mark, then gone on with.
        for _ in 0..3 {
            let Some(lost) = self.lock_head()? else { return Ok(()) };
            let outside = || StoreError::internal("a reaction outside of a transaction");
            let (session, open) = (self.session.as_ref().ok_or_else(outside)?, self.open.as_ref().ok_or_else(outside)?);
            if History::is_covered(session, &lost, &open.head)? {
                self.history.accept(&open.head);
                writer::Connection::roll_back(self)?;
            } else {
                self.react(lost)?;
            }
        }
        Err(StoreError::internal("a reaction to a lost history had no effect"))
    }

    /// Reacts to a lost history, in the transaction that found it.
    fn react(&mut self, lost: LostHistory) -> Result<(), StoreError> {
        let reaction = self.history.reaction(&lost)?;
        tracing::error!(component = "store", "{lost}; everything issued until now is revoked");
        let (reply, mut response) = oneshot::channel::<Result<(), StoreError>>();
        let mut job = Box::new(PendingJob::new(Wants::none(), move |tx: &mut dyn Tx| reaction(tx, &lost), reply));
        writer::Connection::run(self, job.as_mut())?;
        writer::Connection::commit(self)?;
        job.respond(Ok(()));
        response.try_recv().map_err(|_| StoreError::internal("a reaction did not respond"))?
    }

    /// Locks the head row. Returns the history that is lost, if it is.
    fn lock_head(&mut self) -> Result<Option<LostHistory>, StoreError> {
        let (clock, follower, history) =
            (Arc::clone(&self.clock), Arc::clone(&self.follower), Arc::clone(&self.history));
        let session = self.session()?;
        let lock = session.statement(head::LOCK)?;
        let read_time = session.statement(head::TIME)?;
        let after = session.statement(revocations::AFTER)?;
        let check = session.statement(history::CHECK)?;
        let client = session.client();
        let (sent, known, question) = (clock.local().monotonic(), follower.end(), history.question());
        let (cursor, sequence) = (known.as_ref().map_or(i64::MAX, |known| signed(known.cursor)), question.sequence());
        let ((.., row, now, others), checked) = session.wait(try_join(
            try_join4(
                client.batch_execute(BEGIN),
                client.query_one(&lock, &[]),
                client.query_one(&read_time, &[]),
                client.query(&after, &[&cursor]),
            ),
            client.query_one(&check, &[&sequence]),
        ))?;
        let head = Head::read(&row)?;
        let lost = history.judge(&question, &checked)?;
        if lost.is_none() {
            // Before the jobs run: what they revoke continues the log that memory holds.
            follower.deliver_locked(known, head.log_end(), &others)?;
        }
        let time = clock.note(sent, time(&now, 0)?, from_micros(head.last_time));
        let known = std::mem::take(&mut self.committed);
        let trail = if known.head == head.trail { known } else { Trail::new(head.trail) };
        self.open = Some(Open { before: head.trail, head, trail, wrote: false, time });
        Ok(lost)
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
        if self.lock_head()?.is_some() {
            // The next transaction reacts.
            self.session = None;
            return Ok(Fate::NotCommitted);
        }
        let outside = || StoreError::internal("a look-up outside of a transaction");
        let Open { head, .. } = self.open.take().ok_or_else(outside)?;
        let session = self.session.as_ref().ok_or_else(outside)?;
        let fate = lost.fate(session, head.generation)?;
        if fate == Fate::NotCommitted {
            session.batch("ROLLBACK")?;
            return Ok(fate);
        }
        match commit_head(session, &head)? {
            Commit::Done => Ok(fate),
            Commit::Failed(error) | Commit::Unknown(error) => Err(error),
        }
    }
}

impl writer::Connection for WriteConnection {
    fn begin(&mut self, _wants: &Wants) -> Result<(), StoreError> {
        let limit = if self.away { Duration::ZERO } else { fate::BEGIN_LIMIT };
        let begun = fate::repeat(limit, || self.try_begin());
        self.away = begun.is_err();
        begun
    }

    fn fetch(&mut self, _wants: &Wants) -> Result<(), StoreError> {
        Ok(())
    }

    fn run(&mut self, job: &mut dyn Job) -> Result<Effects, StoreError> {
        let outside = || StoreError::internal("a job ran outside of a transaction");
        let Open { head: head_before, trail, before, wrote: wrote_before, time } =
            self.open.take().ok_or_else(outside)?;
        let session = self.session.as_ref().ok_or_else(outside)?;
        let mark = trail.mark();
        let now = time.at(self.clock.local().monotonic());
        let mut tx = Transaction::new(session, head_before.clone(), JobState::new(trail, now));
        let keep = job.run(&mut tx);
        if session.is_closed() {
            let lost = || StoreError::Unavailable { cause: "the connection was lost".to_owned() };
            return Err(tx.failed_write().unwrap_or_else(lost));
        }
        let Done { wrote, head, mut job } = if keep { tx.keep()? } else { tx.undo()? };
        let follow_ups = job.take_follow_ups();
        let mut trail = job.trail;
        if keep {
            let head = Head { trail: trail.head, last_time: micros(now), ..head };
            self.open = Some(Open { head, trail, before, wrote: wrote_before || wrote, time });
            return Ok(Effects { wrote, follow_ups });
        }
        trail.return_to(mark);
        self.open = Some(Open { head: head_before, trail, before, wrote: wrote_before, time });
        Ok(Effects::default())
    }

    /// Makes the transaction durable. `COMMIT` of a transaction that failed is answered without an error, so the answers to
    /// both statements must be good.
    fn commit(&mut self) -> Result<(), StoreError> {
        let outside = || StoreError::internal("a commit outside of a transaction");
        let Open { head, mut trail, before, wrote, .. } = self.open.take().ok_or_else(outside)?;
        let session = self.session.as_ref().ok_or_else(outside)?;
        let done = if wrote { commit_head(session, &head)? } else { Commit::of(session.batch("COMMIT")) };
        let done = match done {
            Commit::Done => Ok(()),
            Commit::Failed(error) => Err(error),
            Commit::Unknown(error) if !wrote => Err(error),
            Commit::Unknown(error) => {
                let event = (head.trail != before).then_some(head.trail.chain);
                self.resolve(LostCommit { event, generation: head.generation, error })
            }
        };
        if done.is_ok() {
            trail.commit();
            self.committed = trail;
            self.follower.committed(head.cursor);
            self.history.committed(&head);
        }
        done
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

/// Response to a commit.
enum Commit {
    Done,
    Failed(StoreError),
    /// The connection was lost before the response, or the commit might not have been replicated.
    Unknown(StoreError),
}

impl Commit {
    fn of(answer: Result<(), StoreError>) -> Self {
        match answer {
            Ok(()) => Self::Done,
            Err(error) => Self::Unknown(error),
        }
    }
}

/// Rewrites the head row and commits, in one round trip.
fn commit_head(session: &Session, head: &Head) -> Result<Commit, StoreError> {
    let update = session.statement(head::UPDATE)?;
    let values = head.values();
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    let client = session.client();
    let sent = join(client.execute(&update, &values), client.batch_execute("COMMIT"));
    session.take_warned();
    let response = match session.wait_for(COMMIT_LIMIT, async { Ok::<_, StoreError>(sent.await) }) {
        Ok(response) => response,
        Err(error) => return Ok(Commit::Unknown(error)),
    };
    Ok(match response {
        (Ok(_), Ok(())) if session.take_warned() => {
            Commit::Unknown(StoreError::Unavailable { cause: "the server warned about the commit".to_owned() })
        }
        (Ok(_), Ok(())) => Commit::Done,
        (Err(error), _) if error.as_db_error().is_some() => Commit::Failed(error.into()),
        (Err(error), _) | (Ok(_), Err(error)) => Commit::Unknown(error.into()),
    })
}
