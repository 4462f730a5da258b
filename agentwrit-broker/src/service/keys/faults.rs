//! Faults of the signing keys that an operator should look at although the broker serves.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::KeyService;
use crate::keys::UnusableKey;

/// Interval at which faults are logged again.
const LOG_INTERVAL: Duration = Duration::from_secs(3600);

/// Warning of a signing key that is in memory only.
const NOT_SAVED: &str = "signing_key_not_saved";

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
        let unsaved = found.is_unsaved.then_some(NOT_SAVED);
        unusable.into_iter().chain(unsaved).chain(self.state_file_warning()).collect()
    }

    /// Returns the names of the faults that keep a change, which is in force, from outlasting every crash.
    pub(crate) fn change_warnings(&self) -> Vec<&'static str> {
        let unsaved = self.issuer.custody().has_unsaved_key().then_some(NOT_SAVED);
        unsaved.into_iter().chain(self.state_file_warning()).collect()
    }

    fn state_file_warning(&self) -> Option<&'static str> {
        self.ledger.store.is_state_file_behind().then_some("state_file_not_written")
    }
}
