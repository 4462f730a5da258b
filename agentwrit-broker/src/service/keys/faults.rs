//! Faults of the signing keys that an operator should look at although the broker serves.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::KeyService;
use crate::keys::UnusableKey;

/// Interval at which faults are logged again.
const LOG_INTERVAL: Duration = Duration::from_secs(3600);

/// Faults that were found last.
#[derive(Debug, Default)]
pub(super) struct KeyFaults(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    unusable: Vec<UnusableKey>,
    is_unsaved: bool,
    logged: Option<Instant>,
}

impl KeyFaults {
    /// Logs faults that were not there before, and all of them at intervals.
    pub(super) fn set(&self, unusable: &[UnusableKey], is_unsaved: bool, now: Instant) {
        let found = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = found.logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL);
        for key in unusable.iter().filter(|key| is_due || !found.unusable.contains(key)) {
            let (kid, state) = (key.kid.as_str(), key.state.as_str());
            tracing::error!(component = "signing", kid, state, "a signing key cannot be used: {}", key.describe());
        }
        if is_unsaved && (is_due || !found.is_unsaved) {
            tracing::error!(
                component = "signing",
                "a signing key is in the memory of this broker only: make the directory of the key files writable before the \
                 broker stops, or every token of this key becomes invalid"
            );
        }
        *found =
            Found { unusable: unusable.to_vec(), is_unsaved, logged: if is_due { Some(now) } else { found.logged } };
    }
}

impl KeyService {
    /// Returns the names of the faults in `GET /v1/health`.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let found = self.faults.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unusable = (!found.unusable.is_empty()).then_some("signing_key_unusable");
        unusable.into_iter().chain(found.is_unsaved.then_some("signing_key_not_saved")).collect()
    }
}
