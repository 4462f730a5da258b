//! The key set in force, shared by every verifier that uses it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwapOption, Guard};

use crate::{error::VerifyError, keys::KeySet};

/// A key set that can be replaced while verifiers use it: readers see the old one or the new one, never a mixture, and
/// never wait. Clones share the same set.
#[derive(Clone)]
pub struct TrustedKeys {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwapOption<Confirmed>,
    max_age: Option<Duration>,
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
        let shared = Shared { current: ArcSwapOption::empty(), max_age, on_unknown_key: OnceLock::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Replaces the set, confirmed at `now` on the monotonic clock of the verifiers.
    pub fn publish(&self, keys: KeySet, now: Instant) {
        self.shared.current.store(Some(Arc::new(Confirmed { keys: Arc::new(keys), at: now })));
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
