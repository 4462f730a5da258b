//! What health endpoints and metrics tell of a verifier.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::{revocation::RevocationList, staleness::ClockReading};

/// How a [`Verifier`](crate::Verifier) is doing. Serialises as an object; ages and limits as seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerifierStatus {
    /// Whether tokens can be judged.
    pub ready: bool,
    /// Why not: the [reason](crate::VerifyError::reason) that every token is answered with.
    pub reason: Option<&'static str>,
    /// The authority whose tokens are accepted.
    pub issuer: String,
    /// How many keys are trusted.
    pub keys: usize,
    /// How long ago the key set was confirmed.
    #[serde(rename = "key_age_seconds", serialize_with = "seconds")]
    pub key_age: Option<Duration>,
    /// The revocation list; none for a verifier without.
    pub revocations: Option<RevocationStatus>,
    /// How many verified tokens are remembered.
    pub cached_tokens: usize,
    /// How many tokens were verified from scratch, good or not, since it was built.
    pub cache_misses: u64,
}

/// How a [`RevocationList`] is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RevocationStatus {
    /// How many entries there are.
    pub entries: usize,
    /// The bytes that they take.
    pub memory: usize,
    /// How old the list is taken to be; none for one that is never stale, and before the first snapshot.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: Option<Duration>,
    /// The age from which on tokens aren't judged by it; none when any will do.
    #[serde(rename = "max_staleness_seconds", serialize_with = "seconds")]
    pub max_staleness: Option<Duration>,
    /// Which log of the broker's it follows.
    pub epoch: Option<String>,
    /// How far.
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
