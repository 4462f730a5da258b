//! Confirmation of a revocation: whether any enrolled verifier may still accept what was revoked.
//!
//! 1. An instance has *confirmed* when it reported the cursor: a check that begins later applies the revocation.
//! 2. An instance is *fenced* once its bound and a second have passed since the commit. A list that lacks the revocation
//!    was true before the commit, so the instance uses no such list any more: it applies the revocation or rejects
//!    every token.
//! 3. An instance that left, or whose [lease](Report::LEASE) has ended, accepts no token and is not counted.
//! 4. An instance accepts no token before the broker accepted a report of it and its list has reached the cursor that the
//!    broker had then, so the broker knows each one that matters, from a lease after it began to collect reports
//!    ([`Fleet::complete_from`]). A revocation before that waits for the largest bound of each verifier that was enrolled before,
//!    too.
//! 5. An instance without a bound is never fenced and has no lease. The broker keeps it, durably, until it leaves or the
//!    operator confirms that its process has ended.
//! 6. The end or change of an enrolment ends no instance: those of a removed verifier count until rule 3 omits them, and each
//!    instance counts with the bound that it reported.
//!
//! So a confirmation is certain, and comes within the largest bound and a second. A verifier that lies about its cursor
//! is a service that ignores revocations, and one that is not enrolled is not counted.
//!
//! The decision is [`Confirmation::of`], without I/O. Withdrawals of keys have cursors too and are confirmed as well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::confirmation_evidence::{
    ConfirmationEvidence, EvidenceDefect, EvidenceError, EvidenceFigures, InstanceEvidence, VerifierEvidence,
};
use crate::{
    clock::UnixTime,
    feed_cursor::FeedCursor,
    report::{InstanceId, Report, ReportedBound, VerifierName},
};

/// A committed change that verifiers apply: a revocation, or the withdrawal of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a broker must name each")]
pub struct Commit {
    /// Cursor of the change.
    pub cursor: FeedCursor,
    /// Time of the commit, on the clock that signs the feed.
    pub at: UnixTime,
}

/// A verifier that is enrolled, or was and may still have instances that accept tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a broker must name each")]
pub struct EnrolledVerifier {
    /// Its name.
    pub name: VerifierName,
    /// Largest bound that its instances were permitted to report since a lease before, in seconds; `None` if any was.
    pub max_bound: Option<u64>,
    /// True if it may have instances that the broker does not know before [`Fleet::complete_from`]: it was enrolled before the
    /// broker began to collect reports.
    pub may_have_unknown: bool,
    /// True if reports were lost, and it may have had instances without a bound: the broker may know them never.
    pub may_have_unbounded: bool,
}

/// The latest accepted report of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a broker must name each")]
pub struct KnownInstance {
    /// Its verifier.
    pub verifier: VerifierName,
    /// Its id.
    pub instance: InstanceId,
    /// Cursor that it applies.
    pub applied: FeedCursor,
    /// Its bound.
    pub bound: ReportedBound,
    /// Time at which the broker received the report.
    pub heard_at: UnixTime,
    /// True when the instance has left.
    pub leaving: bool,
}

impl KnownInstance {
    /// Returns true when the instance accepts no token any more, so that the broker may forget it.
    #[must_use]
    pub fn is_gone(&self, now: UnixTime) -> bool {
        let lease_ends = self.heard_at.saturating_add(Report::LEASE).saturating_add(MARGIN);
        self.leaving || (self.bound != ReportedBound::Unbounded && now >= lease_ends)
    }
}

/// Verifiers and their instances.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a broker must name each")]
pub struct Fleet<'a> {
    /// Verifiers whose instances count.
    pub enrolled: &'a [EnrolledVerifier],
    /// Their instances, as far as they are known.
    pub instances: &'a [KnownInstance],
    /// Time from which every instance is known, on the clock of the commit: [`Fleet::complete_after`] the time since which no
    /// report was lost. A wall clock that was set since must not change its distance from the commit.
    pub complete_from: UnixTime,
}

impl Fleet<'_> {
    /// Returns the time from which every instance that may accept tokens is known, when accepted reports have been kept
    /// since `start`.
    #[must_use]
    pub fn complete_after(start: UnixTime) -> UnixTime {
        start.saturating_add(Report::LEASE).saturating_add(MARGIN)
    }
}

/// Added to each bound: bounds and times are compared in whole seconds.
const MARGIN: Duration = Duration::from_secs(1);

/// How far a change is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Confirmation {
    /// The result.
    pub state: ConfirmationState,
    /// Number of instances that may accept tokens.
    pub verifiers: u64,
    /// Number of these that have reported the cursor.
    pub confirmed: u64,
    /// Number of these that are fenced instead.
    pub fenced: u64,
    /// The others.
    pub pending: Vec<PendingInstance>,
}

