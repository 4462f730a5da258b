//! Enrolled verifiers, and their instances.

use agentwrit_verify::{
    FeedCursor, PublicKey, UnixTime,
    confirmation::KnownInstance,
    report::{InstanceId, KeySetDigest, Report, ReportedBound, VerifierName},
};

/// A verifier that the operator enrolled.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// Name of the verifier.
    pub name: VerifierName,
    /// Key that verifies its reports.
    pub public_key: PublicKey,
    /// Largest bound on staleness that its instances may report, in seconds.
    pub max_bound: Option<u64>,
    /// Time of the enrolment.
    pub added_at: UnixTime,
}

impl PartialEq for Enrolment {
    fn eq(&self, other: &Self) -> bool {
        let parts = |enrolment: &Self| (enrolment.max_bound, enrolment.added_at);
        self.name == other.name
            && self.public_key.as_bytes() == other.public_key.as_bytes()
            && parts(self) == parts(other)
    }
}

impl Eq for Enrolment {}

/// Latest accepted report of an instance of a verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceState {
    /// Its verifier.
    pub verifier: VerifierName,
    /// Its id.
    pub instance: InstanceId,
    /// Number of the report.
    pub sequence: u64,
    /// Cursor that it applies.
    pub applied: FeedCursor,
    /// Its bound on staleness.
    pub bound: ReportedBound,
    /// Digest of its keys.
    pub key_set: Option<KeySetDigest>,
    /// Position whose earlier requests have ended.
    pub drained: Option<u64>,
    /// True when it has left.
    pub leaving: bool,
    /// Time at which a broker received the report.
    pub heard_at: UnixTime,
    /// SHA-256 of the signed report.
    pub digest: [u8; 32],
    /// True when it has since reported a cursor that this log has not reached, so that it follows another database.
    pub is_ahead: bool,
}

impl InstanceState {
    /// Takes the state from a verified report of this digest, which was received at `heard_at`.
    #[must_use]
    pub fn of(report: Report, digest: [u8; 32], heard_at: UnixTime) -> Self {
        Self {
            verifier: report.verifier,
            instance: report.instance,
            sequence: report.sequence,
            applied: report.applied,
            bound: report.bound,
            key_set: report.key_set,
            drained: report.drained,
            leaving: report.leaving,
            heard_at,
            digest,
            is_ahead: false,
        }
    }

    /// Returns the instance as it counts for confirmations. What follows another database has applied nothing of this log,
    /// and its list does not become stale.
    #[must_use]
    pub fn known(&self) -> KnownInstance {
        let bound = if self.is_ahead { ReportedBound::Unbounded } else { self.bound };
        let applied = if self.is_ahead { FeedCursor::new(self.applied.epoch(), 0).ok() } else { None };
        KnownInstance {
            verifier: self.verifier.clone(),
            instance: self.instance,
            applied: applied.unwrap_or_else(|| self.applied.clone()),
            bound,
            heard_at: self.heard_at,
            leaving: self.leaving,
        }
    }

    /// Returns true if the instance accepts tokens until it leaves, however long it is silent.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        self.bound == ReportedBound::Unbounded && !self.leaving
    }
}
