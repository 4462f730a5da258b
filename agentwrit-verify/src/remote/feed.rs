//! Polls the feed: the loop that keeps a revocation list fresh.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::{spawn_blocking, yield_now},
    time::{Instant, sleep},
};

use super::{RemoteError, Shared, fetch::FeedRequest, jitter::Jitter};
use crate::{
    feed::{AppliedResponse, Feed, FeedError},
    http_client::Backoff,
    revocation::RevocationList,
    staleness::ClockReading,
};

/// Delays after failures. The random share spreads clients over time when a broker recovers.
pub(super) const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5)).least_share(0.1);
/// Delays after responses without changes that the broker did not hold.
const IDLE: Backoff = Backoff::new(Duration::from_millis(50), Duration::MAX).least_share(1.0);

/// Delay after `failures` in a row: at most half of the long-poll wait, so that several attempts fit into the bound on
/// staleness.
fn retry_delay(failures: u32, wait: Duration, random: f64) -> Duration {
    RETRY.capped_at(wait / 2).delay(failures.saturating_sub(1), random)
}

/// Delay after `idle` responses in a row without changes that the broker did not hold: at most the poll interval that
/// it proposes.
fn idle_delay(idle: u32, proposed: Duration, wait: Duration) -> Duration {
    let longest = proposed.max(Duration::from_secs(1)).min(wait);
    idle.checked_sub(1).map_or(Duration::ZERO, |earlier| IDLE.capped_at(longest).delay(earlier, 1.0))
}

pub(super) async fn follow(
    shared: Arc<Shared>,
    feed: Arc<Mutex<Feed>>,
    source: String,
    confirmed: bool,
    mut jitter: impl Jitter,
    mut fetch: impl AsyncFnMut(FeedRequest) -> Result<String, RemoteError>,
) {
    let (mut failures, mut idle) = (u32::from(!confirmed), 0_u32);
    let mut new_snapshot = true;
    let mut published = shared.changes.subscribe();
    loop {
        let asked = Instant::now();
        let request = request(&feed);
        // After a failure, a restart and an old snapshot, confirm freshness before waiting for changes.
        let confirms = failures > 0 || (new_snapshot && becomes_stale_within(&shared, request.wait));
        let request = if confirms { FeedRequest { wait: Duration::ZERO, ..request } } else { request };
        shared.counters.feed_fetches.add();
        let response = fetch(request).await;
        published.borrow_and_update();
        let outcome = apply_fetched(&shared, &feed, &source, response).await;
        let is_lacking_key = matches!(&outcome, Err(RemoteError::Feed { error, .. }) if error.needs_keys());
        let delay = match outcome {
            Ok(applied) => {
                failures = 0;
                new_snapshot = applied.snapshot && applied.changed;
                let held = !request.wait.is_zero() && asked.elapsed() >= request.wait / 2;
                idle = if applied.changed || held { 0 } else { idle.saturating_add(1) };
                idle_delay(idle, applied.poll_interval, request.grace)
            }
            // Once at once; a broker that keeps leaving gaps is treated as one that fails.
            Err(RemoteError::Feed { error, .. }) if error.needs_snapshot() && failures == 0 => {
                failures = 1;
                Duration::ZERO
            }
            Err(_) => {
                failures = failures.saturating_add(1);
                retry_delay(failures, request.grace, jitter.next())
            }
        };
        shared.log_readiness_change();
        if is_lacking_key {
            // The key set that is fetched now may contain the key.
            tokio::select! { () = sleep(delay) => {} _ = published.changed() => {} }
        } else if delay.is_zero() {
            // A sleep would last for a millisecond. Other followers of the process apply their responses first.
            yield_now().await;
        } else {
            sleep(delay).await;
        }
    }
}

/// Returns whether the list is stale before `wait` is over: clients may share a snapshot, which is some time old then.
fn becomes_stale_within(shared: &Shared, wait: Duration) -> bool {
    shared.revocations.as_ref().and_then(RevocationList::freshness).is_some_and(|freshness| {
        let age = freshness.age(ClockReading::of(&*shared.clock));
        age.is_none_or(|age| age.saturating_add(wait) >= freshness.bound())
    })
}

