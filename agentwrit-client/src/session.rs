//! Session of an app or an operator, with a Bearer token that is obtained on demand.
//!
//! 1. The first request that needs the token authenticates. Concurrent callers wait for that one attempt and share its
//!    result, also an error.
//! 2. Shortly before the token expires one caller authenticates again while the others use the old token. If that
//!    fails, the old token serves until it expires.
//! 3. A session with a [`TokenStore`] loads its first token from there, unless it is about to expire, and saves each
//!    new one. Of several processes one authenticates, and the others load its token.
//! 4. A 401 causes one retry with a new token: the broker may have revoked the old one. After a 401 nothing was
//!    processed, so the retry is safe.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentwrit_protocol::{AdminAuthRequest, AppAuthRequest, AuthResponse, Secret, paths};
use arc_swap::ArcSwapOption;
use http::{HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::{
    authorization::bearer,
    client::Client,
    credentials::RequestCredentials,
    error::ClientError,
    request::{ApiRequest, ApiResponse},
    token_store::{StoredToken, TokenStore},
};

/// Maximum time before expiry at which a token is replaced; below it, a tenth of its lifetime.
const MAX_REFRESH_MARGIN: Duration = Duration::from_secs(60);

/// Minimum time between two attempts to replace a token that is still valid.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Minimum remaining lifetime of a stored token, for a request or two.
const MIN_STORED_LIFETIME: Duration = Duration::from_secs(10);

/// Maximum wait for another process's authentication, after which this one authenticates too.
const MAX_CLAIM_WAIT: Duration = Duration::from_secs(10);

/// Interval at which the store is polled for another process's token.
const CLAIM_POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Credentials of a session.
pub(crate) enum Credentials {
    App { client_id: String, client_secret: Secret },
    Admin { secret: Secret },
}

/// Authenticated session with the broker.
pub(crate) struct Session {
    client: Client,
    credentials: Credentials,
    current: ArcSwapOption<SessionToken>,
    last_attempt: Mutex<Option<Result<Arc<SessionToken>, ClientError>>>,
    attempts: AtomicU64,
    store: Option<Arc<dyn TokenStore>>,
    /// The last token that the broker rejected: not to be loaded from the store again.
    rejected: ArcSwapOption<HeaderValue>,
}

/// Token of a session.
struct SessionToken {
    credentials: RequestCredentials,
    refresh_at: Instant,
    expires_at: Instant,
}

impl Session {
    pub(crate) fn new(client: Client, credentials: Credentials) -> Self {
        Self {
            client,
            credentials,
            current: ArcSwapOption::empty(),
            last_attempt: Mutex::new(None),
            attempts: AtomicU64::new(0),
            store: None,
            rejected: ArcSwapOption::empty(),
        }
    }

    /// Keeps the token in `store` too.
    pub(crate) fn with_store(mut self, store: Arc<dyn TokenStore>) -> Self {
        self.store = Some(store);
        self
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Obtains a token unless there is one.
    pub(crate) async fn ensure_token(&self) -> Result<(), ClientError> {
        self.token().await.map(drop)
    }

    /// Sends `request` with the session's token and decodes the body of a success.
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, request: &ApiRequest) -> Result<T, ClientError> {
        self.exchange(request).await?.decode(request)
    }

    /// Sends `request` with the session's token; a success has no body.
    pub(crate) async fn send(&self, request: &ApiRequest) -> Result<(), ClientError> {
        self.exchange(request).await.map(drop)
    }

    async fn exchange(&self, request: &ApiRequest) -> Result<ApiResponse, ClientError> {
        let current = self.token().await?;
        let response = self.client.transport.exchange(request, Some(&current.credentials)).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return response.error_for_status(request);
        }
        self.rejected.store(Some(Arc::new(current.credentials.authorization().clone())));
        self.discard(&current);
        let next = self.token().await?;
        self.client.transport.exchange(request, Some(&next.credentials)).await?.error_for_status(request)
    }

    async fn token(&self) -> Result<Arc<SessionToken>, ClientError> {
        let now = self.client.clock.monotonic();
        match self.current.load_full() {
            Some(current) if now < current.refresh_at => Ok(current),
            Some(current) if now < current.expires_at => Ok(self.refresh(current, now).await),
            Some(_) | None => self.authenticate_together().await,
        }
    }

    async fn refresh(&self, current: Arc<SessionToken>, now: Instant) -> Arc<SessionToken> {
        let Ok(mut last_attempt) = self.last_attempt.try_lock() else {
            return current; // another caller authenticates
        };
        if let Some(newer) = self.current.load_full().filter(|newer| !Arc::ptr_eq(newer, &current)) {
            return newer;
        }
        match self.attempt(&mut last_attempt).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "early authentication failed, the old token serves until it expires");
                let kept = Arc::new(current.until_next_attempt(now));
                self.current.store(Some(Arc::clone(&kept)));
                kept
            }
        }
    }

    async fn authenticate_together(&self) -> Result<Arc<SessionToken>, ClientError> {
        let attempts_before = self.attempts.load(Ordering::Acquire);
        let mut last_attempt = self.last_attempt.lock().await;
        if self.attempts.load(Ordering::Acquire) != attempts_before
            && let Some(outcome) = &*last_attempt
        {
            return outcome.clone(); // an attempt ended while this caller waited: its outcome is this caller's
        }
        self.attempt(&mut last_attempt).await
    }

    /// Authenticates once; the borrow of `outcome` proves that no other attempt is pending.
    async fn attempt(
        &self,
        outcome: &mut Option<Result<Arc<SessionToken>, ClientError>>,
    ) -> Result<Arc<SessionToken>, ClientError> {
        let attempt = self.load_or_authenticate().await.map(Arc::new);
        if let Ok(current) = &attempt {
            self.current.store(Some(Arc::clone(current)));
        }
        *outcome = Some(attempt.clone());
        self.attempts.fetch_add(1, Ordering::Release);
        attempt
    }

    /// Returns the stored token, else a new one.
    async fn load_or_authenticate(&self) -> Result<SessionToken, ClientError> {
        let Some(store) = &self.store else { return Ok(self.authenticate().await?.0) };
        let begun = Instant::now();
        loop {
            if let Some(current) = self.load_from(store.as_ref()) {
                return Ok(current);
            }
            let claim = store.try_claim();
            if claim.is_none() && begun.elapsed() < MAX_CLAIM_WAIT {
                tokio::time::sleep(CLAIM_POLL_INTERVAL).await;
                continue;
            }
            // Another process may have authenticated between the load and the claim.
            if let Some(current) = self.load_from(store.as_ref()) {
                return Ok(current);
            }
            let (current, stored) = self.authenticate().await?;
            store.save(&stored);
            drop(claim);
            return Ok(current);
        }
    }

    /// Returns the stored token, unless it is about to expire or was rejected.
    fn load_from(&self, store: &dyn TokenStore) -> Option<SessionToken> {
        let StoredToken { token, expires_at } = store.load()?;
        let left = expires_at.saturating_since(self.client.clock.now());
        let current = SessionToken::new(&token, left, self.client.clock.monotonic())?;
        let rejected = self.rejected.load();
        let was_refused = rejected.as_deref().is_some_and(|rejected| rejected == current.credentials.authorization());
        (left >= MIN_STORED_LIFETIME && !was_refused).then_some(current)
    }

    async fn authenticate(&self) -> Result<(SessionToken, StoredToken), ClientError> {
        // Read before the request, so that the computed expiry is never later than the real one.
        let (asked_at, now) = (self.client.clock.monotonic(), self.client.clock.now());
        let request = match &self.credentials {
            Credentials::App { client_id, client_secret } => {
                let (client_id, client_secret) = (client_id.clone(), client_secret.clone());
                ApiRequest::post(paths::APP_AUTH, &AppAuthRequest { client_id, client_secret })?
            }
            Credentials::Admin { secret } => {
                ApiRequest::post(paths::ADMIN_AUTH, &AdminAuthRequest { secret: secret.clone() })?
            }
        };
        let response: AuthResponse = self.client.transport.fetch(&request, None).await?;
        let lifetime = Duration::from_secs(response.expires_in);
        let current = SessionToken::new(&response.access_token, lifetime, asked_at);
        let current = current.ok_or_else(|| request.malformed("unusable access token"))?;
        Ok((current, StoredToken { token: response.access_token, expires_at: now.saturating_add(lifetime) }))
    }

    /// Drops `current`, unless another caller has replaced it already.
    fn discard(&self, current: &Arc<SessionToken>) {
        self.current.compare_and_swap(&Some(Arc::clone(current)), None);
    }
}

impl SessionToken {
    fn new(token: &Secret, lifetime: Duration, asked_at: Instant) -> Option<Self> {
        let margin = (lifetime / 10).min(MAX_REFRESH_MARGIN);
        let expires_at = asked_at.checked_add(lifetime)?;
        let credentials = RequestCredentials::new(bearer(token)?);
        Some(Self { credentials, refresh_at: expires_at.checked_sub(margin)?, expires_at })
    }

    fn until_next_attempt(&self, now: Instant) -> Self {
        let refresh_at = now.checked_add(RETRY_INTERVAL).unwrap_or(self.expires_at);
        Self { credentials: self.credentials.clone(), refresh_at, expires_at: self.expires_at }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client_id = match &self.credentials {
            Credentials::App { client_id, .. } => Some(client_id),
            Credentials::Admin { .. } => None,
        };
        f.debug_struct("Session")
            .field("broker_url", &self.client.transport.base())
            .field("client_id", &client_id)
            .field("authenticated", &self.current.load().is_some())
            .finish_non_exhaustive()
    }
}
