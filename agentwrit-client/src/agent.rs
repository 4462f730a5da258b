//! Agents: registered identities with a token for one task each.
//!
//! 1. Clones share the token: a renewal through one renews it for all of them.
//! 2. Of several simultaneous renewals one is sent. Its result is that of all, also if it fails.
//! 3. A renewal is sent once, and completes even when its caller is dropped: it ends the old token, and its response is
//!    the one copy of the new one.
//! 4. Requests with a bound token carry a proof by the agent's key, to the broker too.
//! 5. A renewal or a delegation that the broker may have processed is not sent again (see
//!    [`retries`](crate::ClientBuilder::retries)). Each method documents whether its caller may repeat it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentwrit_protocol::{DelegationRequest, DelegationResponse, RenewalResponse, Secret, paths};
use agentwrit_verify::{AgentId, Clock, ScopeSet, UnixTime};
use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Method};
use reqwest::Url;
use tokio::sync::Mutex;

use crate::{
    agent_key::AgentKey,
    agent_token::{AgentToken, IssuedToken, read_token},
    client::Client,
    credentials::{ProofTarget, RequestCredentials},
    delegated_token::DelegatedToken,
    error::ClientError,
    launch_token::{parse_scopes, whole_seconds},
    renewal_schedule::TokenTimes,
    request::ApiRequest,
};

/// Registered agent and its token. Clones are cheap and share the token across renewals.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(nurse: agentwrit_client::Agent, scribe: agentwrit_client::Agent) -> Result<(), Box<dyn std::error::Error>> {
/// // Another agent gets a part of this one's rights; it uses the token under its own identity.
/// let delegated = nurse.delegate(scribe.id(), ["write:notes:P-7"], Duration::from_secs(60)).await?;
/// let scribe_for_nurse = scribe.accept(delegated.token().clone())?;
///
/// nurse.renew().await?; // a new token with the same rights; the old one has ended
/// nurse.release().await?; // ends the agent's token
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

/// State that all clones of an agent share.
struct Shared {
    id: AgentId,
    scopes: ScopeSet,
    current: ArcSwap<AgentToken>,
    /// Key that signs the proofs of bound tokens.
    key: Option<AgentKey>,
    /// Result of the last renewal, for callers that waited for it. Only the holder of the lock changes the token.
    last_renewal: Mutex<Option<Result<(), ClientError>>>,
    renewals: AtomicU64,
    client: Client,
}

impl Client {
    /// Returns the agent of an existing token, for example after a restart. It can be renewed, delegated from and
    /// released.
    ///
    /// The token is decoded without verification: resource servers and the broker verify it.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not an agent's token, or is bound to a key (use
    /// [`agent_with_key`](Self::agent_with_key)). Nothing is sent.
    pub fn agent(&self, token: impl Into<Secret>) -> Result<Agent, ClientError> {
        let (agent, scopes, held) = read_token("token", token.into())?;
        if held.bound_to.is_some() {
            return Err(ClientError::invalid("token", "it is bound to the agent's key, which has to be given too"));
        }
        Ok(Agent::from_token(agent, scopes, held, None, self.clone()))
    }

    /// Returns the agent of an existing token and the agent's key, which signs the proofs of a bound token and of bound
    /// tokens that the agent [accepts](Agent::accept).
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not an agent's token, or is bound to another key. Nothing is sent.
    pub fn agent_with_key(&self, token: impl Into<Secret>, key: &AgentKey) -> Result<Agent, ClientError> {
        let (agent, scopes, mut held) = read_token("token", token.into())?;
        if !held.accept_key(key, self) {
            return Err(ClientError::invalid("key", "the token is bound to another key"));
        }
        Ok(Agent::from_token(agent, scopes, held, Some(key.clone()), self.clone()))
    }
}

impl Agent {
    /// Returns the SPIFFE id.
    #[must_use]
    pub fn id(&self) -> &AgentId {
        &self.shared.id
    }

    /// Returns the current token, which the next renewal replaces. Keep it out of logs.
    #[must_use]
    pub fn token(&self) -> Secret {
        self.shared.current.load().token.clone()
    }

