//! Follows a broker in the background, so that verification never waits for the network.
//!
//! 1. [`FollowerBuilder::start`] returns after the first key set and the first revocation list were fetched, or at once
//!    with a state file from an earlier run. [`FollowerBuilder::start_lazily`] always returns at once, also while the
//!    broker is down: until both are fetched, no token is accepted and routes respond with 503.
//! 2. Revocations are long-polled and applied on arrival. The age of the list is checked at every verification, by the
//!    time that the broker signed; beyond [`max_staleness`](FollowerBuilder::max_staleness) every verification returns
//!    [`StaleRevocations`](crate::VerifyError::StaleRevocations). See [`feed`](crate::feed) for the responses that are
//!    rejected, and [`Staleness`](crate::feed::Staleness) for the bound.
//! 3. The key set is refreshed at an interval, and at once when the feed announces a key that it lacks, always past HTTP
//!    caches. A key that the newest response of the feed omits, or that a later set lacks, is not trusted any more, also
//!    while the feed is away and after a restart with a state file. After
//!    a failure the old keys stay in force up to `max_key_age`; after it every verification returns [`KeysStale`](crate::VerifyError::KeysStale).
//! 4. Failures are retried with exponential backoff and jitter, requests to the feed first within a tenth of a second.
//! 5. A token that names an unknown key triggers a fetch, at most once a minute, off the request path: a flood of
//!    forged key ids costs one fetch and delays no request. For a signed feed response the minimum is 2 s.
//! 6. With an [identity](FollowerBuilder::identity) each instance reports what it applies to the broker, off the request
//!    path, and accepts tokens only while the broker accepts its reports: see [`report`](crate::report).
//! 7. Redirects are not followed, and proxies from the environment are not used: [`FollowerBuilder::proxy`] sets one.
//! 8. A key set is only as trustworthy as the connection: use `https` unless the broker is on the same host. So is the
//!    feed, of which key set and signatures are all that protects it, against a thief who holds a key. Over `https` to the
//!    broker a withdrawn key ends within `max_staleness`. A thief who can change the feed on its way, but not the key
//!    set, ends with the next refresh of the keys and `max_staleness`. Behind a proxy or mirror that may change
//!    responses, set [`key_refresh_interval`](FollowerBuilder::key_refresh_interval) and
//!    [`max_key_age`](FollowerBuilder::max_key_age) accordingly.
//!
//! ```no_run
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use agentwrit_verify::remote::Follower;
//!
//! let broker = Follower::builder("https://broker.internal:8443").issuer("https://agentwrit.local").start().await?;
//! let verifier = broker.verifier().audience("https://api.internal").build();
//! # Ok(())
//! # }
//! ```

mod builder;
mod counters;
mod error;
mod feed;
mod fetch;
mod jitter;
mod keys;
mod prepared;
mod report;
mod save;
mod state_file;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::{sync::watch, task::JoinHandle};

pub use self::{
    builder::{FollowerAddress, FollowerBuilder},
    counters::{FollowerCounters, FollowerStatus},
    error::RemoteError,
    state_file::StateFileError,
};
use self::{counters::Counters, fetch::FetchedKeySet, keys::KeyRequests, report::Reporter};
use crate::{
    builder::{VerifierBuilder, WantsOptions},
    clock::Clock,
    error::VerifyError,
    revocation::RevocationList,
    staleness::ClockReading,
    status::RevocationStatus,
    trusted::TrustedKeys,
    verifier::Verifier,
};

