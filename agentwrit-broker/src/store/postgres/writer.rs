//! The connection that writes. Each batch of jobs locks the head row first, so that the brokers of one database take turns.

use std::sync::Arc;

use futures_util::future::{join, try_join3};
use tokio_postgres::types::ToSql;

use super::{
    codec::time,
    connect::Server,
    head::{self, Head},
    session::Session,
    transaction::{Done, Transaction},
};
use crate::{
    audit::ChainHead,
    clock::{DatabaseClock, ServerTime},
    store::{
        StoreError,
        codec::{from_micros, micros, signed},
        job::Job,
        job_state::JobState,
        trail::{Trail, TrailHead},
        wants::Wants,
        writer::{self, Connection as _, Effects},
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
    pub(super) fn new(server: Server, session: Session, clock: Arc<DatabaseClock>) -> Self {
        Self { server, session: Some(session), open: None, committed: Trail::default(), clock }
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

    /// Returns whether the commit that ended with `last` took place, of which no answer arrived.
    fn was_committed(&mut self, last: &ChainHead) -> Result<bool, StoreError> {
        self.session = None;
        self.begin(&Wants::none())?;
        let hash = self.session()?.rows(
            "SELECT 1 FROM audit_events WHERE seq = $1 AND hash = $2",
            super::value::values![signed(last.sequence), last.hash.as_bytes()],
        );
        self.roll_back()?;
        Ok(!hash?.is_empty())
    }
}

impl writer::Connection for WriteConnection {
    fn begin(&mut self, _wants: &Wants) -> Result<(), StoreError> {
        let clock = Arc::clone(&self.clock);
        let session = self.session()?;
        let lock = session.statement(head::LOCK)?;
        let read_time = session.statement(head::TIME)?;
        let client = session.client();
        let sent = clock.local().monotonic();
        let (.., row, now) = session.wait(try_join3(
            client.batch_execute(BEGIN),
            client.query_one(&lock, &[]),
            client.query_one(&read_time, &[]),
        ))?;
        let head = Head::read(&row)?;
        let time = clock.note(sent, time(&now, 0)?, from_micros(head.last_time));
        let known = std::mem::take(&mut self.committed);
        let trail = if known.head == head.trail { known } else { Trail::new(head.trail) };
        self.open = Some(Open { before: head.trail, head, trail, wrote: false, time });
        Ok(())
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
            return Err(tx.failed_write().unwrap_or_else(|| StoreError::internal("the connection was lost")));
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
            // Only an event identifies a transaction; what has none may be repeated.
            Commit::Unknown(error) if head.trail == before => Err(error),
            Commit::Unknown(error) => match self.was_committed(&head.trail.chain) {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(error),
            },
        };
        if done.is_ok() {
            trail.commit();
            self.committed = trail;
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

/// Outcome of a commit.
enum Commit {
    Done,
    Failed(StoreError),
    /// The connection was lost before the answer.
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
    Ok(match session.wait(async { Ok::<_, StoreError>(sent.await) })? {
        (Ok(_), Ok(())) => Commit::Done,
        (Err(error), _) if error.as_db_error().is_some() => Commit::Failed(error.into()),
        (Err(error), _) | (Ok(_), Err(error)) => Commit::Unknown(error.into()),
    })
}
