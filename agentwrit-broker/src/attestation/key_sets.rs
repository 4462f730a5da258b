//! Key sets of issuers in memory.
//!
//! 1. A set is used for 5 minutes, then fetched again before the next token is judged. While the provider is away, the last
//!    set stays in force for an hour after it was fetched; then tokens are rejected as temporarily not verifiable.
//!    Tokens whose `kid` it has do not wait while it is younger than 5 minutes, or the last fetch failed: fetches go on in the
//!    background. So a provider that hangs delays the tokens of 5 seconds, not those of its whole absence.
//! 2. A token whose `kid` is not in the set causes a fetch, at most every 30 s for each URL: tokens are written by
//!    unauthenticated clients. Unknown ids are not kept.
//! 3. Failed fetches are repeated after 1 s at the earliest, then after doubling delays up to a minute.
//! 4. One fetch of a URL at a time, which all requests share. It runs to its end when the request that began it hangs up:
//!    clients that hang up cannot cause further fetches.
//! 5. Clients that wait for a fetch keep their connections: at most [`MAX_WAITING`] of them wait for one URL, and
//!    [`MAX_WAITING_IN_ALL`] for all. More are rejected as temporarily not verifiable.
//! 6. Only URLs of trust rules get here, and at most [`MAX_SETS`] of them are kept.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_verify::{
    Clock,
    http_client::{Backoff, random_fraction},
};
use moka::{
    future::Cache,
    ops::compute::{CompResult, Op},
};
use tokio::sync::Semaphore;

use super::{
    address::KeySetUrl,
    fetch::Fetcher,
    jwk::{JwkSet, MAX_KEY_ID},
};
use crate::telemetry::metrics::Metrics;

/// Largest number of URLs whose sets are kept.
const MAX_SETS: u64 = 1024;
/// Largest number of requests that wait for the set of one URL.
const MAX_WAITING: usize = 64;
/// Largest number of requests that wait for any set.
const MAX_WAITING_IN_ALL: usize = 128;
/// Time for which a set is used.
const TIME_TO_LIVE: Duration = Duration::from_secs(300);
/// Time for which a set stays in force while the provider is away.
const MAX_STALE: Duration = Duration::from_secs(3600);
/// Shortest interval between fetches for unknown keys.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(30);
/// Delays after failed fetches.
const RETRY: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60)).least_share(0.5);

/// Key sets by URL.
#[derive(Clone, Debug)]
pub(super) struct KeySets {
    cache: Cache<KeySetUrl, Arc<Entry>>,
    places: Cache<KeySetUrl, Arc<Places>>,
    waiting: Arc<Semaphore>,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// The last fetch of a set, and the set in force.
#[derive(Clone, Debug)]
struct Entry {
    /// The set, and the time at which its fetch began.
    set: Option<(Arc<JwkSet>, Instant)>,
    /// End of the last fetch.
    attempted: Instant,
    /// Number of failures in a row.
    failures: u32,
    /// Delay before the next fetch, if the last one failed.
    retry_after: Duration,
}

/// Places of the requests for one URL.
#[derive(Debug)]
struct Places {
    waiting: Semaphore,
    /// For a fetch that no request waits for.
    background: Arc<Semaphore>,
}

impl Places {
    fn new() -> Self {
        Self { waiting: Semaphore::new(MAX_WAITING), background: Arc::new(Semaphore::new(1)) }
    }
}

/// There is no set in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unavailable;

impl KeySets {
    pub(super) fn new(fetcher: Fetcher, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let (cache, places) = (Cache::new(MAX_SETS), Cache::new(MAX_SETS));
        Self { cache, places, waiting: Arc::new(Semaphore::new(MAX_WAITING_IN_ALL)), fetcher, clock, metrics }
    }

    /// Returns the set in force for a token with this `kid`.
    pub(super) async fn get(&self, url: &KeySetUrl, kid: Option<&str>) -> Result<Arc<JwkSet>, Unavailable> {
        // No set has a longer one.
        let kid = kid.filter(|kid| kid.len() <= MAX_KEY_ID);
        let (entry, now) = (self.cache.get(url).await, self.clock.monotonic());
        let Some(entry) = entry else { return self.wait(url, kid).await };
        if !entry.is_due(kid, now) {
            return entry.in_force(now).ok_or(Unavailable);
        }
        let Some(set) = entry.at_once(kid, now) else {
            // Once too many wait, a set that is in force and names the key serves as if the provider were away.
            let waited = self.wait(url, kid).await;
            return waited.or_else(|unavailable| entry.naming(kid, now).ok_or(unavailable));
        };
        if let Ok(place) = self.places(url).await.background.clone().try_acquire_owned() {
            let refresh = self.refresh(url, kid);
            tokio::spawn(async move {
                refresh.await;
                drop(place);
            });
        }
        Ok(set)
    }