/// Applies a fetched response; counts and logs failures.
pub(super) async fn apply_fetched(
    shared: &Shared,
    feed: &Arc<Mutex<Feed>>,
    source: &str,
    response: Result<String, RemoteError>,
) -> Result<AppliedResponse, RemoteError> {
    let response = response.inspect_err(|error| {
        shared.counters.feed_failures.add();
        let age = shared.revocations.as_ref().and_then(|list| list.age(ClockReading::of(&*shared.clock)));
        let age_seconds = age.map(|age| age.as_secs());
        tracing::warn!(%error, age_seconds, "the revocation feed could not be read; the old list stays in force");
    })?;
    let applied = apply(shared, feed, response).await;
    match &applied {
        Ok(applied) => {
            shared.counters.responses_applied.add();
            tracing::debug!(
                entries = applied.entries,
                snapshot = applied.snapshot,
                changed = applied.changed,
                "revocations"
            );
            if applied.keys_missing {
                shared.key_requests.by_announcement.notify_one();
            }
            shared.changed();
        }
        Err(error) if error.needs_snapshot() => {
            shared.counters.resyncs.add();
            tracing::info!(%error, "asking the revocation feed for a snapshot");
        }
        Err(error) => {
            shared.counters.responses_rejected.add();
            tracing::warn!(%error, reason = error.reason(), "a response of the revocation feed was rejected");
            if error.needs_keys() {
                shared.key_requests.by_feed.notify_one();
            }
        }
    }
    applied.map_err(|error| RemoteError::Feed { url: source.to_owned(), error })
}

pub(super) fn request(feed: &Mutex<Feed>) -> FeedRequest {
    let feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = feed.wait();
    FeedRequest { since: feed.since(), wait, grace: wait, longest: feed.response_limit() }
}

/// Responses of at least this length, in bytes, are applied on a blocking thread.
const LARGE_RESPONSE: usize = 64 * 1024;
/// Responses for lists of at least this many entries are too: the table may have to be rebuilt.
const LARGE_LIST: usize = 50_000;

async fn apply(shared: &Shared, feed: &Arc<Mutex<Feed>>, response: String) -> Result<AppliedResponse, FeedError> {
    let large =
        response.len() >= LARGE_RESPONSE || shared.revocations.as_ref().is_some_and(|list| list.len() >= LARGE_LIST);
    let (feed, keys, now) = (Arc::clone(feed), shared.keys.clone(), ClockReading::of(&*shared.clock));
    let work = move || feed.lock().unwrap_or_else(PoisonError::into_inner).apply_with_keys(&response, &keys, now);
    if large {
        // Fails only when the runtime is shutting down.
        spawn_blocking(work).await.unwrap_or(Err(FeedError::UnknownKey { kid: None }))
    } else {
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(8);

    #[tokio::test(start_paused = true)]
    async fn requests_feed_again_as_soon_as_key_set_is_fetched() {
        let keys = crate::trusted::TrustedKeys::following(None);
        let shared = Arc::new(Shared::for_tests(keys));
        let feed = Arc::new(Mutex::new(Feed::new("https://issuer.test", crate::feed::Staleness::default())));
        let fetches = Arc::new(tokio::sync::Semaphore::new(0));
        let (following, counted) = (Arc::clone(&shared), Arc::clone(&fetches));
        tokio::spawn(follow(
            following,
            feed,
            "feed".into(),
            true,
            || 1.0,
            async move |_| {
                counted.add_permits(1);
                Err(RemoteError::Feed { url: "feed".into(), error: FeedError::UnknownKey { kid: None } })
            },
        ));
        let begun = Instant::now();
        for _ in 0..5 {
            fetches.acquire().await.unwrap().forget();
            tokio::task::yield_now().await;
            let keys = crate::testing::TestIssuer::new().key_set();
            let set = super::super::fetch::FetchedKeySet { keys, age: Duration::ZERO };
            shared.publish_keys(set, shared.clock.monotonic());
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        fetches.acquire().await.unwrap().forget();
        fetches.acquire().await.unwrap().forget();
        assert!(begun.elapsed() > Duration::ZERO, "without a new key set it is retried as after any failure");
    }

    #[test]
    fn first_retry_is_quick_and_delays_stay_within_bound() {
        assert_eq!(retry_delay(1, WAIT, 0.0), Duration::from_millis(10));
        assert_eq!(retry_delay(1, WAIT, 1.0), Duration::from_millis(100));
        assert_eq!(retry_delay(2, WAIT, 1.0), Duration::from_millis(200));
        assert_eq!(retry_delay(u32::MAX, WAIT, 1.0), WAIT / 2);
        assert_eq!(retry_delay(u32::MAX, Duration::from_secs(25), 1.0), Duration::from_secs(5));
    }

    #[test]
    fn idle_delay_grows_to_proposed_interval_within_bound() {
        let proposed = Duration::from_secs(5);
        assert_eq!(idle_delay(0, proposed, WAIT), Duration::ZERO);
        assert_eq!(idle_delay(1, proposed, WAIT), Duration::from_millis(50));
        assert_eq!(idle_delay(u32::MAX, proposed, WAIT), proposed);
        assert_eq!(idle_delay(u32::MAX, Duration::from_secs(3600), WAIT), WAIT, "the bound comes first");
        assert_eq!(idle_delay(u32::MAX, Duration::ZERO, WAIT), Duration::from_secs(1));
    }
}
