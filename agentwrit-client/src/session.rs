//! A Bearer token that is there when it is needed.
//!
//! 1. The first call that needs the token fetches it; nobody authenticates twice at the same time, and whoever waited
//!    for an attempt shares its outcome, the refusal too.
//! 2. Shortly before the token expires one caller fetches the next one while the others go on with the old one. If that
//!    fails, the old one serves until it expires.
//! 3. A session with a [`TokenStore`] takes its first token from there, if it has one that will not expire in a moment, and
//!    keeps there what it is issued. Of several processes one authenticates, and the others take its token.
//! 4. A call that is answered 401 is repeated once, with a new token: the broker may have forgotten or revoked the old
//!    one. A 401 means that nothing was done, so repeating it is safe.

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
    call::{Answer, Call},
    client::Client,
    error::ClientError,
    token_store::{StoredToken, TokenStore},
};

/// A token is replaced when a tenth of its lifetime is left, but no earlier than this before it expires.
const LARGEST_MARGIN: Duration = Duration::from_secs(60);

/// After a failed early replacement the old token serves at least this long before the next attempt.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// A stored token counts for at least this long. A process that takes it has the time for a call or two.
const LEAST_STORED_LIFETIME: Duration = Duration::from_secs(10);

/// How long another process may take to authenticate before this one does so itself.
const LONGEST_CLAIM: Duration = Duration::from_secs(10);

/// How long to wait before looking again whether another process has authenticated.
const PAUSE_FOR_CLAIM: Duration = Duration::from_millis(25);

/// What a session proves itself with.
pub(crate) enum Credentials {
    App { client_id: String, client_secret: Secret },
    Admin { secret: Secret },
}

/// An authenticated relation to the broker.
pub(crate) struct Session {
    client: Client,
    credentials: Credentials,
    held: ArcSwapOption<Held>,
    last_attempt: Mutex<Option<Result<Arc<Held>, ClientError>>>,
    attempts: AtomicU64,
    store: Option<Arc<dyn TokenStore>>,
    /// What the broker refused last: not to be taken from the store again.
    refused: ArcSwapOption<HeaderValue>,
}

/// The token in hand.
struct Held {
    authorization: HeaderValue,
    replace_at: Instant,
    expires_at: Instant,
}

impl Session {
    pub(crate) fn new(client: Client, credentials: Credentials) -> Self {
        Self {
            client,
            credentials,
            held: ArcSwapOption::empty(),
            last_attempt: Mutex::new(None),
            attempts: AtomicU64::new(0),
            store: None,
            refused: ArcSwapOption::empty(),
        }
    }

