//! Schedule of the key set fetches.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{FollowerBuilder, RemoteError, Shared, fetch::FetchedKeySet, jitter::Jitter};
use crate::http_client::Backoff;

/// The rhythm of the fetches.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyRefreshSchedule {
    pub(super) refresh_interval: Duration,
    /// Minimum time between two fetches for unknown keys named by tokens, which unauthenticated clients write.
    unknown_key_interval: Duration,
    /// Minimum time between two fetches for unknown keys that the feed names.
    feed_key_interval: Duration,
    /// Minimum time between any fetch and one for a key that an accepted response of the feed announces.
    announced_key_interval: Duration,
    retry: Backoff,
    /// Delays while a fetched set lacks an announced key.
    announced_retry: Backoff,
}

impl Default for KeyRefreshSchedule {
    fn default() -> Self {
        Self {
            refresh_interval: FollowerBuilder::DEFAULT_KEY_REFRESH_INTERVAL,
            unknown_key_interval: Duration::from_secs(60),
            feed_key_interval: Duration::from_secs(2),
            announced_key_interval: Duration::from_millis(200),
            announced_retry: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)).least_share(0.5),
            retry: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).least_share(0.5),
        }
    }
}

impl KeyRefreshSchedule {
    /// Retries while fetched sets lack an announced key; later responses of the feed trigger further fetches.
    const ANNOUNCED_RETRIES: u32 = 10;

    /// Delay after `failures` failed fetches in a row; `jitter` is from 0 to 1.
    ///
    /// A success is followed by the interval less up to a tenth, so that servers do not fetch in step; a failure by
    /// half to the whole of a doubling delay, at most the interval.
    fn delay_after(&self, failures: u32, jitter: f64) -> Duration {
        match failures.checked_sub(1) {
            None => self.refresh_interval.mul_f64(1.0 - 0.1 * jitter),
            Some(repeated) => self.retry.capped_at(self.refresh_interval).delay(repeated, jitter),
        }
    }
}

/// Requests for a newer key set.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "each field names the origin of its requests")]
pub(super) struct KeyRequests {
    pub(super) by_token: Notify,
    pub(super) by_feed: Notify,
    pub(super) by_announcement: Notify,
}

/// Ends of the latest fetches. A key that was replaced just after a fetch is fetched at once.
#[derive(Clone, Copy, Debug)]
struct LastFetches {
    any: Instant,
    /// For an unknown key that the feed named.
    by_feed: Option<Instant>,
}

/// Reason for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FetchReason {
    Scheduled,
    UnknownKey,
    UnknownKeyOfFeed,
}

impl KeyRequests {
    /// Waits until the next fetch is due: the scheduled one, or one for an unknown key, which is not before its minimum
    /// time. All requests until then result in one fetch.
    async fn next(&self, planned: Instant, last: LastFetches, schedule: &KeyRefreshSchedule) -> FetchReason {
        let for_token = last.any + schedule.unknown_key_interval;
        let for_feed = last.by_feed.map_or(last.any, |last| last + schedule.feed_key_interval);
        let for_announcement = last.any + schedule.announced_key_interval;
        let by_token = async {
            self.by_token.notified().await;
            sleep_until(planned.min(for_token)).await;
        };
        let by_feed = async {
            self.by_feed.notified().await;
            sleep_until(planned.min(for_feed)).await;
        };
        let by_announcement = async {
            self.by_announcement.notified().await;
            sleep_until(planned.min(for_announcement)).await;
        };
        let reason = tokio::select! {
            () = sleep_until(planned) => FetchReason::Scheduled,
            () = by_token => FetchReason::UnknownKey,
            () = by_feed => FetchReason::UnknownKeyOfFeed,
            () = by_announcement => FetchReason::UnknownKey,
        };
        // This fetch serves every request so far.
        for reported in [&self.by_token, &self.by_feed, &self.by_announcement] {
            tokio::select! { biased; () = reported.notified() => {} () = std::future::ready(()) => {} }
        }
        reason
    }
}