    /// Returns the headers of one request: `Authorization` with the current token, and `DPoP` with a proof if the token
    /// [is bound](Self::is_bound). Call it for each attempt: a proof is for one request to one URL.
    ///
    /// `url` is the absolute URL of the request. The nonce that a server may ask for (RFC 9449 §9) is handled by
    /// `AuthorizeMiddleware` and `AuthorizeLayer`, not here.
    ///
    /// ```no_run
    /// # fn example(agent: agentwrit_client::Agent) -> Result<(), Box<dyn std::error::Error>> {
    /// let url = "https://records.example/patients/P-1";
    /// let mut request = http::Request::get(url).body(())?;
    /// request.headers_mut().extend(agent.request_headers(&http::Method::GET, url)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] for a URL that is not absolute, [`ClientError::NoRandomness`].
    pub fn request_headers(&self, method: &Method, url: &str) -> Result<HeaderMap, ClientError> {
        let url = Url::parse(url).map_err(|error| ClientError::invalid("url", &error))?;
        let mut headers = HeaderMap::new();
        self.credentials()?.add_to(&mut headers, method, &ProofTarget::of_url(&url))?;
        Ok(headers)
    }

    /// Returns true if the token is bound to the agent's key (RFC 9449): each request needs a proof by that key.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.shared.current.load().bound_to.is_some()
    }

    /// Returns the value of the `Authorization` header, with the current token, marked as sensitive. Call it for each
    /// request. For a bound token it is half of what a request needs: see [`request_headers`](Self::request_headers).
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        self.shared.current.load().authorization.clone()
    }

    /// Returns the token's expiry by this machine's clock; for an [accepted](Self::accept) token, by the broker's.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.shared.current.load().expires_at
    }

    /// Returns the token's scopes.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.shared.scopes
    }

    /// Exchanges the token for a new one with the same rights and the original lifetime, which ends the old one. A
    /// delegated token never outlives the token that it was delegated from.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `unauthorized` when the token is expired, released or revoked, and with
    /// `scope_violation` when its app is deregistered or may no longer grant its scopes: register a new agent.
    ///
    /// After [`ClientError::Timeout`], [`ClientError::Unreachable`] and [`ClientError::MalformedResponse`] the broker
    /// may or may not have renewed, and this agent still holds the old token. A second call either renews it or fails
    /// with `unauthorized`.
    pub async fn renew(&self) -> Result<(), ClientError> {
        let seen = self.shared.renewals.load(Ordering::Acquire);
        let shared = Arc::clone(&self.shared);
        let renewal = tokio::spawn(async move { shared.renew_together(seen).await });
        renewal.await.unwrap_or_else(|stopped| Err(ClientError::aborted(&stopped)))
    }

    /// Releases the token, which ends it; tokens that were delegated from it stay valid until they expire. Waits for a
    /// pending renewal, and releases the new token. Idempotent.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `unauthorized` when the token has expired; any error of the network, after which
    /// it may or may not have been released: repeat it.
    pub async fn release(&self) -> Result<(), ClientError> {
        let _turn = self.shared.last_renewal.lock().await;
        let request = ApiRequest::post_empty(paths::TOKEN_RELEASE).idempotent();
        let credentials = self.credentials()?;
        self.shared.client.transport.exchange(&request, Some(&credentials)).await?.error_for_status(&request)?;
        Ok(())
    }

    /// Delegates a part of this agent's scopes (1 to 64) to the agent `to` for `ttl`: whole seconds, 1 s to 24 h,
    /// capped at the rest of this agent's own token. Pass the token to that agent, which [accepts](Self::accept) it. If
    /// this agent's token is bound, the delegated one is bound to the key of `to`: only that agent can use it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `scope_violation` when the scopes are wider than this agent's, or after five
    /// hops; with `not_found` when `to` is not a registered agent; with `unauthorized` when this agent's own token has
    /// ended. [`ClientError::InvalidInput`] for malformed scopes or less than a second. Any error of the network, after
    /// which the broker may have issued a token that was lost: a second call issues another.
    pub async fn delegate<S: AsRef<str>>(
        &self,
        to: &AgentId,
        scopes: impl IntoIterator<Item = S>,
        ttl: Duration,
    ) -> Result<DelegatedToken, ClientError> {
        let scope = parse_scopes("scope", scopes)?;
        let ttl = Some(whole_seconds("ttl", ttl)?);
        let body = DelegationRequest { delegate_to: to.clone(), scope: scope.clone(), ttl };
        let request = ApiRequest::post(paths::DELEGATE, &body)?.with_secret_member("access_token");
        let asked_at = self.shared.client.clock.now();
        let bound = self.is_bound();
        let credentials = self.credentials()?;
        let response: DelegationResponse = self.shared.client.transport.fetch(&request, Some(&credentials)).await?;
        let DelegationResponse { access_token, token_type, expires_in, .. } = response;
        let issued = IssuedToken { access_token, token_type, expires_in };
        let delegated = AgentToken::from_response(&request, issued, asked_at)?;
        if bound && delegated.bound_to.is_none() {
            let reason = "the token is not bound to the delegate's key";
            return Err(request.malformed_with_secret(reason, Some(delegated.token)));
        }
        Ok(DelegatedToken::new(to.clone(), scope, delegated, response.delegation_chain.unwrap_or_default()))
    }

    /// Returns this agent with a token that another one delegated to it: it can be used, delegated further and
    /// released, and this value keeps its own token.
    ///
    /// The token is decoded without verification: its sender is trusted, and resource servers verify it.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not a token, is for another agent, or is bound to a key that is not this
    /// agent's. Nothing is sent.
    pub fn accept(&self, token: impl Into<Secret>) -> Result<Self, ClientError> {
        let (id, scopes, mut token) = read_token("delegated token", token.into())?;
        if id != *self.id() {
            let reason = format!("it is for `{id}`, not for `{}`", self.id());
            return Err(ClientError::invalid("delegated token", &reason));
        }
        let key = self.shared.key.clone();
        let usable = match &key {
            Some(key) => token.accept_key(key, &self.shared.client),
            None => token.bound_to.is_none(),
        };
        if !usable {
            return Err(ClientError::invalid("delegated token", "it is bound to a key that is not this agent's"));
        }
        Ok(Self::from_token(id, scopes, token, key, self.shared.client.clone()))
    }

    pub(crate) fn credentials(&self) -> Result<RequestCredentials, ClientError> {
        self.shared.current.load().credentials()
    }

    pub(crate) fn times(&self) -> TokenTimes {
        let token = self.shared.current.load();
        TokenTimes { expires_at: token.expires_at, lifetime: token.lifetime }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.client.clock
    }

    pub(crate) fn from_token(
        id: AgentId,
        scopes: ScopeSet,
        token: AgentToken,
        key: Option<AgentKey>,
        client: Client,
    ) -> Self {
        let (last_renewal, renewals) = (Mutex::new(None), AtomicU64::new(0));
        let current = ArcSwap::from_pointee(token);
        Self { shared: Arc::new(Shared { id, scopes, current, key, last_renewal, renewals, client }) }
    }
}

