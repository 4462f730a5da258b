//! Enrolled verifiers, and their instances.

use std::sync::Arc;

use agentwrit_verify::{
    FeedCursor, PublicKey, UnixTime,
    confirmation::KnownInstance,
    report::{InstanceId, KeySetDigest, Report, ReportedBound, VerifierName},
};

/// A verifier that the operator enrolled, or removed while instances of it may accept tokens.
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
    /// Time of the removal. Instances count until they accept no token any more.
    pub removed_at: Option<UnixTime>,
    /// Bound that was permitted before the latest change, while instances may have it.
    pub former: Option<FormerBound>,
    /// Time since which the name may have instances.
    pub instances_since: UnixTime,
    /// True if reports of instances without a bound may be lost, until the operator confirms that there are none.
    pub may_have_unbounded: bool,
}

/// Bound that earlier enrolments of a name permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormerBound {
    /// Largest of them, in seconds; `None` if one permitted any.
    pub max_bound: Option<u64>,
    /// Time of the change that ended the latest.
    pub ended_at: UnixTime,
}

impl Enrolment {
    /// Enrolment of a name that has no instances.
    #[must_use]
    pub fn new(name: VerifierName, public_key: PublicKey, max_bound: Option<u64>, added_at: UnixTime) -> Self {
        Self {
            name,
            public_key,
            max_bound,
            added_at,
            removed_at: None,
            former: None,
            instances_since: added_at,
            may_have_unbounded: false,
        }
    }

    /// Returns true unless the verifier was removed.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.removed_at.is_none()
    }

    /// Returns the largest bound that instances may have; `None` if any.
    #[must_use]
    pub fn largest_bound(&self) -> Option<u64> {
        match self.former {
            Some(former) => Some(self.max_bound?.max(former.max_bound?)),
            None => self.max_bound,
        }
    }

    /// Returns the enrolment with another key and bound from `now` on.
    #[must_use]
    pub fn replaced_by(self, public_key: PublicKey, max_bound: Option<u64>, now: UnixTime) -> Self {
        let former = Some(FormerBound { max_bound: self.largest_bound(), ended_at: now });
        Self { public_key, max_bound, former, ..self }
    }

    /// Returns the enrolment of the same name after its removal.
    #[must_use]
    pub fn succeeded_by(self, next: Self) -> Self {
        let instances_since = self.instances_since.min(next.instances_since);
        let may_have_unbounded = self.may_have_unbounded;
        let former = self.replaced_by(next.public_key.clone(), None, next.added_at).former;
        Self { former, instances_since, may_have_unbounded, ..next }
    }
}

impl PartialEq for Enrolment {
    fn eq(&self, other: &Self) -> bool {
        let parts = |enrolment: &Self| {
            let Self { max_bound, added_at, removed_at, former, instances_since, may_have_unbounded, .. } = enrolment;
            (*max_bound, *added_at, *removed_at, *former, *instances_since, *may_have_unbounded)
        };
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
    /// The signed report; empty if it is longer than [`MAX_KEPT_REPORT`](Self::MAX_KEPT_REPORT), so that no verifier takes the
    /// place of the evidence of others.
    pub signed: Arc<str>,
    /// Ed25519 key that verified the report.
    pub public_key: [u8; 32],
    /// True when it follows another database: it has since reported a cursor that this log has not reached, or a list that was
    /// true after a commit which it lacks.
    pub is_ahead: bool,
}

impl InstanceState {
    /// Length of the longest signed report that is kept, in bytes, besides its audience: more than that of any follower.
    pub const MAX_KEPT_REPORT: usize = 768;

    /// Takes the state from a report that `key` verified and that was received at `heard_at`.
    #[must_use]
    pub fn of(report: Report, signed: &str, key: &PublicKey, heard_at: UnixTime) -> Self {
        // In base64url.
        let longest = Self::MAX_KEPT_REPORT.saturating_add(report.audience.len().saturating_mul(4).div_ceil(3));
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
            signed: if signed.len() <= longest { signed.into() } else { Arc::default() },
            public_key: *key.as_bytes(),
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

    /// Returns true if no time that passes ends the instance, also because its list is of another database.
    #[must_use]
    pub fn may_accept_without_end(&self) -> bool {
        self.is_ahead || self.is_unbounded()
    }
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::issue::SigningKey;

    use super::*;

    fn enrolment(max_bound: Option<u64>, at: u64) -> Enrolment {
        let key = SigningKey::from_seed(&[1; 32]).unwrap().public_key().clone();
        Enrolment::new(VerifierName::parse("api").unwrap(), key, max_bound, UnixTime::from_seconds(at))
    }

    #[test]
    fn largest_bound_covers_former_enrolments() {
        let key = || enrolment(None, 1).public_key;
        let at = UnixTime::from_seconds;
        for (first, second, third, largest) in [
            (Some(60), Some(30), Some(20), Some(60)),
            (Some(20), Some(30), Some(60), Some(60)),
            (None, Some(30), Some(30), None),
            (Some(30), None, Some(30), None),
            (Some(30), Some(30), None, None),
        ] {
            let changed = enrolment(first, 1).replaced_by(key(), second, at(2)).replaced_by(key(), third, at(3));
            assert_eq!((changed.max_bound, changed.largest_bound()), (third, largest));
            assert_eq!((changed.added_at, changed.instances_since), (at(1), at(1)));
            let removed = enrolment(first, 1).replaced_by(key(), second, at(2));
            let again = Enrolment { removed_at: Some(at(3)), ..removed }.succeeded_by(enrolment(third, 4));
            assert!(again.is_active());
            assert_eq!((again.max_bound, again.largest_bound()), (third, largest));
            assert_eq!((again.added_at, again.instances_since), (at(4), at(1)));
        }
    }
}