    /// Waits for a fetch, if there is a place to wait.
    async fn wait(&self, url: &KeySetUrl, kid: Option<&str>) -> Result<Arc<JwkSet>, Unavailable> {
        let places = self.places(url).await;
        let _places = (
            places.waiting.try_acquire().map_err(|_| Unavailable)?,
            self.waiting.try_acquire().map_err(|_| Unavailable)?,
        );
        // In a task of its own, which ends when the fetch does: see rule 4.
        let entry = tokio::spawn(self.refresh(url, kid)).await.ok().flatten().ok_or(Unavailable)?;
        entry.in_force(self.clock.monotonic()).ok_or(Unavailable)
    }

    async fn places(&self, url: &KeySetUrl) -> Arc<Places> {
        self.places.get_with_by_ref(url, async { Arc::new(Places::new()) }).await
    }

    /// Fetches the set, unless another request has just done so.
    fn refresh(&self, url: &KeySetUrl, kid: Option<&str>) -> impl Future<Output = Option<Arc<Entry>>> + Send + use<> {
        let (sets, url, kid) = (self.clone(), url.clone(), kid.map(str::to_owned));
        async move {
            let compute = |entry: Option<moka::Entry<KeySetUrl, Arc<Entry>>>| {
                let (sets, url) = (&sets, &url);
                let last = entry.map(moka::Entry::into_value);
                let is_due = last.as_ref().is_none_or(|last| last.is_due(kid.as_deref(), sets.clock.monotonic()));
                async move { if is_due { Op::Put(Arc::new(sets.fetch(url, last.as_deref()).await)) } else { Op::Nop } }
            };
            match sets.cache.entry_by_ref(&url).and_compute_with(compute).await {
                CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) | CompResult::Unchanged(entry) => {
                    Some(entry.into_value())
                }
                CompResult::StillNone(_) | CompResult::Removed(_) => None,
            }
        }
    }

    async fn fetch(&self, url: &KeySetUrl, last: Option<&Entry>) -> Entry {
        let began = self.clock.monotonic();
        let fetched = self.fetcher.fetch(url).await;
        self.metrics.attestations().key_set_fetched(fetched.is_ok());
        let attempted = self.clock.monotonic();
        match fetched {
            Ok(set) => {
                let (keys, unusable) = (set.len(), set.unusable());
                tracing::debug!(component = "attestation", url = url.as_str(), keys, unusable, "key set fetched");
                Entry { set: Some((Arc::new(set), began)), attempted, failures: 0, retry_after: Duration::ZERO }
            }
            Err(error) => {
                let earlier = last.map_or(0, |last| last.failures);
                let retry_after = RETRY.delay(earlier, random_fraction());
                let set = last.and_then(|last| last.set.clone());
                let age_seconds =
                    set.as_ref().map(|(_, fetched)| attempted.saturating_duration_since(*fetched).as_secs());
                tracing::warn!(
                    component = "attestation", url = url.as_str(), %error, failures = earlier.saturating_add(1), age_seconds,
                    "the key set of an issuer could not be fetched; the last one stays in force for an hour"
                );
                Entry { set, attempted, failures: earlier.saturating_add(1), retry_after }
            }
        }
    }

    /// Number of URLs that are kept.
    #[cfg(test)]
    pub(super) async fn len(&self) -> u64 {
        self.cache.run_pending_tasks().await;
        self.cache.entry_count()
    }
}

impl Entry {
    /// Returns whether the set is to be fetched again for a token with this `kid`.
    fn is_due(&self, kid: Option<&str>, now: Instant) -> bool {
        let since_attempt = now.saturating_duration_since(self.attempted);
        if self.failures > 0 {
            return since_attempt >= self.retry_after;
        }
        let Some((set, fetched)) = &self.set else { return true };
        let is_old = now.saturating_duration_since(*fetched) >= TIME_TO_LIVE;
        let is_unknown = kid.is_some_and(|kid| !set.names(kid));
        is_old || (is_unknown && since_attempt >= UNKNOWN_KEY_INTERVAL)
    }

    /// Returns the set if a token with this `kid` need not wait for the next fetch: see rule 1.
    fn at_once(&self, kid: Option<&str>, now: Instant) -> Option<Arc<JwkSet>> {
        let (_, fetched) = self.set.as_ref()?;
        let is_fresh = now.saturating_duration_since(*fetched) < TIME_TO_LIVE;
        if is_fresh || self.failures > 0 { self.naming(kid, now) } else { None }
    }

    /// Returns the set, if it names a key of this `kid` and is not too old.
    fn naming(&self, kid: Option<&str>, now: Instant) -> Option<Arc<JwkSet>> {
        self.in_force(now).filter(|set| kid.is_none_or(|kid| set.names(kid)))
    }

    /// Returns the set, unless it is too old.
    fn in_force(&self, now: Instant) -> Option<Arc<JwkSet>> {
        let (set, fetched) = self.set.as_ref()?;
        (now.saturating_duration_since(*fetched) < MAX_STALE).then(|| Arc::clone(set))
    }
}
