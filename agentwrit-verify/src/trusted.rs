//! The key set in force, shared by every verifier that uses it.
//!
//! A follower has two sources. The key set that it fetches contains the keys; the feed announces which of them are
//! published, and is the newer source:
//!
//! 1. A key that the newest response omits is dropped at once. A fetch, perhaps from an HTTP cache, does not bring it
//!    back while that response is fresh.
//! 2. A key that the newest response announces stays, also when a fetched set lacks it: the set is older.
//! 3. A fetched key that was not announced yet verifies responses of the feed only, so that a new key's first response
//!    can announce it.
//! 4. Once the newest response is stale, and no token is accepted anyway, a fetched set replaces everything: a follower
//!    that slept through a rotation recovers.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwapOption, Guard};

use crate::{
    error::VerifyError,
    key_announcement::KeyAnnouncement,
    keys::{KeyId, KeySet, PublicKey},
};

/// A key set that can be replaced while verifiers use it: readers see the old one or the new one, never a mixture, and
/// never wait. Clones share the same set.
#[derive(Clone)]
pub struct TrustedKeys {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwapOption<Confirmed>,
    /// Held by writers; readers do not lock it.
    announced: Mutex<Announced>,
    max_age: Option<Duration>,
    /// Called, without blocking, when a token names a key that is not in the set.
    on_unknown_key: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// State of the feed's announcements.
#[derive(Default)]
struct Announced {
    newest: Option<KeyAnnouncement>,
    /// Moment at which the newest response becomes stale.
    valid_until: Option<Instant>,
    /// Fetched keys that were not announced yet.
    unannounced: Vec<PublicKey>,
    /// Keys that were in force until a response omitted them, the latest last.
    dropped: Vec<KeyId>,
}

impl Announced {
    /// The most dropped keys that are kept.
    const MAX_DROPPED: usize = 2 * KeySet::MAX_KEYS;

    /// Returns the newest announcement, unless its response is stale.
    fn fresh(&self, now: Instant) -> Option<&KeyAnnouncement> {
        self.newest.as_ref().filter(|_| self.valid_until.is_some_and(|until| now < until))
    }
}

/// A key set, and when it was last confirmed.
#[derive(Debug)]
pub(crate) struct Confirmed {
    pub(crate) keys: Arc<KeySet>,
    pub(crate) at: Instant,
}

impl TrustedKeys {
    /// Keys that stay trusted until [`TrustedKeys::publish`] replaces them.
    #[must_use]
    pub fn fixed(keys: KeySet) -> Self {
        let trusted = Self::following(None);
        // Without an age limit the time of confirmation is not used.
        trusted.publish(keys, Instant::now());
        trusted
    }

