//! Commits of unknown outcome, and transactions that could not begin.
//!
//! 1. Until a transaction has begun, no job has run: what failed for a passing reason is repeated, within [`BEGIN_LIMIT`].
//!    Once the database was away for that long, each transaction makes one attempt only, so that its clients learn at once.
//! 2. A commit whose answer was lost is looked up under the lock of the head row, while its clients wait. The lock was held
//!    since the transaction began: when it is granted again, the commit has taken place or never will.
//! 3. The hash of its last event identifies a transaction. One without events is known to have failed if the generation is
//!    what it was, otherwise its outcome stays unknown. Such transactions delete what has expired, record the time or probe
//!    the database, all of which may be repeated.
//! 4. A commit that is found is acknowledged after a commit that follows it: one that was cancelled while it waited for a
//!    synchronous standby is visible, and not replicated. A later commit waits for all of the log before it.
//! 5. A commit is never cancelled: PostgreSQL would report success.

use std::{
    thread,
    time::{Duration, Instant},
};

use agentwrit_verify::http_client::{Backoff, random_fraction};

use super::{session::Session, value::values};
use crate::{
    audit::ChainHead,
    store::{StoreError, codec::signed},
};

/// Time within which a transaction that could not begin is repeated.
pub(super) const BEGIN_LIMIT: Duration = Duration::from_secs(5);
/// Delays between attempts.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500)).least_share(0.5);

/// A transaction whose commit was not answered.
#[derive(Debug)]
pub(super) struct LostCommit {
    /// Its last event, if it has one.
    pub(super) event: Option<ChainHead>,
    /// Generation of the head row before it.
    pub(super) generation: i64,
    /// Error that the commit ended with.
    pub(super) error: StoreError,
}

/// Outcome of a commit, as far as the database shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
    NotCommitted,
    Unknown,
}

impl LostCommit {
    /// Looks the commit up, in a transaction that holds the lock of the head row, which has this `generation` now.
    pub(super) fn fate(&self, session: &Session, generation: i64) -> Result<Fate, StoreError> {
        if generation == self.generation {
            return Ok(Fate::NotCommitted);
        }
        let Some(event) = &self.event else { return Ok(Fate::Unknown) };
        let found = session.rows(
            "SELECT 1 FROM audit_events WHERE seq = $1 AND hash = $2",
            values![signed(event.sequence), event.hash.as_bytes()],
        )?;
        Ok(if found.is_empty() { Fate::NotCommitted } else { Fate::Committed })
    }

    /// Result for the callers of the transaction's jobs.
    pub(super) fn result(self, fate: Fate) -> Result<(), StoreError> {
        match fate {
            Fate::Committed => Ok(()),
            Fate::NotCommitted => Err(self.error),
            Fate::Unknown => Err(StoreError::OutcomeUnknown { cause: self.error.to_string() }),
        }
    }
}

/// Repeats an attempt that fails for a reason that may pass, with pauses, until `limit` is over. Then returns its error.
pub(super) fn repeat<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let started = Instant::now();
    let mut failures = 0;
    loop {
        let error = match attempt() {
            Err(error @ (StoreError::Busy | StoreError::Unavailable { .. })) => error,
            ended => return ended,
        };
        let pause = BACKOFF.delay(failures, random_fraction());
        if started.elapsed().saturating_add(pause) >= limit {
            return Err(error);
        }
        tracing::warn!(component = "store", %error, "a transaction could not begin and is tried again");
        thread::sleep(pause);
        failures = failures.saturating_add(1);
    }
}
