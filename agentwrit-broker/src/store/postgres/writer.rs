//! The connection that writes. Each batch of jobs locks the head row first, so that the brokers of one database take turns.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join, try_join4};
use tokio_postgres::types::ToSql;

use super::{
    codec::time,
    connect::Server,
    fate::{self, Fate, LostCommit},
    follow::LogFollower,
    head::{self, Head},
    revocations,
    session::{COMMIT_LIMIT, Session},
    transaction::{Done, Transaction},
};
use crate::{
    clock::{DatabaseClock, ServerTime},
    store::{
        StoreError,
        codec::{from_micros, micros, signed},
        job::Job,
        job_state::JobState,
        trail::{Trail, TrailHead},
        wants::Wants,
        writer::{self, Effects},
    },
};

/// Begins a transaction. Every statement after the lock sees what the earlier holders committed. A broker that stops
/// in the middle holds the others up for two seconds.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s'; \
     SET LOCAL idle_in_transaction_session_timeout = '2s'; SET LOCAL synchronous_commit = on";

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
        outcome_limit: Duration,
    ) -> Self {
        let (session, committed) = (Some(session), Trail::default());
        Self { server, session, open: None, committed, clock, follower, outcome_limit, away: false }
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

    /// Makes one attempt to begin a transaction. A connection on which it fails is not used any more.
    fn try_begin(&mut self) -> Result<(), StoreError> {
        let begun = self.lock_head();
        if begun.is_err() {
            (self.session, self.open) = (None, None);
        }
        begun
    }

    fn lock_head(&mut self) -> Result<(), StoreError> {
        let (clock, follower) = (Arc::clone(&self.clock), Arc::clone(&self.follower));
        let session = self.session()?;
        let lock = session.statement(head::LOCK)?;
        let read_time = session.statement(head::TIME)?;
        let after = session.statement(revocations::AFTER)?;
        let client = session.client();
        let (sent, known) = (clock.local().monotonic(), follower.end());
        let cursor = known.as_ref().map_or(i64::MAX, |known| signed(known.cursor));
        let (.., row, now, others) = session.wait(try_join4(
            client.batch_execute(BEGIN),
            client.query_one(&lock, &[]),
            client.query_one(&read_time, &[]),
            client.query(&after, &[&cursor]),
        ))?;
        let head = Head::read(&row)?;
        // Before the jobs run: what they revoke continues the log that memory holds.
        follower.deliver_locked(known, head.log_end(), &others)?;
        let time = clock.note(sent, time(&now, 0)?, from_micros(head.last_time));
        let known = std::mem::take(&mut self.committed);
        let trail = if known.head == head.trail { known } else { Trail::new(head.trail) };
        self.open = Some(Open { before: head.trail, head, trail, wrote: false, time });
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
        self.try_begin()?;
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

    fn close(self) {}
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
