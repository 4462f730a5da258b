//! Reads of the log of revocations.

use agentwrit_verify::{Level, UnixTime};

use super::{
    Page, StoreError,
    facts::{ReadFacts, lookup},
    wants::Wants,
};
use crate::domain::Revocation;

/// A revocation and its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRow {
    /// Larger than that of every revocation before it, and never used twice.
    pub cursor: u64,
    /// Revoked object.
    pub revocation: Revocation,
}

/// Revocation as the feed sends it, and its position in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedRow<'r> {
    /// See [`RevocationRow::cursor`].
    pub cursor: u64,
    /// The level.
    pub level: Level,
    /// Revoked object.
    pub target: &'r str,
    /// Since when.
    pub revoked_at: UnixTime,
    /// Time until which it can affect a token.
    pub expires_at: UnixTime,
}

/// Reads of the log of revocations.
pub trait ReadRevocations: ReadFacts {
    /// Returns the identifier of the log. Cursors of another epoch are invalid.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn epoch(&self) -> Result<String, StoreError>;

    /// The revocations that still affect some token, in the order of the log.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn live_revocations(&self, now: UnixTime) -> Result<Vec<RevocationRow>, StoreError> {
        self.revocations_after(0, now)
    }

    /// The revocations after a cursor that still affect some token, in the order of the log.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn revocations_after(&self, cursor: u64, now: UnixTime) -> Result<Vec<RevocationRow>, StoreError>;

    /// Visits the revocations after a cursor that can still affect a token, as the feed sends them, in the order of the log,
    /// `limit` at most.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn visit_revocations(
        &self,
        cursor: u64,
        now: UnixTime,
        limit: u64,
        visit: &mut dyn FnMut(FeedRow<'_>),
    ) -> Result<(), StoreError>;

    /// Returns the number of revocations that can still affect a token.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn count_live_revocations(&self, now: UnixTime) -> Result<u64, StoreError>;

    /// Returns a page of the requested revocations that can still affect a token, and the total.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn listed_revocations(&self, now: UnixTime, page: &Page) -> Result<(Vec<RevocationRow>, u64), StoreError>;

    /// Returns the latest not-before mark on a subject, task or root delegator, or on all tokens.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn latest_not_before_mark(&self, target: &str) -> Result<Option<UnixTime>, StoreError> {
        lookup(self, || Wants::none().mark(target), |facts| Some(facts.marks.find(target)?.copied()))
    }

    /// The cursor of the latest revocation ever, 0 before the first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn latest_cursor(&self) -> Result<u64, StoreError>;
}

/// Returns the level of that name.
pub(super) fn level(name: &str) -> Option<Level> {
    let levels = [Level::Token, Level::Session, Level::Agent, Level::Task, Level::Chain, Level::Issuer];
    levels.into_iter().find(|level| level.as_str() == name)
}
