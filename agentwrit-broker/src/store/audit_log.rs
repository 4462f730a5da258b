//! Reads of the audit trail in sequence. Queries are in `audit_query`.

use agentwrit_verify::{
    UnixTime,
    audit::{ChainLink, ChainVerifier},
};

use super::{
    StoreError,
    audit_lists::{List, Span},
    names::ReadNames,
    trail::TrailHead,
};
use crate::audit::{ChainHead, Event};

/// Reads of the audit trail.
pub trait ReadAudit: ReadNames {
    /// Returns the number of events.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_total(&self) -> Result<u64, StoreError>;

    /// Returns the events after the `after`th in sequence, to export or verify the whole trail.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_events_after(&self, after: u64, limit: u64) -> Result<Vec<Event>, StoreError>;

    /// Returns the events with these numbers, in their order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_events_numbered(&self, sequences: &[u64]) -> Result<Vec<Event>, StoreError>;

    /// Returns the last event up to a number; none before the first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trail_head_at(&self, sequence: u64) -> Result<Option<TrailHead>, StoreError>;

    /// Returns the kinds of which a list has events, in ascending order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_kinds(&self, list: List) -> Result<Vec<i64>, StoreError>;

    /// Returns the number of events of some kinds in a list up to a number of the trail.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_rank(&self, list: List, kinds: &[i64], sequence: u64) -> Result<u64, StoreError>;

    /// Returns the numbers of the first `count` events of some kinds in a list and a stretch of the trail.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_sequences(&self, list: List, kinds: &[i64], span: Span, count: u64) -> Result<Vec<u64>, StoreError>;

    /// Returns the first events of the runs after the first run: where the clock was set back.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_runs(&self) -> Result<Vec<u64>, StoreError>;

    /// Returns the time of an event.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_time(&self, sequence: u64) -> Result<Option<UnixTime>, StoreError>;

    /// Returns the end of the trail.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trail_head(&self) -> Result<TrailHead, StoreError> {
        Ok(self.trail_head_at(u64::MAX)?.unwrap_or_default())
    }

    /// Verifies the chain over the last `count` events.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn walk_tail(&self, count: u64) -> Result<ChainVerifier, StoreError> {
        let before = self.audit_total()?.saturating_sub(count);
        let head = self.trail_head_at(before)?.map_or(ChainHead::GENESIS, |head| head.chain);
        let mut walk = ChainVerifier::new(head);
        for event in self.audit_events_after(before, count)? {
            let unending =
                |fault| StoreError::corrupt(format!("the audit trail has too many breaks, the last: {fault}"));
            walk.follow(&ChainLink::of(&event)).map_err(unending)?;
        }
        Ok(walk)
    }
}