/// Keeps the keys and the revocation list of one broker fresh, for any number of verifiers. Dropping it stops the
/// fetching; verifiers go on with what they have until that is too old, or with an
/// [identity](FollowerBuilder::identity) stop at once: see [`leave`](Self::leave).
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    reporter: Option<Arc<Reporter>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Follower {
    /// Follows the broker at `url`, its base address without `/.well-known` or `/v1`.
    pub fn builder(url: &str) -> FollowerAddress {
        FollowerAddress { url: url.to_owned() }
    }

    fn new(shared: Arc<Shared>, reporter: Option<Arc<Reporter>>, tasks: Vec<JoinHandle<()>>) -> Self {
        Self { shared, reporter, tasks }
    }

    /// A verifier for the broker's tokens: issuer, keys and revocations are decided, options are open.
    #[must_use]
    pub fn verifier(&self) -> VerifierBuilder<WantsOptions> {
        let shared = &self.shared;
        let builder = Verifier::builder().issuer(&*shared.issuer).keys(shared.keys.clone());
        let builder = match &shared.revocations {
            Some(list) => builder.revocations(list.clone()),
            None => builder.without_revocations(),
        };
        builder.clock(Arc::clone(&shared.clock))
    }

    /// The keys, for [`VerifierBuilder::keys`].
    #[must_use]
    pub fn trusted_keys(&self) -> TrustedKeys {
        self.shared.keys.clone()
    }

    /// The revocation list, for [`VerifierBuilder::revocations`]; none [without](FollowerBuilder::without_revocations).
    #[must_use]
    pub fn revocations(&self) -> Option<RevocationList> {
        self.shared.revocations.clone()
    }

    /// Waits until tokens can be verified. Returns at once after a start without the state of an earlier run.
    pub async fn ready(&self) {
        let mut changes = self.shared.changes.subscribe();
        while self.shared.ready().is_err() && changes.changed().await.is_ok() {}
    }

    /// Returns the status, for health endpoints and metrics.
    #[must_use]
    pub fn status(&self) -> FollowerStatus {
        self.shared.status()
    }

    /// Stops following. With an [identity](FollowerBuilder::identity) the verifiers reject every token from now on, and
    /// the broker is told, within 2 s, so that it does not wait for this instance to confirm a revocation.
    pub async fn leave(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(leaving) = self.reporter.as_ref().and_then(|reporter| reporter.leave(&self.shared)) {
            leaving.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(reporter) = &self.reporter {
            reporter.leave_in_background(&self.shared);
        }
    }
}

/// State shared by the background tasks.
struct Shared {
    issuer: Box<str>,
    keys: TrustedKeys,
    revocations: Option<RevocationList>,
    clock: Arc<dyn Clock>,
    key_requests: Arc<KeyRequests>,
    counters: Counters,
    /// Counts what was published.
    changes: watch::Sender<u64>,
    was_ready: AtomicBool,
}

impl Shared {
    fn new(issuer: String, keys: TrustedKeys, revocations: Option<RevocationList>, clock: Arc<dyn Clock>) -> Self {
        let key_requests = Arc::<KeyRequests>::default();
        let by_token = Arc::clone(&key_requests);
        keys.on_unknown_key(move || by_token.by_token.notify_one());
        Self {
            issuer: issuer.into(),
            keys,
            revocations,
            clock,
            key_requests,
            counters: Counters::default(),
            changes: watch::Sender::new(0),
            was_ready: AtomicBool::new(true),
        }
    }

    /// Puts a key set that was requested at `requested` into force.
    fn publish_keys(&self, set: FetchedKeySet, requested: Instant) {
        let now = self.clock.monotonic();
        match requested.checked_sub(set.age) {
            Some(as_of) => self.keys.publish_as_of(set.keys, as_of, now),
            None => self.keys.publish(set.keys, now),
        }
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn ready(&self) -> Result<(), VerifyError> {
        let now = ClockReading::of(&*self.clock);
        self.keys.current(|| now.monotonic)?;
        match self.revocations.as_ref().and_then(RevocationList::freshness) {
            Some(freshness) => freshness.check(now.wall, || now.monotonic),
            None => Ok(()),
        }
    }

    /// Logs when tokens can no longer be verified, and when they can again.
    fn log_readiness_change(&self) {
        let ready = self.ready();
        let was_ready = self.was_ready.swap(ready.is_ok(), Ordering::Relaxed);
        match ready {
            Err(error) if was_ready => tracing::error!(%error, "tokens cannot be verified"),
            Ok(()) if !was_ready => tracing::info!("tokens can be verified again"),
            Ok(()) | Err(_) => {}
        }
    }

    fn status(&self) -> FollowerStatus {
        let now = ClockReading::of(&*self.clock);
        let ready = self.ready();
        FollowerStatus {
            ready: ready.is_ok(),
            reason: ready.err().map(|error| error.reason()),
            issuer: self.issuer.to_string(),
            keys: self.keys.key_set().map_or(0, |keys| keys.len()),
            key_age: self.keys.age(now.monotonic),
            revocations: self.revocations.as_ref().map(|list| RevocationStatus::of(list, now)),
            counters: self.counters.now(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("status", &self.status()).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Shared {
    fn for_tests(keys: TrustedKeys) -> Self {
        /// The clock of tokio, which tests pause.
        #[derive(Debug)]
        struct TokioClock;

        impl Clock for TokioClock {
            fn now(&self) -> crate::clock::UnixTime {
                crate::clock::UnixTime::from_seconds(1_767_225_600)
            }

            fn monotonic(&self) -> std::time::Instant {
                tokio::time::Instant::now().into_std()
            }
        }

        Self::new(String::from("https://issuer.test"), keys, None, Arc::new(TokioClock))
    }
}
