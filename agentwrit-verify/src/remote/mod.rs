//! Following a broker in the background, so that verifying never waits for the network.
//!
//! 1. [`KeyFollower::start`] answers once the first key set is there: a service is not ready before.
//! 2. The set is fetched anew at an interval. When that fails the old keys stay in force, with their age, up to
//!    `max_age`; after it every verification says [`KeysStale`](crate::VerifyError::KeysStale).
//! 3. Failures are retried with exponential back-off and jitter.
//! 4. A token that names an unknown key asks for one fetch, at most once a minute, off the request path: a flood of
//!    made-up names costs one fetch and delays nobody.
//! 5. A key set is only as trustworthy as the connection: use `https` unless the broker is on the same host.
//!
//! ```no_run
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use agentwrit_verify::{Verifier, remote::KeyFollower};
//!
//! let follower = KeyFollower::start("https://broker.internal:8443").await?;
//! let verifier = Verifier::builder()
//!     .issuer("https://agentwrit.local")
//!     .keys(follower.trusted_keys())
//!     .without_revocations()
//!     .build();
//! # Ok(())
//! # }
//! ```

mod fetch;
mod follow;

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, task::JoinHandle};

use self::{fetch::KeySetSource, follow::Pace};
use crate::{keys::KeySetError, trusted::TrustedKeys};

/// Keeps the key set of one broker fresh for any number of verifiers. Dropping it stops the fetching; verifiers go on
/// with the last set until it is too old.
#[derive(Debug)]
pub struct KeyFollower {
    keys: TrustedKeys,
    task: JoinHandle<()>,
}

impl KeyFollower {
    /// Follows the broker at `url` with the defaults of [`KeyFollowerBuilder`].
    ///
    /// # Errors
    ///
    /// [`RemoteError`] when the first key set can't be had.
    pub async fn start(url: &str) -> Result<Self, RemoteError> {
        Self::builder(url).start().await
    }

    /// Follows the broker at `url`, its base address without `/.well-known`.
    pub fn builder(url: &str) -> KeyFollowerBuilder {
        KeyFollowerBuilder {
            url: url.to_owned(),
            pace: Pace::default(),
            max_age: Some(KeyFollowerBuilder::DEFAULT_MAX_AGE),
            timeout: KeyFollowerBuilder::DEFAULT_TIMEOUT,
        }
    }

    /// The keys, for [`VerifierBuilder::keys`](crate::VerifierBuilder::keys).
    #[must_use]
    pub fn trusted_keys(&self) -> TrustedKeys {
        self.keys.clone()
    }
}

impl Drop for KeyFollower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How to follow a broker's key set.
#[derive(Clone, Debug)]
#[must_use]
pub struct KeyFollowerBuilder {
    url: String,
    pace: Pace,
    max_age: Option<Duration>,
    timeout: Duration,
}

impl KeyFollowerBuilder {
    /// How long keys stay trusted without a successful fetch, unless set otherwise: a day.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
    /// How often the set is fetched, unless set otherwise: the broker's `Cache-Control: max-age`.
    pub const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(300);
    /// How long one fetch may take, unless set otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// How long keys stay trusted without a successful fetch. A withdrawn key can be trusted that long by a server that
    /// is cut off from the broker.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// The explicit weaker choice: keys stay trusted however long the broker can't be reached.
    pub fn accept_keys_of_any_age(mut self) -> Self {
        self.max_age = None;
        self
    }

    /// How often the set is fetched; at least a second, at most a day.
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.pace.refresh_interval = interval.clamp(Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
        self
    }

    /// How long one fetch may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Fetches the first key set, then follows in a background task of the current tokio runtime.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] when the first key set can't be had: wrong address, no answer, or not a key set.
    pub async fn start(self) -> Result<KeyFollower, RemoteError> {
        let source = KeySetSource::new(&self.url, self.timeout)?;
        let first = source.fetch().await?;
        let keys = TrustedKeys::following(self.max_age);
        keys.publish(first, tokio::time::Instant::now().into_std());
        let unknown = Arc::new(Notify::new());
        let notify = Arc::clone(&unknown);
        keys.on_unknown_key(move || notify.notify_one());
        let task = tokio::spawn(follow::follow(keys.clone(), unknown, self.pace, follow::jitter, async move || {
            source.fetch().await
        }));
        Ok(KeyFollower { keys, task })
    }
}

/// Why a key set couldn't be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The address isn't an `http` or `https` URL.
    #[error("`{url}` is not an http or https address")]
    BadUrl {
        /// The address.
        url: String,
    },
    /// No answer, or the connection broke.
    #[error("`{url}` could not be read: {cause}")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong, with every cause.
        cause: String,
    },
    /// An answer other than 200.
    #[error("`{url}` answered {status}")]
    Refused {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// An answer over the limit.
    #[error("the answer of `{url}` is longer than {limit} bytes")]
    TooLong {
        /// The address.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// An answer that isn't a key set.
    #[error("the answer of `{url}` is no key set: {error}")]
    KeySet {
        /// The address.
        url: String,
        /// What is wrong with it.
        error: KeySetError,
    },
}
