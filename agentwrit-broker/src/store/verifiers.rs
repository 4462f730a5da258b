//! Reads of enrolled verifiers, and the memory that mirrors their instances.
//!
//! 1. A store of one broker keeps instances without a bound only: nothing but a report that they leave ends them. The others
//!    are known again, or have stopped accepting tokens, [`Report::LEASE`](agentwrit_verify::report::Report::LEASE) after a start.
//! 2. The removal of a verifier deletes neither its row nor its instances: they count while they may accept tokens.
//! 3. A store of several brokers keeps every instance, durably: a report that one broker accepted counts at each of them.
//!    An `UNLOGGED` table would lose the instances without a bound in a crash of the server, and those with one in
//!    confirmations after it.

use std::fmt;

use agentwrit_verify::{FeedCursor, UnixTime};

use super::StoreError;
use crate::domain::{Enrolment, InstanceState};

/// Reads of verifiers.
pub trait ReadVerifiers {
    /// Returns the enrolled verifiers and the removed ones whose instances may accept tokens, in the order of their enrolment.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn enrolments(&self) -> Result<Vec<Enrolment>, StoreError>;

    /// Returns the instances that the store keeps, in the order of verifier and id.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn verifier_instances(&self) -> Result<Vec<InstanceState>, StoreError>;

    /// Returns what the confirmation of a cursor was decided by, compressed; `None` if that is not kept.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn confirmation_evidence(&self, cursor: &FeedCursor) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns the size of all such documents, in bytes.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn confirmation_evidence_size(&self) -> Result<u64, StoreError>;
}

/// Enrolled verifiers and their instances, as a store of several brokers holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredFleet {
    pub(crate) enrolments: Vec<Enrolment>,
    pub(crate) instances: Vec<InstanceState>,
    /// `None` if reports are kept in this process only.
    pub(crate) kept: Option<KeptReports>,
}

/// Reports that a database has kept since it may have lost some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptReports {
    /// Names the loss. Later than each enrolment before the loss, whatever the clock.
    pub(crate) since: UnixTime,
    /// True once a broker has followed reports for a lease since: every instance is known.
    pub(crate) is_complete: bool,
}

/// Memory that mirrors verifiers and instances.
pub(crate) trait FleetMirror: fmt::Debug + Send + Sync {
    /// Puts `fleet` in the place of what memory holds.
    fn replace(&self, fleet: StoredFleet);

    /// Returns true while a caller waits for changes, so that they should arrive soon.
    fn is_awaited(&self) -> bool;

    /// Returns the loss since which memory has followed reports for a lease, if the database has not noted that.
    fn complete_since(&self) -> Option<UnixTime>;

    /// Adds or changes instances.
    fn extend(&self, instances: Vec<InstanceState>);
}

/// Result of storing a report for all brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoredReport {
    /// It is stored. The end of the log was read afterwards.
    Accepted { end: FeedCursor },
    /// It comes from an instance that follows another database.
    Ahead,
    /// A later report of the instance is stored, or the verifier is not enrolled any more.
    Superseded,
}
