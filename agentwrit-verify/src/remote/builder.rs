//! Builder of a [`Follower`].

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    Follower, RemoteError, Shared,
    fetch::Broker,
    keys::KeyRefreshSchedule,
    prepared::PreparedFollower,
    report::{Identity, Reporter},
    state_file::{State, StateFile},
};
use crate::{
    clock::{Clock, SystemClock},
    feed::{Feed, Staleness},
    http_client::{ConnectionSettings, without_userinfo},
    issue::SigningKey,
    report::VerifierName,
    staleness::ClockReading,
    trusted::TrustedKeys,
};

/// The address of a broker; next: [`issuer`](FollowerAddress::issuer).
#[derive(Clone)]
#[must_use]
pub struct FollowerAddress {
    pub(super) url: String,
}

impl fmt::Debug for FollowerAddress {
    /// Omits user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowerAddress").field("url", &without_userinfo(&self.url)).finish()
    }
}

impl FollowerAddress {
    /// The authority that is followed: the `iss` of its tokens and of its revocation feed, exactly.
    pub fn issuer(self, issuer: impl Into<String>) -> FollowerBuilder {
        FollowerBuilder {
            url: self.url,
            issuer: issuer.into(),
            schedule: KeyRefreshSchedule::default(),
            max_key_age: Some(FollowerBuilder::DEFAULT_MAX_KEY_AGE),
            key_tables: true,
            timeout: FollowerBuilder::DEFAULT_TIMEOUT,
            staleness: Some(Staleness::default()),
            max_response_length: Feed::DEFAULT_MAX_RESPONSE_LENGTH,
            connection: ConnectionSettings::new(concat!("agentwrit-verify/", env!("CARGO_PKG_VERSION"))),
            state_file: None,
            identity: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Settings of a [`Follower`]; each has a default.
#[derive(Clone)]
#[must_use]
pub struct FollowerBuilder {
    url: String,
    issuer: String,
    schedule: KeyRefreshSchedule,
    max_key_age: Option<Duration>,
    key_tables: bool,
    timeout: Duration,
    /// `None` when revocations are not followed.
    staleness: Option<Staleness>,
    max_response_length: usize,
    connection: ConnectionSettings,
    state_file: Option<PathBuf>,
    identity: Option<Identity>,
    clock: Arc<dyn Clock>,
}

impl FollowerBuilder {
    /// Default of [`max_key_age`](Self::max_key_age): a day.
    pub const DEFAULT_MAX_KEY_AGE: Duration = Duration::from_secs(24 * 60 * 60);
    /// Default of [`key_refresh_interval`](Self::key_refresh_interval): the broker's `Cache-Control: max-age`.
    pub const DEFAULT_KEY_REFRESH_INTERVAL: Duration = Duration::from_secs(300);
    /// Default of [`timeout`](Self::timeout).
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// Sets the maximum age of the revocation list, 30 s by default: beyond it every verification returns
    /// [`StaleRevocations`](crate::VerifyError::StaleRevocations). The leeway for clocks counts towards it.
    pub fn max_staleness(self, max: Duration) -> Self {
        self.change_staleness(|staleness| staleness.with_max(max))
    }

    /// Sets how far this machine's clock may be behind the broker's without exceeding `max_staleness`, 5 s by default.
    pub fn clock_leeway(self, leeway: Duration) -> Self {
        self.change_staleness(|staleness| staleness.leeway(leeway))
    }

    /// Checks tokens against the latest revocation list, however old: the explicit weaker choice. Revocations take
    /// effect only after an outage of the connection ends.
    pub fn accept_stale_revocations(self) -> Self {
        self.change_staleness(Staleness::accept_stale)
    }

    /// The explicit weaker choice: only keys are followed, and a token stays valid until it expires, whatever was
    /// revoked.
    pub fn without_revocations(mut self) -> Self {
        self.staleness = None;
        self
    }

    fn change_staleness(mut self, change: impl FnOnce(Staleness) -> Staleness) -> Self {
        self.staleness = self.staleness.map(change);
        self
    }

    /// Sets the maximum length of a response of the revocation feed, in bytes.
    pub fn max_response_length(mut self, bytes: usize) -> Self {
        self.max_response_length = bytes;
        self
    }

    /// Keeps what is known in this file, so that a restart can't be rolled back to an older state, and can start while
    /// the broker is down. Written within a second of a change, readable by its owner only. One follower per file.
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// Reports to the broker as the verifier that the operator enrolled under `name` with the public half of `key`
    /// (`awrit verifier add`), so that revocations can be confirmed. Each process is an instance of its own.
    ///
    /// The verifiers accept tokens only after the broker has accepted a first report, for which [`start`](Self::start)
    /// waits, and for [10 minutes](crate::report::Report::LEASE) after the latest that it accepted; else every
    /// verification returns [`NotReported`](crate::VerifyError::NotReported). So the broker knows each instance that may
    /// accept a token. With a state file a restarted instance waits for its first report, too.
    ///
    /// ```no_run
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// use agentwrit_verify::{issue::SigningKey, remote::Follower, report::VerifierName};
    ///
    /// let key = SigningKey::from_pkcs8_pem(&std::fs::read("/etc/payments-api/verifier.pem")?)?;
    /// let follower = Follower::builder("https://broker.internal:8443")
    ///     .issuer("https://agentwrit.local")
    ///     .identity(VerifierName::parse("payments-api")?, key)
    ///     .start()
    ///     .await?;
    /// // At the end of the process:
    /// follower.leave().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn identity(mut self, name: VerifierName, key: SigningKey) -> Self {
        self.identity = Some(Identity { name, key });
        self
    }

    /// Trusts these certificate authorities too, PEM; call it again to add others. Every certificate in it counts: PEM
    /// that holds anything that cannot be read is an error with the number of the line.
    pub fn root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connection.add_root_certificate_pem(pem.into());
        self
    }

    /// Shows this certificate to the broker (mTLS): PEM of a private key and its certificates.
    pub fn client_identity_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connection.client_identity_pem(pem.into());
        self
    }

