//! Reports of a follower with an identity to its broker: see [`report`](crate::report).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{RemoteError, Shared, fetch::Broker, jitter::Jitter};
use crate::{
    http_client::Backoff,
    issue::SigningKey,
    report::{AcceptanceError, InstanceId, ReportAcceptance, ReportSeries, ReportedState, VerifierName},
    revocation::RevocationList,
    staleness::ClockReading,
    trusted::TrustedKeys,
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
    key: SigningKey,
    series: ReportSeries,
    broker: Broker,
    latest: Mutex<Option<LatestReport>>,
}

/// The latest report that the broker accepted.
#[derive(Debug)]
struct LatestReport {
    state: Option<ReportedState>,
    /// Moment at which the next one is due without news.
    due: Instant,
}

const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10)).least_share(0.5);
/// Timeout of the last report, which is sent while a process ends.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for which an acceptance that names an unknown key waits for a new key set.
const KEY_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval between checks whether earlier requests have ended.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

impl Reporter {
    pub(super) fn new(
        identity: Identity,
        list: &RevocationList,
        keys: &TrustedKeys,
        broker: Broker,
    ) -> Result<Self, RemoteError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| RemoteError::NoRandomness)?;
        let instance = InstanceId::from_bytes(bytes);
        let series = ReportSeries::new(identity.name, instance, list.clone(), keys.clone());
        Ok(Self { key: identity.key, series, broker, latest: Mutex::default() })
    }

    /// Sends a report of the present state, and extends the lease when the broker accepts it.
    pub(super) async fn report(&self, shared: &Shared) -> Result<(), RemoteError> {
        let (sent, state) = (ClockReading::of(&*shared.clock), self.series.state());
        let (report, acceptance) = self.send(shared).await?;
        let ReportAcceptance { at_least, interval, .. } = self.verify(shared, &report, &acceptance).await?;
        self.series.accepted(sent, at_least, ClockReading::of(&*shared.clock));
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(LatestReport { state, due: Instant::now() + interval });
        Ok(())
    }

    /// Returns the moment at which the next report is due without news; `None` when one is due now.
    fn next_due(&self, shared: &Shared) -> Option<Instant> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = latest.as_ref().filter(|latest| latest.state == self.series.state())?;
        let is_early = latest.due > Instant::now() && self.series.has_lease(ClockReading::of(&*shared.clock));
        is_early.then_some(latest.due)
    }

    /// Waits until there is news, or the next report is due without. Returns false when there is nothing more to follow.
    async fn until_due(&self, shared: &Shared, changes: &mut watch::Receiver<u64>) -> bool {
        while let Some(due) = self.next_due(shared) {
            tokio::select! {
                goes_on = next_change(shared, changes) => {
                    if !goes_on {
                        return false;
                    }
                    self.series.list_changed();
                    shared.log_readiness_change();
                }
                () = sleep_until(due) => {}
            }
        }
        true
    }

    /// Sends the next report. Returns it, and its acceptance, which is not verified yet.
    async fn send(&self, shared: &Shared) -> Result<(String, String), RemoteError> {
        let report = self.series.next(shared.clock.now()).ok_or(RemoteError::NothingToReport)?.sign(&self.key);
        shared.counters.reports.add();
        let sent = self.broker.report(report.clone()).await;
        let acceptance = sent.inspect_err(|error| {
            if matches!(error, RemoteError::ReportRejected { .. }) {
                self.series.rejected();
            }
            shared.counters.report_failures.add();
        })?;
        Ok((report, acceptance))
    }

    /// Verifies the acceptance of a report. One that names an unknown key waits for the key set, which may be on its way.
    async fn verify(&self, shared: &Shared, report: &str, text: &str) -> Result<ReportAcceptance, RemoteError> {
        let mut changes = shared.changes.subscribe();
        let until = Instant::now() + KEY_TIMEOUT;
        loop {
            changes.borrow_and_update();
            let verified = self.series.verify_acceptance(text, report);
            if matches!(verified, Err(AcceptanceError::UnknownKey { .. })) {
                shared.key_requests.by_feed.notify_one();
                if matches!(timeout_at(until, changes.changed()).await, Ok(Ok(()))) {
                    continue;
                }
            }
            return verified.map_err(|error| {
                shared.counters.report_failures.add();
                self.broker.bad_acceptance(error)
            });
        }
    }

    /// Stops accepting tokens, then returns a future that tells the broker; `None` when that was done before.
    pub(super) fn leave(self: &Arc<Self>, shared: &Arc<Shared>) -> Option<impl Future<Output = ()> + Send + 'static> {
        let (reporter, shared) = (Arc::clone(self), Arc::clone(shared));
        self.series.leave().then_some(async move {
            match timeout(LEAVE_TIMEOUT, reporter.send(&shared)).await {
                Ok(Ok(_)) => {}
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

/// Reports after each response of the feed, at once if it brought news and else at the interval that the broker proposes, and
/// when the requests before a cursor have ended.
pub(super) async fn follow(shared: Arc<Shared>, reporter: Arc<Reporter>, mut jitter: impl Jitter) {
    let mut changes = shared.changes.subscribe();
    let mut pace = Pace { whole_at: Instant::now() };
    let mut failures = 0_u32;
    if reporter.series.has_begun() && !next_change(&shared, &mut changes).await {
        return;
    }
    loop {
        if !reporter.until_due(&shared, &mut changes).await {
            return;
        }
        sleep_until(pace.next(Instant::now())).await;
        changes.mark_unchanged();
        reporter.series.list_changed();
        match reporter.report(&shared).await {
            Ok(()) => {
                failures = 0;
                shared.log_readiness_change();
                if !next_change(&shared, &mut changes).await {
                    return;
                }
                // Before the next report, which may have to wait.
                reporter.series.list_changed();
                shared.log_readiness_change();
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
async fn next_change(shared: &Shared, changes: &mut watch::Receiver<u64>) -> bool {
    loop {
        let list = shared.revocations.as_ref().filter(|list| list.is_draining());
        let Some(list) = list else { return changes.changed().await.is_ok() };
        tokio::select! {
            result = changes.changed() => return result.is_ok(),
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