    /// No keys yet; those published later are trusted for `max_age` from their last confirmation.
    #[must_use]
    pub fn following(max_age: Option<Duration>) -> Self {
        let shared = Shared {
            current: ArcSwapOption::empty(),
            announced: Mutex::default(),
            max_age,
            on_unknown_key: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Replaces the set, confirmed at `now` on the monotonic clock of the verifiers. While a response of the feed that
    /// [announces keys](crate::feed::Feed::apply_with_keys) is fresh, only keys that it announces are in force.
    pub fn publish(&self, keys: KeySet, now: Instant) {
        let mut announced = self.announced();
        let Some(newest) = announced.fresh(now).cloned() else {
            *announced = Announced::default();
            self.store(Some(keys), now);
            return;
        };
        let before = self.key_set();
        let kept = before.iter().flat_map(|set| set.iter()).filter(|key| keys.find(key.id()).is_none());
        let in_force: Vec<PublicKey> =
            keys.iter().chain(kept).filter(|key| newest.contains(key.id())).cloned().collect();
        let dropped = std::mem::take(&mut announced.dropped);
        let is_new = |key: &&PublicKey| !newest.contains(key.id()) && !dropped.contains(key.id());
        announced.unannounced = keys.iter().filter(is_new).cloned().collect();
        announced.dropped = dropped;
        self.store(KeySet::new(in_force).ok(), now);
    }

    /// Applies the keys that the newest response of the feed announces, which becomes stale at `valid_until`. Returns
    /// true when one of them is missing.
    pub(crate) fn announce(&self, newest: Option<&KeyAnnouncement>, valid_until: Instant) -> bool {
        let mut announced = self.announced();
        let Some(newest) = newest else {
            *announced = Announced::default();
            return false;
        };
        let confirmed = self.shared.current.load_full();
        let known: Vec<PublicKey> = confirmed.iter().flat_map(|confirmed| confirmed.keys.iter()).cloned().collect();
        let (in_force, omitted): (Vec<PublicKey>, Vec<PublicKey>) =
            known.iter().cloned().partition(|key| newest.contains(key.id()));
        let (new, unannounced): (Vec<PublicKey>, Vec<PublicKey>) =
            std::mem::take(&mut announced.unannounced).into_iter().partition(|key| newest.contains(key.id()));
        if !omitted.is_empty() || !new.is_empty() {
            let at = confirmed.as_ref().map_or(valid_until, |confirmed| confirmed.at);
            self.store(KeySet::new(in_force.iter().chain(&new).cloned()).ok(), at);
        }
        announced.dropped.extend(omitted.iter().map(|key| key.id().clone()));
        announced.dropped.retain(|id| !newest.contains(id));
        let excess = announced.dropped.len().saturating_sub(Announced::MAX_DROPPED);
        announced.dropped.drain(..excess);
        announced.unannounced = unannounced;
        announced.newest = Some(newest.clone());
        announced.valid_until = Some(valid_until);
        newest.key_ids().iter().any(|id| in_force.iter().chain(&new).all(|key| key.id() != id))
    }

    /// Returns the keys that verify responses of the feed: those in force, and new ones that await their announcement.
    pub(crate) fn key_set_for_feed(&self) -> Option<Arc<KeySet>> {
        let announced = self.announced();
        let in_force = self.key_set();
        if announced.unannounced.is_empty() {
            return in_force;
        }
        let keys = in_force.iter().flat_map(|set| set.iter()).chain(&announced.unannounced).cloned();
        KeySet::new(keys).ok().map(Arc::new).or(in_force)
    }

    /// Returns whether the newest response of the feed announces the key; `None` when the broker announces none.
    pub(crate) fn is_announced(&self, id: &KeyId) -> Option<bool> {
        self.announced().newest.as_ref().map(|newest| newest.contains(id))
    }

    /// Returns true when the newest response of the feed announces a key that is not in force.
    #[cfg(any(feature = "remote", feature = "testing"))]
    pub(crate) fn misses_announced_key(&self) -> bool {
        let set = self.key_set();
        let has = |id: &KeyId| set.as_ref().is_some_and(|set| set.find(id).is_some());
        self.announced().newest.as_ref().is_some_and(|newest| !newest.key_ids().iter().all(has))
    }

    fn announced(&self) -> std::sync::MutexGuard<'_, Announced> {
        self.shared.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, keys: Option<KeySet>, at: Instant) {
        self.shared.current.store(keys.map(|keys| Arc::new(Confirmed { keys: Arc::new(keys), at })));
    }

    /// The set in force, if there is one.
    #[must_use]
    pub fn key_set(&self) -> Option<Arc<KeySet>> {
        self.shared.current.load().as_ref().map(|confirmed| Arc::clone(&confirmed.keys))
    }

    /// Returns the time since the set was confirmed.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.shared.current.load().as_ref().map(|confirmed| now.saturating_duration_since(confirmed.at))
    }

    /// Sets, once, what happens when a token names an unknown key. It must return at once.
    #[cfg(feature = "remote")]
    pub(crate) fn on_unknown_key(&self, notify: impl Fn() + Send + Sync + 'static) {
        // The follower that made this handle is the only caller.
        drop(self.shared.on_unknown_key.set(Box::new(notify)));
    }

    pub(crate) fn report_unknown_key(&self) {
        if let Some(notify) = self.shared.on_unknown_key.get() {
            notify();
        }
    }

    /// Returns the set in force, unless it is too old. `now` is called only when there is an age limit.
    pub(crate) fn current(&self, now: impl FnOnce() -> Instant) -> Result<InForce, VerifyError> {
        let confirmed = self.shared.current.load();
        let Some(set) = confirmed.as_ref() else { return Err(VerifyError::KeysUnavailable) };
        if let Some(max_age) = self.shared.max_age {
            let age = now().saturating_duration_since(set.at);
            if age > max_age {
                return Err(VerifyError::KeysStale { age });
            }
        }
        Ok(InForce(confirmed))
    }
}

impl From<KeySet> for TrustedKeys {
    fn from(keys: KeySet) -> Self {
        Self::fixed(keys)
    }
}

impl fmt::Debug for TrustedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedKeys")
            .field("keys", &self.key_set())
            .field("max_age", &self.shared.max_age)
            .finish_non_exhaustive()
    }
}

/// A borrowed key set; the reader holds it for one verification.
pub(crate) struct InForce(Guard<Option<Arc<Confirmed>>>);

impl InForce {
    /// Returns the key set; never `None`, since [`TrustedKeys::current`] checked it.
    pub(crate) fn key_set(&self) -> Option<&KeySet> {
        self.0.as_ref().map(|confirmed| confirmed.keys.as_ref())
    }
}