/// Result of a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "code that waits for a confirmation must handle each")]
pub enum ConfirmationState {
    /// No enrolled verifier accepts what was revoked.
    Confirmed,
    /// Some may still accept it; each of them will be fenced.
    Pending,
    /// Only verifiers without a bound may still accept it: they are named, and can't be fenced.
    Unbounded,
}

/// An instance that may still accept what was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingInstance {
    /// Its verifier.
    pub verifier: VerifierName,
    /// Its id; `None` for instances of the verifier that the broker may not know.
    pub instance: Option<InstanceId>,
    /// Time of its latest report.
    pub last_heard: Option<UnixTime>,
    /// Time from which it rejects every token or applies the revocation; `None` without a bound.
    pub fenced_at: Option<UnixTime>,
}

impl Confirmation {
    /// Decides whether `commit` is confirmed at `now`, on the clock of the commit.
    #[must_use]
    pub fn of(commit: &Commit, fleet: Fleet<'_>, now: UnixTime) -> Self {
        let mut result =
            Self { state: ConfirmationState::Confirmed, verifiers: 0, confirmed: 0, fenced: 0, pending: Vec::new() };
        let is_enrolled =
            |known: &&KnownInstance| fleet.enrolled.iter().any(|enrolled| enrolled.name == known.verifier);
        for known in fleet.instances.iter().filter(is_enrolled).filter(|known| !known.is_gone(now)) {
            result.count(known, commit, now);
        }
        result.add_unknown_instances(commit, fleet, now);
        if result.pending.iter().any(|pending| pending.fenced_at.is_some()) {
            result.state = ConfirmationState::Pending;
        } else if !result.pending.is_empty() {
            result.state = ConfirmationState::Unbounded;
        }
        result
    }

    fn count(&mut self, known: &KnownInstance, commit: &Commit, now: UnixTime) {
        self.verifiers = self.verifiers.saturating_add(1);
        let fenced_at = known.bound.duration().map(|bound| fence(commit, bound));
        if known.applied.has_reached(&commit.cursor) {
            self.confirmed = self.confirmed.saturating_add(1);
        } else if fenced_at.is_some_and(|fenced_at| now >= fenced_at) {
            self.fenced = self.fenced.saturating_add(1);
        } else {
            self.pending.push(PendingInstance {
                verifier: known.verifier.clone(),
                instance: Some(known.instance),
                last_heard: Some(known.heard_at),
                fenced_at,
            });
        }
    }

    /// Adds an entry for each verifier that may have instances which the broker does not know.
    fn add_unknown_instances(&mut self, commit: &Commit, fleet: Fleet<'_>, now: UnixTime) {
        for enrolled in fleet.enrolled {
            let known_at = enrolled.max_bound.map_or(fleet.complete_from, |seconds| {
                fence(commit, Duration::from_secs(seconds)).min(fleet.complete_from)
            });
            let is_unknown = enrolled.may_have_unknown && commit.at < fleet.complete_from && now < known_at;
            if is_unknown || enrolled.may_have_unbounded {
                self.pending.push(PendingInstance {
                    verifier: enrolled.name.clone(),
                    instance: None,
                    last_heard: None,
                    fenced_at: is_unknown.then_some(known_at),
                });
            }
        }
    }
}

