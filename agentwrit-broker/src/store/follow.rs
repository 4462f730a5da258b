//! Memory that mirrors the revocation log and the keys, kept in step with what every broker of the database commits.
//!
//! 1. A commit of this broker reaches memory by [`Tx::after_commit`](super::Tx), those of others by [`Mirror::extend`],
//!    each in the order of the log. Both may deliver the same revocation, so what memory holds already is ignored.
//! 2. A transaction that writes delivers what others committed before its jobs run. So this broker's own revocations
//!    continue the log that memory holds.
//! 3. What any broker acknowledged before [`Store::confirm`](super::Store::confirm) was called is in memory when it
//!    returns.

use std::{fmt, sync::Arc};

use agentwrit_verify::UnixTime;

use super::{StoreError, revocations::FeedRow};
use crate::domain::StoredKey;

/// End of a revocation log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// Identifies the log.
    pub(crate) epoch: Arc<str>,
    /// Cursor of the latest revocation, 0 before the first.
    pub(crate) cursor: u64,
}

/// Latest change of the keys that is taken into account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeysVersion {
    /// Identifies the revocation log.
    pub(crate) epoch: Arc<str>,
    /// Cursor of the change in the log, 0 before the first.
    pub(crate) cursor: u64,
}

/// Memory that mirrors the revocation log and the keys.
pub(crate) trait Mirror: fmt::Debug + Send + Sync {
    /// Returns the end of the log that memory holds.
    fn end(&self) -> LogEnd;

    /// Adds revocations of the log that ends at `end` now. Ignores those that memory holds, and those of another log.
    fn extend(&self, rows: &[FeedRow<'_>], end: &LogEnd);

    /// Returns the latest change of the keys that memory holds.
    fn keys_version(&self) -> KeysVersion;

    /// Puts these keys in the place of those in memory, before the end of the log moves. Ignores keys of an earlier change of
    /// the same log.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if a key does not open: the broker can't go on with the keys in memory.
    fn replace_keys(&self, rows: &[StoredKey], version: KeysVersion) -> Result<(), StoreError>;

    /// Returns the ids of the keys that memory holds as withdrawn, also those of a log that is lost.
    fn withdrawn_keys(&self) -> Vec<String>;

    /// Returns the memory of another log, which takes the place of this one when it is complete.
    fn restart(&self) -> Box<dyn NewLog>;
}

/// Memory of a log that is read from its beginning.
pub(crate) trait NewLog: Send {
    /// Adds the next revocation.
    fn push(&mut self, row: FeedRow<'_>);

    /// Puts this log in the place of the one before it, at once.
    fn finish(self: Box<Self>, end: LogEnd);
}

/// When the state of the store is read for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// At once.
    Now,
    /// When it is read anyway: a client that is not authenticated causes no reading.
    Next,
}

/// State of the store that memory holds at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Confirmed {
    /// Time at which it was the state.
    pub(crate) at: UnixTime,
    /// Time of the last commit then.
    pub(crate) last_commit: UnixTime,
}
