//! The key set in force, shared by every verifier that uses it.
//!
//! A follower has two sources. The key set that it fetches contains the keys; the feed announces which of them are
//! published, and is the newer source:
//!
//! 1. A key that the newest response omits is dropped at once. A fetch, perhaps from an HTTP cache, does not bring it
//!    back while that response is fresh.
//! 2. A key that the newest response announces stays when a fetched set lacks it and may be older than its first
//!    announcement. A set that the broker made later is authoritative: the key was published before and is not any more,
//!    so it is dropped whatever the feed announces. A withdrawn key in the hands of a thief cannot vouch for itself.
//! 3. A fetched key that was not announced yet verifies responses of the feed only, so that a new key's first response
//!    can announce it.
//! 4. Once the newest response is stale, a fetched set replaces the keys, so that a follower that slept through a rotation
//!    recovers; but rule 1 holds on, since a follower may accept tokens then too. A set that the broker made after a response
//!    that omitted a key makes the key verify responses of the feed only (rule 3): a response has to announce it again.
//! 5. A key that an authoritative set lacked comes back only with a set that the broker made later.

mod announced;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwapOption, Guard};

use self::announced::Announced;
#[cfg(feature = "remote")]
pub(crate) use self::announced::RemovedKeys;
use crate::{
    error::VerifyError,
    key_announcement::KeyAnnouncement,
    key_table::MAX_TABLES,
    keys::{self, KeyId, KeySet, PublicKey},
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
    /// Keys get tables.
    key_tables: bool,
    /// Called, without blocking, when a token names a key that is not in the set.
    on_unknown_key: OnceLock<Box<dyn Fn() + Send + Sync>>,
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
        Self::new(max_age, true)
    }

    pub(crate) fn new(max_age: Option<Duration>, key_tables: bool) -> Self {
        let shared = Shared {
            current: ArcSwapOption::empty(),
            announced: Mutex::default(),
            max_age,
            key_tables,
            on_unknown_key: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Replaces the set, confirmed at `now` on the monotonic clock of the verifiers. While a response of the feed that
    /// [announces keys](crate::feed::Feed::apply_with_keys) is fresh, only keys that it announces are in force, and those
    /// that the set lacks stay: see [`publish_as_of`](Self::publish_as_of). Nor does a set of unknown age bring back a key
    /// that a response omitted.
    pub fn publish(&self, keys: KeySet, now: Instant) {
        self.publish_set(keys, None, now);
    }

    /// Replaces the set as [`publish`](Self::publish), by one that the broker made after `as_of`: the time just before
    /// the request, less the `Age` of the response (RFC 9111 §5.1). Keys that were announced before `as_of` and that the
    /// set lacks are dropped, also while the feed announces them.
    ///
    /// A caller that carries the feed over a path which may change it fetches the set from the broker itself at least
    /// every [`max_staleness`](crate::feed::Staleness), and limits the age of the keys to the same: a thief with a
    /// withdrawn key can forge responses of the feed until then.
    pub fn publish_as_of(&self, keys: KeySet, as_of: Instant, now: Instant) {
        self.publish_set(keys, Some(as_of), now);
    }

    fn publish_set(&self, keys: KeySet, as_of: Option<Instant>, now: Instant) {
        // Computed before writers are locked out.
        let keys = if self.shared.key_tables { keys.with_tables(&self.known_keys()) } else { keys.without_tables() };
        let mut announced = self.announced();
        let keys = announced.published(keys, as_of);
        announced.fetched_at = Some(now);
        let Some(newest) = announced.fresh(now).cloned() else {
            let in_force = announced.replace_stale(keys.as_ref(), as_of);
            self.store(&mut announced, in_force, now);
            return;
        };
        let fetched = || keys.iter().flat_map(KeySet::iter);
        let before = self.key_set();
        let is_kept =
            |key: &&PublicKey| fetched().all(|fetched| fetched.id() != key.id()) && !announced.is_unpublished(key.id());
        let kept = before.iter().flat_map(|set| set.iter()).filter(is_kept);
        let in_force: Vec<PublicKey> = fetched().chain(kept).filter(|key| newest.contains(key.id())).cloned().collect();
        let is_new = |key: &&PublicKey| !newest.contains(key.id()) && announced.dropped_at(key.id()).is_none();
        let unannounced = fetched().filter(is_new).cloned().collect();
        announced.unannounced = unannounced;
        self.store(&mut announced, KeySet::new(in_force).ok(), now);
    }

    /// Applies the keys that the newest response of the feed announces, which is received by `now` and becomes stale at
    /// `valid_until`. Returns true when one of them is missing.
    pub(crate) fn announce(&self, newest: Option<&KeyAnnouncement>, valid_until: Instant, now: Instant) -> bool {
        let mut announced = self.announced();
        let Some(newest) = newest else {
            announced.end_announcements();
            return false;
        };
        let confirmed = self.shared.current.load_full();
        let known: Vec<PublicKey> = confirmed.iter().flat_map(|confirmed| confirmed.keys.iter()).cloned().collect();
        let (in_force, omitted): (Vec<PublicKey>, Vec<PublicKey>) =
            known.iter().cloned().partition(|key| newest.contains(key.id()));
        let (new, unannounced): (Vec<PublicKey>, Vec<PublicKey>) =
            std::mem::take(&mut announced.unannounced).into_iter().partition(|key| newest.contains(key.id()));
        announced.unannounced = unannounced;
        if !omitted.is_empty() || !new.is_empty() {
            let at = announced.fetched_at.unwrap_or(now);
            self.store(&mut announced, KeySet::new(in_force.iter().chain(&new).cloned()).ok(), at);
        }
        announced.drop_omitted(&omitted, newest, now);
        announced.announce(newest, valid_until, now);
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

    /// Returns whether the newest response of the feed announces the key, and no authoritative set lacked it; `None` when
    /// the broker announces none.
    pub(crate) fn is_announced(&self, id: &KeyId) -> Option<bool> {
        let announced = self.announced();
        announced.newest.as_ref().map(|newest| newest.contains(id) && !announced.is_unpublished(id))
    }

    /// Returns the keys that are kept out of force, for a state file.
    #[cfg(feature = "remote")]
    pub(crate) fn removed_keys(&self) -> RemovedKeys {
        self.announced().removed()
    }

    /// Keeps the keys out of force that an earlier run of the process did.
    #[cfg(feature = "remote")]
    pub(crate) fn restore_removed_keys(&self, removed: RemovedKeys, now: Instant) {
        self.announced().restore(removed, now);
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

    /// Returns the keys in force, and the new ones that await their announcement.
    fn known_keys(&self) -> Vec<PublicKey> {
        let announced = self.announced();
        let in_force = self.key_set();
        in_force.iter().flat_map(|set| set.iter()).chain(&announced.unannounced).cloned().collect()
    }

    /// Puts the keys in force. These and the unannounced ones have [`MAX_TABLES`] together at most.
    fn store(&self, announced: &mut Announced, mut keys: Option<KeySet>, at: Instant) {
        let left = keys.as_mut().map_or(MAX_TABLES, |keys| keys.limit_tables(MAX_TABLES));
        keys::limit_tables(&mut announced.unannounced, left);
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

#[cfg(test)]
mod tests;