/// Returns the time from which a list that lacks the commit is stale under `bound`.
#[must_use]
pub fn fence(commit: &Commit, bound: Duration) -> UnixTime {
    commit.at.saturating_add(bound).saturating_add(MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_000_000;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(AT + seconds)
    }

    fn name(text: &str) -> VerifierName {
        VerifierName::parse(text).unwrap()
    }

    /// A verifier that was enrolled before the broker began to collect reports.
    fn older(text: &str) -> EnrolledVerifier {
        EnrolledVerifier { name: name(text), max_bound: None, may_have_unknown: true, may_have_unbounded: false }
    }

    fn instance(id: u8, position: u64, bound: ReportedBound) -> KnownInstance {
        KnownInstance {
            verifier: name("payments-api"),
            instance: InstanceId::from_bytes([id; 16]),
            applied: FeedCursor::new("e", position).unwrap(),
            bound,
            heard_at: at(0),
            leaving: false,
        }
    }

    /// Returns state, confirmed, fenced and the fences of the pending ones.
    fn confirm(
        instances: &[KnownInstance],
        complete_from: u64,
        now: u64,
    ) -> (ConfirmationState, u64, u64, Vec<Option<u64>>) {
        let enrolled = [EnrolledVerifier { max_bound: Some(60), ..older("payments-api") }, older("reports-api")];
        let commit = Commit { cursor: FeedCursor::new("e", 5).unwrap(), at: at(0) };
        let complete_from = UnixTime::from_seconds(AT - 100 + complete_from);
        let found = Confirmation::of(&commit, Fleet { enrolled: &enrolled, instances, complete_from }, at(now));
        let fences =
            found.pending.iter().map(|pending| pending.fenced_at.map(|fenced| fenced.seconds() - AT)).collect();
        (found.state, found.confirmed, found.fenced, fences)
    }

    #[test]
    fn is_confirmed_when_each_instance_has_cursor_or_is_fenced() {
        use ConfirmationState::{Confirmed, Pending};
        let both = [instance(1, 5, ReportedBound::Seconds(30)), instance(2, 4, ReportedBound::Seconds(30))];
        assert_eq!(confirm(&both, 0, 30), (Pending, 1, 0, vec![Some(31)]));
        assert_eq!(confirm(&both, 0, 31), (Confirmed, 1, 1, vec![]));
        assert_eq!(confirm(&both[..1], 0, 0), (Confirmed, 1, 0, vec![]));
        assert_eq!(confirm(&[], 0, 0), (Confirmed, 0, 0, vec![]));
    }

    #[test]
    fn names_unbounded_instances_and_never_fences_them() {
        let unbounded = [instance(1, 4, ReportedBound::Unbounded)];
        assert_eq!(confirm(&unbounded, 0, 100_000), (ConfirmationState::Unbounded, 0, 0, vec![None]));
        let both = [instance(1, 4, ReportedBound::Unbounded), instance(2, 4, ReportedBound::Seconds(30))];
        assert_eq!(confirm(&both, 0, 0).0, ConfirmationState::Pending);
    }

    #[test]
    fn omits_instances_that_left_lost_their_lease_or_are_not_enrolled() {
        let left = KnownInstance { leaving: true, ..instance(1, 4, ReportedBound::Seconds(30)) };
        let foreign = KnownInstance { verifier: name("other"), ..instance(3, 4, ReportedBound::Unbounded) };
        assert_eq!(confirm(&[left, foreign], 0, 0), (ConfirmationState::Confirmed, 0, 0, vec![]));
        let silent = instance(2, 4, ReportedBound::Seconds(3600));
        assert_eq!(confirm(std::slice::from_ref(&silent), 0, 600).0, ConfirmationState::Pending);
        assert_eq!(confirm(&[silent], 0, 601), (ConfirmationState::Confirmed, 0, 0, vec![]));
    }

    #[test]
    fn reported_cursor_of_another_epoch_does_not_confirm() {
        let other =
            KnownInstance { applied: FeedCursor::new("f", 9).unwrap(), ..instance(1, 9, ReportedBound::Seconds(30)) };
        assert_eq!(confirm(&[other], 0, 0), (ConfirmationState::Pending, 0, 0, vec![Some(31)]));
    }

    #[test]
    fn waits_for_unknown_instances_after_start_of_broker() {
        use ConfirmationState::{Confirmed, Pending};
        let one = [instance(1, 5, ReportedBound::Seconds(30))];
        // Known from 400 s after the commit on: the one verifier's largest bound ends before.
        assert_eq!(confirm(&one, 500, 60), (Pending, 1, 0, vec![Some(61), Some(400)]));
        assert_eq!(confirm(&one, 500, 61), (Pending, 1, 0, vec![Some(400)]));
        assert_eq!(confirm(&one, 500, 400), (Confirmed, 1, 0, vec![]));
        assert_eq!(confirm(&one, 120, 20), (Confirmed, 1, 0, vec![]), "known from 20 s after the commit on");
    }

    #[test]
    fn knows_every_instance_of_verifier_enrolled_since_start_of_broker() {
        let commit = Commit { cursor: FeedCursor::new("e", 5).unwrap(), at: at(10) };
        let complete_from = Fleet::complete_after(at(0));
        let state = |may_have_unknown| {
            let enrolled = [EnrolledVerifier { may_have_unknown, ..older("payments-api") }];
            Confirmation::of(&commit, Fleet { enrolled: &enrolled, instances: &[], complete_from }, at(10)).state
        };
        assert_eq!(state(false), ConfirmationState::Confirmed);
        assert_eq!(state(true), ConfirmationState::Pending);
    }

    #[test]
    fn is_unbounded_while_verifier_may_have_lost_instances_without_bound() {
        let commit = Commit { cursor: FeedCursor::new("e", 5).unwrap(), at: at(10) };
        let enrolled = [EnrolledVerifier { may_have_unbounded: true, ..older("payments-api") }];
        let confirm = |now| {
            let fleet = Fleet { enrolled: &enrolled, instances: &[], complete_from: at(100) };
            let found = Confirmation::of(&commit, fleet, at(now));
            (found.state, found.pending.iter().map(|pending| pending.fenced_at).collect::<Vec<_>>())
        };
        assert_eq!(confirm(99), (ConfirmationState::Pending, vec![Some(at(100))]));
        for now in [100, 1_000_000] {
            assert_eq!(confirm(now), (ConfirmationState::Unbounded, vec![None]));
        }
    }
}