    /// Keeps the token in `store`, too.
    pub(crate) fn stored_in(mut self, store: Arc<dyn TokenStore>) -> Self {
        self.store = Some(store);
        self
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends `call` with the session's token and decodes what a success answers.
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ClientError> {
        self.exchange(call).await?.decode(call)
    }

    /// Sends `call` with the session's token; a success answers nothing.
    pub(crate) async fn send(&self, call: &Call) -> Result<(), ClientError> {
        self.exchange(call).await.map(drop)
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, ClientError> {
        let held = self.token().await?;
        let answer = self.client.transport.exchange(call, Some(&held.authorization)).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return answer.accepted(call);
        }
        self.refused.store(Some(Arc::new(held.authorization.clone())));
        self.forget(&held);
        let next = self.token().await?;
        self.client.transport.exchange(call, Some(&next.authorization)).await?.accepted(call)
    }

    async fn token(&self) -> Result<Arc<Held>, ClientError> {
        let now = self.client.clock.monotonic();
        match self.held.load_full() {
            Some(held) if now < held.replace_at => Ok(held),
            Some(held) if now < held.expires_at => Ok(self.replace_early(held, now).await),
            Some(_) | None => self.authenticate_together().await,
        }
    }

    async fn replace_early(&self, held: Arc<Held>, now: Instant) -> Arc<Held> {
        let Ok(mut last_attempt) = self.last_attempt.try_lock() else {
            return held; // somebody is at it
        };
        if let Some(newer) = self.held.load_full().filter(|newer| !Arc::ptr_eq(newer, &held)) {
            return newer;
        }
        match self.attempt(&mut last_attempt).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "early authentication failed, the old token serves until it expires");
                let kept = Arc::new(held.until_retry(now));
                self.held.store(Some(Arc::clone(&kept)));
                kept
            }
        }
    }

    async fn authenticate_together(&self) -> Result<Arc<Held>, ClientError> {
        let attempts_before = self.attempts.load(Ordering::Acquire);
        let mut last_attempt = self.last_attempt.lock().await;
        if self.attempts.load(Ordering::Acquire) != attempts_before
            && let Some(outcome) = &*last_attempt
        {
            return outcome.clone(); // an attempt ended while this caller waited: its outcome is this caller's
        }
        self.attempt(&mut last_attempt).await
    }

    /// One authentication; `outcome` is the proof that no other is under way.
    async fn attempt(&self, outcome: &mut Option<Result<Arc<Held>, ClientError>>) -> Result<Arc<Held>, ClientError> {
        let attempt = self.obtain().await.map(Arc::new);
        if let Ok(held) = &attempt {
            self.held.store(Some(Arc::clone(held)));
        }
        *outcome = Some(attempt.clone());
        self.attempts.fetch_add(1, Ordering::Release);
        attempt
    }

    /// The stored token, else one that is issued now.
    async fn obtain(&self) -> Result<Held, ClientError> {
        let Some(store) = &self.store else { return Ok(self.authenticate().await?.0) };
        let begun = Instant::now();
        loop {
            if let Some(held) = self.load_from(store.as_ref()) {
                return Ok(held);
            }
            let claim = store.try_claim();
            if claim.is_none() && begun.elapsed() < LONGEST_CLAIM {
                tokio::time::sleep(PAUSE_FOR_CLAIM).await;
                continue;
            }
            // Another process may have authenticated between the look and the claim.
            if let Some(held) = self.load_from(store.as_ref()) {
                return Ok(held);
            }
            let (held, stored) = self.authenticate().await?;
            store.save(&stored);
            drop(claim);
            return Ok(held);
        }
    }

    /// The stored token, unless it is about to expire or was refused.
    fn load_from(&self, store: &dyn TokenStore) -> Option<Held> {
        let StoredToken { token, expires_at } = store.load()?;
        let left = expires_at.saturating_since(self.client.clock.now());
        let held = Held::new(&token, left, self.client.clock.monotonic())?;
        let refused = self.refused.load();
        let was_refused = refused.as_deref().is_some_and(|refused| *refused == held.authorization);
        (left >= LEAST_STORED_LIFETIME && !was_refused).then_some(held)
    }

    async fn authenticate(&self) -> Result<(Held, StoredToken), ClientError> {
        // Measured before asking: the token is then never believed to live longer than it does.
        let (asked_at, now) = (self.client.clock.monotonic(), self.client.clock.now());
        let call = match &self.credentials {
            Credentials::App { client_id, client_secret } => {
                let (client_id, client_secret) = (client_id.clone(), client_secret.clone());
                Call::post(paths::APP_AUTH, &AppAuthRequest { client_id, client_secret })?
            }
            Credentials::Admin { secret } => {
                Call::post(paths::ADMIN_AUTH, &AdminAuthRequest { secret: secret.clone() })?
            }
        };
        let answer: AuthResponse = self.client.transport.fetch(&call, None).await?;
        let lifetime = Duration::from_secs(answer.expires_in);
        let held = Held::new(&answer.access_token, lifetime, asked_at);
        let held = held.ok_or_else(|| call.malformed("unusable access token"))?;
        Ok((held, StoredToken { token: answer.access_token, expires_at: now.saturating_add(lifetime) }))
    }

    /// Drops `held`, unless another caller has replaced it already.
    fn forget(&self, held: &Arc<Held>) {
        self.held.compare_and_swap(&Some(Arc::clone(held)), None);
    }
}

impl Held {
    fn new(token: &Secret, lifetime: Duration, asked_at: Instant) -> Option<Self> {
        let margin = (lifetime / 10).min(LARGEST_MARGIN);
        let expires_at = asked_at.checked_add(lifetime)?;
        Some(Self { authorization: bearer(token)?, replace_at: expires_at.checked_sub(margin)?, expires_at })
    }

    fn until_retry(&self, now: Instant) -> Self {
        let replace_at = now.checked_add(PAUSE_AFTER_FAILURE).unwrap_or(self.expires_at);
        Self { authorization: self.authorization.clone(), replace_at, expires_at: self.expires_at }
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
            .field("authenticated", &self.held.load().is_some())
            .finish_non_exhaustive()
    }
}

/// The `Authorization` header for `token`: hidden in `Debug`, kept out of HPACK tables, wiped when its last clone goes.
pub(crate) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let credentials = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()).into_bytes());
    let mut header = HeaderValue::from_maybe_shared(bytes::Bytes::from_owner(credentials)).ok()?;
    header.set_sensitive(true);
    Some(header)
}