pub(super) async fn follow(
    shared: Arc<Shared>,
    schedule: KeyRefreshSchedule,
    mut jitter: impl Jitter,
    mut fetch: impl AsyncFnMut() -> Result<FetchedKeySet, RemoteError>,
) {
    let (mut failures, mut lacking) = (0, 0_u32);
    let mut last = LastFetches { any: Instant::now(), by_feed: None };
    loop {
        let delay = schedule.delay_after(failures, jitter.next());
        let is_lacking = shared.keys.misses_announced_key();
        let delay = match lacking.checked_sub(1) {
            Some(repeated) if is_lacking && lacking <= KeyRefreshSchedule::ANNOUNCED_RETRIES => {
                delay.min(schedule.announced_retry.delay(repeated, jitter.next()))
            }
            Some(_) | None => delay,
        };
        let reason = shared.key_requests.next(Instant::now() + delay, last, &schedule).await;
        shared.counters.key_fetches.add();
        let requested = shared.clock.monotonic();
        match fetch().await {
            Ok(set) => {
                failures = 0;
                tracing::debug!(keys = set.keys.len(), "key set refreshed");
                shared.publish_keys(set, requested);
                lacking = if shared.keys.misses_announced_key() { lacking.saturating_add(1) } else { 0 };
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                shared.counters.key_failures.add();
                let age = shared.keys.age(shared.clock.monotonic()).unwrap_or_default();
                tracing::warn!(%error, failures, age_seconds = age.as_secs(), "the key set could not be refreshed; the old one stays in force");
            }
        }
        last.any = Instant::now();
        if reason == FetchReason::UnknownKeyOfFeed {
            last.by_feed = Some(last.any);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    };

    use super::*;
    use crate::{
        error::VerifyError,
        keys::{KeySet, PublicKey},
        trusted::TrustedKeys,
    };

    fn key_set(n: u8) -> KeySet {
        let key = ed25519_dalek::SigningKey::from_bytes(&[n; 32]);
        KeySet::new([PublicKey::from_bytes(key.verifying_key().as_bytes()).unwrap()]).unwrap()
    }

    /// A broker that counts requests and can be disconnected.
    struct Network {
        keys: TrustedKeys,
        shared: Arc<Shared>,
        fetches: Arc<AtomicU32>,
        down: Arc<AtomicBool>,
        served: Arc<Mutex<KeySet>>,
    }

    impl Network {
        fn start(max_age: Option<Duration>) -> Self {
            let keys = TrustedKeys::following(max_age);
            let shared = Arc::new(Shared::for_tests(keys.clone()));
            let first = FetchedKeySet { keys: key_set(1), age: Duration::ZERO };
            shared.publish_keys(first, shared.clock.monotonic());
            let network = Self {
                keys,
                shared: Arc::clone(&shared),
                fetches: Arc::default(),
                down: Arc::default(),
                served: Arc::new(Mutex::new(key_set(1))),
            };
            let (fetches, down, served) =
                (Arc::clone(&network.fetches), Arc::clone(&network.down), Arc::clone(&network.served));
            tokio::spawn(follow(
                shared,
                KeyRefreshSchedule::default(),
                || 0.5,
                async move || {
                    fetches.fetch_add(1, Ordering::Relaxed);
                    if down.load(Ordering::Relaxed) {
                        return Err(RemoteError::UnexpectedStatus { url: "x".into(), status: 503 });
                    }
                    Ok(FetchedKeySet { keys: served.lock().unwrap().clone(), age: Duration::ZERO })
                },
            ));
            network
        }

        fn fetches(&self) -> u32 {
            self.fetches.load(Ordering::Relaxed)
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn fetches_once_a_minute_for_flood_of_unknown_keys() {
        let network = Network::start(None);
        for _ in 0..10_000 {
            network.shared.key_requests.by_token.notify_one();
            tokio::task::yield_now().await;
        }
        assert_eq!(network.fetches(), 0, "the set was fetched less than a minute ago");
        pass(61).await;
        assert_eq!(network.fetches(), 1);
        for _ in 0..10_000 {
            network.shared.key_requests.by_token.notify_one();
            tokio::task::yield_now().await;
        }
        pass(30).await;
        assert_eq!(network.fetches(), 1);
        pass(31).await;
        assert_eq!(network.fetches(), 2);
        pass(200).await;
        assert_eq!(network.fetches(), 2, "the flood is over: the next fetch is the planned one");
    }

    #[tokio::test(start_paused = true)]
    async fn fetches_key_named_by_feed_at_once() {
        let network = Network::start(None);
        network.shared.key_requests.by_feed.notify_one();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(network.fetches(), 1);
        for _ in 0..30 {
            network.shared.key_requests.by_feed.notify_one();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(network.fetches(), 2, "every 2 s at most");
    }

    #[tokio::test(start_paused = true)]
    async fn publishes_replaced_key_with_next_refresh() {
        let network = Network::start(None);
        *network.served.lock().unwrap() = key_set(2);
        pass(301).await;
        assert_eq!(network.fetches(), 1);
        assert_eq!(network.keys.key_set().as_deref(), Some(&key_set(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_old_keys_until_max_age_when_broker_is_down() {
        let network = Network::start(Some(Duration::from_secs(3600)));
        network.down.store(true, Ordering::Relaxed);
        pass(3500).await;
        assert!(network.keys.current(|| Instant::now().into_std()).is_ok());
        pass(200).await;
        let stale = network.keys.current(|| Instant::now().into_std()).err();
        assert!(matches!(stale, Some(VerifyError::KeysStale { .. })));
        network.down.store(false, Ordering::Relaxed);
        pass(61).await;
        assert!(network.keys.current(|| Instant::now().into_std()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn retries_failures_with_growing_delay() {
        let network = Network::start(None);
        network.down.store(true, Ordering::Relaxed);
        pass(284).await;
        assert_eq!(network.fetches(), 0);
        // At 285 s, then 0.75, 1.5, 3, 6, 12, 24 and every 45 s later.
        pass(49).await;
        assert_eq!(network.fetches(), 7);
        pass(450).await;
        assert_eq!(network.fetches(), 17);
    }

    #[test]
    fn delays_stay_within_bounds() {
        let schedule = KeyRefreshSchedule::default();
        assert_eq!(schedule.delay_after(0, 0.0), Duration::from_secs(300));
        assert_eq!(schedule.delay_after(0, 1.0), Duration::from_secs(270));
        assert_eq!(schedule.delay_after(1, 0.0), Duration::from_millis(500));
        assert_eq!(schedule.delay_after(1, 1.0), Duration::from_secs(1));
        assert_eq!(schedule.delay_after(3, 1.0), Duration::from_secs(4));
        assert_eq!(schedule.delay_after(u32::MAX, 1.0), Duration::from_secs(60));
    }
}