    /// Sends everything through this HTTP proxy, `http://…` or `https://…`. Proxies from the environment (`HTTP_PROXY`,
    /// `HTTPS_PROXY`, `ALL_PROXY`) are never used.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.connection.proxy(url.into());
        self
    }

    /// Sets how long keys stay trusted without a successful fetch. A server without connection to the broker may trust
    /// a removed key that long.
    pub fn max_key_age(mut self, max_age: Duration) -> Self {
        self.max_key_age = Some(max_age);
        self
    }

    /// The explicit weaker choice: keys stay trusted however long the broker can't be reached.
    pub fn accept_keys_of_any_age(mut self) -> Self {
        self.max_key_age = None;
        self
    }

    /// Sets whether keys get tables of multiples, which is the default: [`KeySet::without_tables`](crate::KeySet::without_tables).
    pub fn key_tables(mut self, enabled: bool) -> Self {
        self.key_tables = enabled;
        self
    }

    /// Sets the interval between fetches of the key set; at least a second, at most a day.
    pub fn key_refresh_interval(mut self, interval: Duration) -> Self {
        self.schedule.refresh_interval = interval.clamp(Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Sets the timeout of one fetch, in addition to the time that the broker holds the request; for a snapshot, the
    /// timeout between two parts of it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Takes the time from elsewhere, here and in the verifiers: for tests and simulations.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Fetches the first key set and the first revocation list, then follows the broker in background tasks of the
    /// current tokio runtime. With the state of an earlier run it returns at once, and [`Follower::ready`] waits until
    /// the state is confirmed or proves fresh enough.
    ///
    /// # Errors
    ///
    /// [`RemoteError`]: an invalid setting, an unusable state file, or, without the state of an earlier run, a broker
    /// that cannot be reached or responds incorrectly.
    pub async fn start(self) -> Result<Follower, RemoteError> {
        let prepared = self.prepare()?;
        if !prepared.resumed {
            prepared.fetch_initial().await?;
        }
        prepared.save()?;
        let (shared, reporter) = (Arc::clone(&prepared.shared), prepared.reporter.clone());
        Ok(Follower::new(shared, reporter, prepared.spawn()))
    }

    /// Starts background tasks in the current tokio runtime and returns at once, also while the broker is down. Until
    /// the first key set and the first revocation list are fetched, every verification returns
    /// [`KeysUnavailable`](crate::VerifyError::KeysUnavailable) or
    /// [`StaleRevocations`](crate::VerifyError::StaleRevocations), to which routes respond with 503;
    /// [`Follower::ready`] waits for both. The initial fetch is retried with the backoff of the revocation feed, at
    /// most 5 s.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] for an invalid setting or an unusable state file, which retries cannot correct.
    pub fn start_lazily(self) -> Result<Follower, RemoteError> {
        let prepared = self.prepare()?;
        let (shared, reporter) = (Arc::clone(&prepared.shared), prepared.reporter.clone());
        if prepared.resumed {
            prepared.save()?;
            return Ok(Follower::new(shared, reporter, prepared.spawn()));
        }
        Ok(Follower::new(shared, reporter, prepared.spawn_after_initial_fetch()))
    }

    /// Everything that can be done without the network.
    fn prepare(self) -> Result<PreparedFollower, RemoteError> {
        if let Some(staleness) = &self.staleness {
            staleness.check()?;
        }
        let broker = Broker::new(&self.url, self.timeout, &self.connection)?;
        let file = self.state_file.as_ref().map(|path| StateFile::new(path.clone(), &self.issuer));
        let stored = file.as_ref().map(StateFile::load).transpose()?.flatten();
        let (keys, feed, resumed) = self.known(stored);
        let list = feed.as_ref().map(|feed| feed.list().clone());
        let feed = feed.map(|feed| Arc::new(Mutex::new(feed)));
        let reporter = match (self.identity, &list) {
            (None, _) => None,
            (Some(_), None) => return Err(RemoteError::NothingToReport),
            (Some(identity), Some(list)) => Some(Arc::new(Reporter::new(identity, list, &keys, broker.clone())?)),
        };
        let shared = Arc::new(Shared::new(self.issuer, keys, list, self.clock));
        Ok(PreparedFollower { shared, feed, broker, schedule: self.schedule, file, resumed, reporter })
    }

    /// Restores the stored state; the flag is true when it makes an initial fetch unnecessary.
    fn known(&self, stored: Option<State>) -> (TrustedKeys, Option<Feed>, bool) {
        let keys = TrustedKeys::new(self.max_key_age, self.key_tables);
        let limited = |feed: Feed| feed.max_response_length(self.max_response_length);
        let fresh = || self.staleness.map(|staleness| limited(Feed::new(&self.issuer, staleness)));
        let Some(stored) = stored else { return (keys, fresh(), false) };
        let now = ClockReading::of(&*self.clock);
        keys.restore_removed_keys(stored.removed, now.monotonic);
        let confirmed = now.monotonic.checked_sub(now.wall.saturating_since(stored.keys_confirmed_at));
        let leeway = self.staleness.unwrap_or_default().clock_leeway();
        // A confirmation in the future proves this clock wrong, so the age of the keys is unknown: fetch them first.
        let ahead = stored.keys_confirmed_at > now.wall.saturating_add(leeway);
        if let Some(confirmed) = confirmed.filter(|_| !ahead) {
            keys.publish(stored.keys, confirmed);
        }
        match (self.staleness, stored.feed) {
            (None, _) => (keys, None, true),
            (Some(staleness), Some(state)) => {
                if state.announced.is_some() {
                    let age = now.wall.saturating_add(leeway).saturating_since(state.true_at);
                    let left = staleness.max().min(state.validity).saturating_sub(age);
                    // A missing key is fetched in any case.
                    let until = now.monotonic.checked_add(left).unwrap_or(now.monotonic);
                    let _missing = keys.announce(state.announced.as_ref(), until, now.monotonic);
                }
                let feed = limited(Feed::restored(&self.issuer, staleness, state, now));
                (keys, Some(feed), true)
            }
            // The run before did without revocations.
            (Some(_), None) => (keys, fresh(), false),
        }
    }
}

impl fmt::Debug for FollowerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowerBuilder")
            .field("issuer", &self.issuer)
            .field("staleness", &self.staleness)
            .finish_non_exhaustive()
    }
}
