//! Reports of a follower with an identity to its broker: see [`report`](crate::report).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{RemoteError, Shared, fetch::Broker, jitter::Jitter};
use crate::{
    http_client::Backoff,
    issue::SigningKey,
    report::{InstanceId, Report, ReportedBound, VerifierName},
    revocation::RevocationList,
    staleness::{Freshness, Lease},
};

/// Name and key under which the operator enrolled a verifier.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) name: VerifierName,
    pub(super) key: SigningKey,
}

/// Reports of this process.
#[derive(Debug)]
pub(super) struct Reporter {
    identity: Identity,
    instance: InstanceId,
    sequence: AtomicU64,
    broker: Broker,
    has_left: AtomicBool,
}

const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10)).least_share(0.5);
/// Timeout of the last report, which is sent while a process ends.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between checks whether earlier requests have ended.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

impl Reporter {
    pub(super) fn new(identity: Identity, broker: Broker) -> Result<Self, RemoteError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| RemoteError::NoRandomness)?;
        let instance = InstanceId::from_bytes(bytes);
        Ok(Self { identity, instance, sequence: AtomicU64::new(1), broker, has_left: AtomicBool::new(false) })
    }

    /// Sends a report of the present state, and extends the lease when the broker accepts it.
    pub(super) async fn report(&self, shared: &Shared) -> Result<(), RemoteError> {
        // The lease counts from here: the broker receives the report later.
        let sent = shared.clock.monotonic();
        self.send(shared, false).await?;
        let Some(freshness) = shared.revocations.as_ref().and_then(RevocationList::freshness) else { return Ok(()) };
        if !self.has_left.load(Ordering::Acquire) {
            let end = sent.checked_add(Report::LEASE).filter(|_| !freshness.policy().accepts_stale());
            freshness.set_lease(end.map_or(Lease::Unlimited, Lease::Until));
        }
        Ok(())
    }

    async fn send(&self, shared: &Shared, leaving: bool) -> Result<(), RemoteError> {
        let list = shared.revocations.as_ref().ok_or(RemoteError::NothingToReport)?;
        let drained = list.drain();
        let applied = list.cursor().ok_or(RemoteError::NothingToReport)?;
        let policy = list.freshness().map(Freshness::policy).ok_or(RemoteError::NothingToReport)?;
        let bound = if policy.accepts_stale() {
            ReportedBound::Unbounded
        } else {
            let whole = policy.max().as_secs();
            ReportedBound::Seconds(whole.saturating_add(u64::from(policy.max().subsec_nanos() > 0)))
        };
        let report = Report {
            verifier: self.identity.name.clone(),
            audience: shared.issuer.to_string(),
            issued_at: shared.clock.now(),
            instance: self.instance,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
            bound,
            key_set: shared.keys.key_set().map(|keys| keys.digest()),
            drained: drained.filter(|drained| applied.has_reached(drained)).map(|drained| drained.position()),
            applied,
            leaving,
        };
        shared.counters.reports.add();
        let sent = self.broker.report(report.sign(&self.identity.key)).await;
        sent.inspect_err(|_| shared.counters.report_failures.add())
    }

    /// Stops accepting tokens, then returns a future that tells the broker; `None` when that was done before.
    pub(super) fn leave(self: &Arc<Self>, shared: &Arc<Shared>) -> Option<impl Future<Output = ()> + Send + 'static> {
        if self.has_left.swap(true, Ordering::AcqRel) {
            return None;
        }
        if let Some(freshness) = shared.revocations.as_ref().and_then(RevocationList::freshness) {
            freshness.set_lease(Lease::Absent);
        }
        let (reporter, shared) = (Arc::clone(self), Arc::clone(shared));
        Some(async move {
            match timeout(LEAVE_TIMEOUT, reporter.send(&shared, true)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the broker was not told that this instance leaves"),
                Err(_) => tracing::debug!("the broker was not told in time that this instance leaves"),
            }
        })
    }

    /// Leaves in a task of its own, within a tokio runtime.
    pub(super) fn leave_in_background(self: &Arc<Self>, shared: &Arc<Shared>) {
        let Some(leaving) = self.leave(shared) else { return };
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(leaving));
        }
    }
}

/// Spaces reports: at most one a second over time, and a few at once.
#[derive(Debug)]
struct Pace {
    /// Moment at which the allowance is whole again.
    whole_at: Instant,
}

impl Pace {
    const INTERVAL: Duration = Duration::from_secs(1);
    /// Reports that may be sent at once.
    const BURST: u32 = 4;

    /// Returns the moment at which the next report may be sent, and counts it.
    fn next(&mut self, now: Instant) -> Instant {
        self.whole_at = self.whole_at.max(now) + Self::INTERVAL;
        let ahead = Self::INTERVAL.saturating_mul(Self::BURST);
        self.whole_at.checked_sub(ahead).map_or(now, |at| at.max(now))
    }
}

/// Reports after each response of the feed, at once, and when the requests before a cursor have ended.
pub(super) async fn follow(shared: Arc<Shared>, reporter: Arc<Reporter>, mut jitter: impl Jitter) {
    let mut changes = shared.changes.subscribe();
    let mut pace = Pace { whole_at: Instant::now() };
    let mut failures = 0_u32;
    if reporter.sequence.load(Ordering::Relaxed) > 1 && !next_change(&shared, &mut changes).await {
        return;
    }
    loop {
        sleep_until(pace.next(Instant::now())).await;
        changes.mark_unchanged();
        match reporter.report(&shared).await {
            Ok(()) => {
                failures = 0;
                shared.log_readiness_change();
                if !next_change(&shared, &mut changes).await {
                    return;
                }
            }
            // Nothing to report before the first list.
            Err(RemoteError::NothingToReport) => {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let delay = RETRY.delay(failures, jitter.next());
                failures = failures.saturating_add(1);
                if failures.is_power_of_two() || failures.is_multiple_of(64) {
                    tracing::warn!(%error, failures, "the broker did not accept a report; trying again");
                }
                shared.log_readiness_change();
                sleep(delay).await;
            }
        }
    }
}

/// Waits until there is something to report; returns false when there is nothing more to follow.
async fn next_change(shared: &Shared, changes: &mut tokio::sync::watch::Receiver<u64>) -> bool {
    loop {
        let list = shared.revocations.as_ref().filter(|list| list.is_draining());
        let Some(list) = list else { return changes.changed().await.is_ok() };
        tokio::select! {
            changed = changes.changed() => return changed.is_ok(),
            () = sleep(DRAIN_INTERVAL) => {
                let before = list.latest_drain();
                if list.drain() != before {
                    return true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_allows_few_reports_at_once_and_one_each_second() {
        let start = Instant::now();
        let mut pace = Pace { whole_at: start };
        let delays: Vec<u64> = (0..7).map(|_| (pace.next(start) - start).as_secs()).collect();
        assert_eq!(delays, [0, 0, 0, 0, 1, 2, 3]);
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.next(later), later);
    }
}
