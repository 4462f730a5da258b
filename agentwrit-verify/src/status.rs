//! Status of a verifier, for health endpoints and metrics.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::{revocation::RevocationList, staleness::ClockReading};

/// Status of a [`Verifier`](crate::Verifier). Serialises as an object; ages and limits as seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerifierStatus {
    /// True when tokens can be verified.
    pub ready: bool,
    /// [Reason code](crate::VerifyError::reason) of the error that every verification returns, when not ready.
    pub reason: Option<&'static str>,
    /// Issuer whose tokens are accepted.
    pub issuer: String,
    /// Number of trusted keys.
    pub keys: usize,
    /// Time since the key set was confirmed.
    #[serde(rename = "key_age_seconds", serialize_with = "seconds")]
    pub key_age: Option<Duration>,
    /// The revocation list; none for a verifier without.
    pub revocations: Option<RevocationStatus>,
    /// Number of cached tokens.
    pub cached_tokens: usize,
    /// Number of verifications without a cached token, accepted or not, since the verifier was built.
    pub cache_misses: u64,
}

/// Status of a [`RevocationList`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RevocationStatus {
    /// Number of entries.
    pub entries: usize,
    /// The bytes that they take.
    pub memory: usize,
    /// Age of the list; `None` for an authoritative list, and before the first snapshot.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: Option<Duration>,
    /// Age beyond which the list is not used; `None` when any age is accepted.
    #[serde(rename = "max_staleness_seconds", serialize_with = "seconds")]
    pub max_staleness: Option<Duration>,
    /// Epoch of the broker's log.
    pub epoch: Option<String>,
    /// Cursor in that log.
    pub cursor: Option<u64>,
}

impl RevocationStatus {
    pub(crate) fn of(list: &RevocationList, now: ClockReading) -> Self {
        let freshness = list.freshness();
        let position = freshness.and_then(crate::staleness::Freshness::position);
        let policy = freshness.map(crate::staleness::Freshness::policy);
        Self {
            entries: list.len(),
            memory: list.memory(),
            age: list.age(now),
            max_staleness: policy.filter(|policy| !policy.accepts_stale()).map(crate::feed::Staleness::max),
            epoch: position.as_ref().map(|position| position.epoch.clone()),
            cursor: position.map(|position| position.cursor),
        }
    }
}

/// Seconds with three decimals.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the member")]
pub(crate) fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0),
        None => serializer.serialize_none(),
    }
}
