//! Reports of one process, and the lease that their acceptance extends.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{AcceptanceError, InstanceId, KeySetDigest, Report, ReportAcceptance, ReportedBound, VerifierName};
use crate::{
    clock::UnixTime,
    feed_cursor::FeedCursor,
    revocation::RevocationList,
    staleness::{ClockReading, Freshness, Lease, Staleness},
    trusted::TrustedKeys,
};

/// Members of a report that are news when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReportedState {
    applied: FeedCursor,
    key_set: Option<KeySetDigest>,
    drained: Option<u64>,
}

/// Reports of one process about its list and its keys.
#[derive(Debug)]
pub(crate) struct ReportSeries {
    verifier: VerifierName,
    instance: InstanceId,
    list: RevocationList,
    keys: TrustedKeys,
    next: AtomicU64,
    /// A lease that begins when the list reaches the cursor, and the time from which it counts.
    awaiting: Mutex<Option<(ClockReading, FeedCursor)>>,
}

impl ReportSeries {
    /// The verifiers of `list` accept no token before a report is accepted.
    pub(crate) fn new(verifier: VerifierName, instance: InstanceId, list: RevocationList, keys: TrustedKeys) -> Self {
        list.count_requests();
        if let Some(freshness) = list.freshness() {
            freshness.set_lease(Lease::Absent);
        }
        Self { verifier, instance, list, keys, next: AtomicU64::new(1), awaiting: Mutex::default() }
    }

    /// Returns what a report of now says; `None` before the first list.
    #[cfg(feature = "remote")]
    pub(crate) fn state(&self) -> Option<ReportedState> {
        self.read().map(|(state, _)| state)
    }

    /// Returns the state, and the time of which the list was true then.
    fn read(&self) -> Option<(ReportedState, UnixTime)> {
        let drained = self.list.drain();
        let (applied, true_at) = self.list.applied()?;
        let drained = drained.filter(|drained| applied.has_reached(drained)).map(|drained| drained.position());
        let state = ReportedState { key_set: self.keys.key_set().map(|keys| keys.digest()), drained, applied };
        Some((state, true_at))
    }

    /// Returns the next report; `None` before the first list.
    pub(crate) fn next(&self, issued_at: UnixTime) -> Option<Report> {
        let freshness = self.list.freshness()?;
        let (ReportedState { applied, key_set, drained }, true_at) = self.read()?;
        Some(Report {
            verifier: self.verifier.clone(),
            audience: self.list.issuer().to_owned(),
            issued_at,
            instance: self.instance,
            sequence: self.next.fetch_add(1, Ordering::Relaxed),
            bound: reported_bound(freshness.policy()),
            key_set,
            drained,
            applied,
            true_at: Some(true_at),
            leaving: freshness.has_left(),
        })
    }

    /// Returns true while the verifiers accept tokens by the lease.
    #[cfg(feature = "remote")]
    pub(crate) fn has_lease(&self, now: ClockReading) -> bool {
        self.list.freshness().is_some_and(|freshness| freshness.has_lease(now))
    }

    /// Returns true when a report was made.
    #[cfg(feature = "remote")]
    pub(crate) fn has_begun(&self) -> bool {
        self.next.load(Ordering::Relaxed) > 1
    }

    /// Verifies that the broker accepted `report`.
    pub(crate) fn verify_acceptance(&self, text: &str, report: &str) -> Result<ReportAcceptance, AcceptanceError> {
        let keys = self.keys.key_set().ok_or(AcceptanceError::UnknownKey { kid: None })?;
        ReportAcceptance::verify(text, report, self.list.issuer(), &keys)
    }

    /// Extends the lease after the broker accepted a report, at `now`. It counts from before the report was `sent`, since
    /// the broker counts from when it received it.
    ///
    /// Without a lease the broker did not count this instance before, and may have confirmed everything up to
    /// `at_least`, its cursor when it accepted the report: the lease begins once the list has reached it.
    pub(crate) fn accepted(&self, sent: ClockReading, at_least: FeedCursor, now: ClockReading) {
        let Some(freshness) = self.list.freshness() else { return };
        let mut awaiting = self.awaiting.lock().unwrap_or_else(PoisonError::into_inner);
        if freshness.has_lease(now) || self.list.has_reached(&at_least) {
            *awaiting = None;
            extend(freshness, sent);
        } else if awaiting.is_none()
            || awaiting.as_ref().is_some_and(|(_, earlier)| earlier.epoch() != at_least.epoch())
        {
            // The earlier cursor suffices: this instance has been counted since.
            *awaiting = Some((sent, at_least));
        }
    }

    /// Begins the lease if the list has reached the cursor that it waits for: call it after the list has changed.
    pub(crate) fn list_changed(&self) {
        let mut awaiting = self.awaiting.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = awaiting.take_if(|(_, at_least)| self.list.has_reached(at_least));
        if let (Some((sent, _)), Some(freshness)) = (reached, self.list.freshness()) {
            extend(freshness, sent);
        }
    }

    /// Ends the lease after the broker rejected a report for a reason that lasts, such as that the verifier was removed: the
    /// broker may not count this instance any more. A report that is accepted later begins another one.
    pub(crate) fn rejected(&self) {
        let mut awaiting = self.awaiting.lock().unwrap_or_else(PoisonError::into_inner);
        *awaiting = None;
        if let Some(freshness) = self.list.freshness() {
            freshness.set_lease(Lease::Absent);
        }
    }

    /// Stops accepting tokens: later reports say so. Returns false when that was done before.
    pub(crate) fn leave(&self) -> bool {
        self.list.freshness().is_some_and(Freshness::leave)
    }
}

fn extend(freshness: &Freshness, sent: ClockReading) {
    let lease = match sent.monotonic.checked_add(Report::LEASE) {
        Some(monotonic) if !freshness.policy().accepts_stale() => {
            Lease::Until(ClockReading { wall: sent.wall.saturating_add(Report::LEASE), monotonic })
        }
        Some(_) | None => Lease::Unlimited,
    };
    freshness.set_lease(lease);
}

fn reported_bound(policy: &Staleness) -> ReportedBound {
    if policy.accepts_stale() {
        return ReportedBound::Unbounded;
    }
    let part = u64::from(policy.max().subsec_nanos() > 0);
    ReportedBound::Seconds(policy.max().as_secs().saturating_add(part))
}
