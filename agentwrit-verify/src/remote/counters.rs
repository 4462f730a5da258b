//! Status and counters of a follower.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;

use crate::status::{RevocationStatus, seconds};

/// Status of a [`Follower`](super::Follower). Serialises as an object; ages as seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FollowerStatus {
    /// True when keys and revocations are available, and fresh enough to verify tokens.
    pub ready: bool,
    /// [Reason code](crate::VerifyError::reason) of the error that every verification returns, when not ready.
    pub reason: Option<&'static str>,
    /// The authority that is followed.
    pub issuer: String,
    /// Number of trusted keys.
    pub keys: usize,
    /// Time since the key set was confirmed.
    #[serde(rename = "key_age_seconds", serialize_with = "seconds")]
    pub key_age: Option<Duration>,
    /// The revocation list; none when revocations aren't followed.
    pub revocations: Option<RevocationStatus>,
    /// Counters since the start.
    pub counters: FollowerCounters,
}

/// Counters of a [`Follower`](super::Follower) since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FollowerCounters {
    /// Requests for the key set.
    pub key_fetches: u64,
    /// Failed requests for the key set.
    pub key_failures: u64,
    /// Requests to the feed.
    pub feed_fetches: u64,
    /// Failed requests to the feed.
    pub feed_failures: u64,
    /// Responses of the feed that were applied.
    pub responses_applied: u64,
    /// Responses of the feed that were rejected.
    pub responses_rejected: u64,
    /// Snapshots requested after a gap or a new epoch.
    pub resyncs: u64,
    /// Times that the state file was written.
    pub states_saved: u64,
    /// Reports sent to the broker.
    pub reports: u64,
    /// Reports that the broker did not accept.
    pub report_failures: u64,
}

/// The counters while they count.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) key_fetches: Counter,
    pub(super) key_failures: Counter,
    pub(super) feed_fetches: Counter,
    pub(super) feed_failures: Counter,
    pub(super) responses_applied: Counter,
    pub(super) responses_rejected: Counter,
    pub(super) resyncs: Counter,
    pub(super) states_saved: Counter,
    pub(super) reports: Counter,
    pub(super) report_failures: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn now(&self) -> FollowerCounters {
        FollowerCounters {
            key_fetches: self.key_fetches.get(),
            key_failures: self.key_failures.get(),
            feed_fetches: self.feed_fetches.get(),
            feed_failures: self.feed_failures.get(),
            responses_applied: self.responses_applied.get(),
            responses_rejected: self.responses_rejected.get(),
            resyncs: self.resyncs.get(),
            states_saved: self.states_saved.get(),
            reports: self.reports.get(),
            report_failures: self.report_failures.get(),
        }
    }
}