impl Shared {
    /// Renews, or returns the result of a renewal that ended since the caller counted `seen` of them.
    async fn renew_together(&self, seen: u64) -> Result<(), ClientError> {
        let mut last_renewal = self.last_renewal.lock().await;
        if self.renewals.load(Ordering::Acquire) != seen
            && let Some(outcome) = &*last_renewal
        {
            return outcome.clone(); // one ended while this caller waited: its outcome is this caller's
        }
        let outcome = self.renew().await;
        *last_renewal = Some(outcome.clone());
        self.renewals.fetch_add(1, Ordering::Release);
        outcome
    }

    async fn renew(&self) -> Result<(), ClientError> {
        let request = ApiRequest::post_empty(paths::TOKEN_RENEW).with_secret_member("access_token");
        let asked_at = self.client.clock.now();
        let old = self.current.load_full();
        let response: RenewalResponse = self.client.transport.fetch(&request, Some(&old.credentials()?)).await?;
        let RenewalResponse { access_token, token_type, expires_in } = response;
        let issued = IssuedToken { access_token, token_type, expires_in };
        let mut token = AgentToken::from_response(&request, issued, asked_at)?;
        // The broker may bind a token at its renewal, never loosen one.
        let usable = match &self.key {
            Some(key) => token.accept_key(key, &self.client),
            None => token.bound_to.is_none(),
        };
        if !usable || (old.bound_to.is_some() && token.bound_to.is_none()) {
            return Err(request.malformed_with_secret("the token is not bound to the agent's key", Some(token.token)));
        }
        self.current.store(Arc::new(token));
        Ok(())
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("id", &self.id().as_str())
            .field("expires_at", &self.expires_at())
            .field("scopes", &self.scopes())
            .finish_non_exhaustive()
    }
}
