//! Challenges of registrations: nonces, on a time that never goes back.

use std::sync::Arc;

use agentwrit_verify::{Clock, UnixTime};

use super::nonce::{Nonce, NonceError, Nonces};
use crate::{
    clock::NonceTime,
    keys::{Entropy, random},
    telemetry::metrics::Metrics,
};

/// Issues and checks challenge nonces.
#[derive(Debug)]
pub(crate) struct Challenges {
    nonces: Nonces,
    time: NonceTime,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
}

impl Challenges {
    pub(crate) fn new(
        nonces: Nonces,
        time: NonceTime,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { nonces, time, clock, entropy, metrics }
    }

    /// A fresh nonce. Nothing is stored.
    pub(crate) fn issue(&self) -> Nonce {
        self.nonces.issue(self.time.now(self.clock.as_ref()), random(self.entropy.as_ref()))
    }

    /// Checks that this broker issued `nonce` and that it has not expired. Returns the time until which its use must be
    /// remembered.
    ///
    /// # Errors
    ///
    /// [`NonceError`]; clients receive the same response to each.
    pub(crate) fn check(&self, nonce: &Nonce) -> Result<UnixTime, NonceError> {
        self.nonces.check(nonce, self.time.now(self.clock.as_ref())).inspect_err(|error| {
            if matches!(error, NonceError::FromTheFuture { .. }) {
                self.metrics.clock_skew();
            }
        })
    }

    /// Advances the time behind which uses of nonces are forgotten, and returns it.
    pub(crate) fn uses_deletable_until(&self) -> UnixTime {
        self.time.deletable_until(self.clock.as_ref())
    }
}
