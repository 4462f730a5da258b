//! An agent: one registered identity with a token for one task.
//!
//! 1. Clones share the token: whoever renews it, renews it for all of them.
//! 2. Of those who renew at the same time one asks the broker. The others share what came of it, the failure too.
//! 3. A renewal is sent once, and waited for even when its caller goes away: it kills the old token, and its response is
//!    the one copy of the new one.
//! 4. A renewal or a delegation that may have been done is not repeated (see
//!    [`retries`](crate::ClientBuilder::retries)). Each method says whether its caller may.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentwrit_protocol::{DelegationRequest, DelegationResponse, RenewalResponse, Secret, paths};
use agentwrit_verify::{AgentId, Clock, ScopeSet, UnixTime, UnverifiedToken};
use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::Mutex;

use crate::{
    client::{Client, read_token},
    delegated_token::DelegatedToken,
    error::ClientError,
    launch_token::{parse_scopes, whole_seconds},
    renewal_schedule::TokenTimes,
    request::ApiRequest,
    session::bearer,
};

/// A registered agent and its token. Clones are cheap and share the token, renewed or not.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(nurse: agentwrit_client::Agent, scribe: agentwrit_client::Agent) -> Result<(), Box<dyn std::error::Error>> {
/// // Another agent gets a part of what this one holds; it uses the token under its own identity.
/// let delegated = nurse.delegate(scribe.id(), ["write:notes:P-7"], Duration::from_secs(60)).await?;
/// let scribe_for_nurse = scribe.accept(delegated.token().clone())?;
///
/// nurse.renew().await?; // same rights, a new token; the old one is dead
/// nurse.release().await?; // done: no token of this agent's works any more
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

/// What all clones of an agent share.
struct Shared {
    id: AgentId,
    scopes: ScopeSet,
    current: ArcSwap<AgentToken>,
    /// Its lock is the turn to change the token; it keeps what the last renewal came to, for those who waited for it.
    last_renewal: Mutex<Option<Result<(), ClientError>>>,
    renewals: AtomicU64,
    client: Client,
}

impl Agent {
    /// The SPIFFE id.
    #[must_use]
    pub fn id(&self) -> &AgentId {
        &self.shared.id
    }

    /// The token as it is now; the next renewal replaces it. Whoever exposes it keeps it out of logs.
    #[must_use]
    pub fn token(&self) -> Secret {
        self.shared.current.load().token.clone()
    }

    /// The value of the `Authorization` header: `Bearer` and the token as it is now, marked as sensitive. Ask for it
    /// for each request.
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        self.shared.current.load().authorization.clone()
    }

    /// When the token expires, by this machine's clock; of a token that was [accepted](Self::accept), by the broker's.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.shared.current.load().expires_at
    }

    /// What the token permits.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.shared.scopes
    }

    /// Exchanges the token for a new one with the same rights and the lifetime that it had at first. The old one is
    /// dead then. A delegated token never gets past the expiry of what it was delegated from.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `unauthorized` when the token is expired, released or revoked, and with
    /// `scope_violation` when its app is gone or may no longer grant what it permits: register a new agent.
    ///
    /// After [`ClientError::Timeout`], [`ClientError::Unreachable`] and [`ClientError::MalformedResponse`] the broker may
    /// or may not have renewed, and this agent still holds the old token. Calling again settles it: either it was not
    /// renewed and now is, or the response is `unauthorized`.
    pub async fn renew(&self) -> Result<(), ClientError> {
        let seen = self.shared.renewals.load(Ordering::Acquire);
        let shared = Arc::clone(&self.shared);
        let renewal = tokio::spawn(async move { shared.renew_together(seen).await });
        renewal.await.unwrap_or_else(|stopped| Err(ClientError::aborted(&stopped)))
    }

    /// Gives the token back: it is dead from now on. What was delegated from it lives on until its own expiry. Waits
    /// for a renewal that is under way, and releases the new token. Repeating it is harmless.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `unauthorized` when the token has expired; any error of the network, after which
    /// it may or may not have been released: repeat it.
    pub async fn release(&self) -> Result<(), ClientError> {
        let _turn = self.shared.last_renewal.lock().await;
        let request = ApiRequest::post_empty(paths::TOKEN_RELEASE).idempotent();
        let token = self.shared.current.load_full();
        self.shared
            .client
            .transport
            .exchange(&request, Some(&token.authorization))
            .await?
            .error_for_status(&request)?;
        Ok(())
    }

    /// Has a token made for the agent `to`, with a part of this one's scopes (1 to 64) and for `ttl`: whole seconds,
    /// 1 s to 24 h, cut to what is left of this agent's own token. Hand it to that agent, who
    /// [accepts](Self::accept) it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `scope_violation` when the scopes are wider than this agent's, or after five hops;
    /// with `not_found` when `to` is no agent with a live registration; with `unauthorized` when this agent's own token
    /// is dead. [`ClientError::InvalidInput`] for malformed scopes or less than a second. Any error of the network,
    /// after which a token may exist that nobody has: calling again makes another.
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
        let token = self.shared.current.load_full();
        let response: DelegationResponse =
            self.shared.client.transport.fetch(&request, Some(&token.authorization)).await?;
        let delegated = AgentToken::from_response(&request, response.access_token, asked_at, response.expires_in)?;
        Ok(DelegatedToken::new(to.clone(), scope, delegated, response.delegation_chain.unwrap_or_default()))
    }

    /// This agent with a token that another one delegated to it: it can be used, delegated further and released, while
    /// this one keeps the token that it has.
    ///
    /// The token is read, not verified: whoever handed it over is trusted with that, and a resource server is not.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not a token, or one for somebody else. Nothing is sent.
    pub fn accept(&self, token: impl Into<Secret>) -> Result<Self, ClientError> {
        let (id, scopes, token) = read_token("delegated token", token.into())?;
        if id != *self.id() {
            let reason = format!("it is for `{id}`, not for `{}`", self.id());
            return Err(ClientError::invalid("delegated token", &reason));
        }
        Ok(Self::from_token(id, scopes, token, self.shared.client.clone()))
    }

    pub(crate) fn times(&self) -> TokenTimes {
        let token = self.shared.current.load();
        TokenTimes { expires_at: token.expires_at, lifetime: token.lifetime }
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.client.clock
    }

    pub(crate) fn from_token(id: AgentId, scopes: ScopeSet, token: AgentToken, client: Client) -> Self {
        let (last_renewal, renewals) = (Mutex::new(None), AtomicU64::new(0));
        let current = ArcSwap::from_pointee(token);
        Self { shared: Arc::new(Shared { id, scopes, current, last_renewal, renewals, client }) }
    }
}

impl Shared {
    /// `seen` is how many renewals had ended when the caller asked.
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
        let response: RenewalResponse = self.client.transport.fetch(&request, Some(&old.authorization)).await?;
        let token = AgentToken::from_response(&request, response.access_token, asked_at, response.expires_in)?;
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

/// The seconds from issue to expiry that a token states.
fn lifetime(token: &Secret) -> Option<u64> {
    let claims = UnverifiedToken::decode(token.expose()).and_then(|token| token.claims()).ok()?;
    Some(claims.exp.saturating_sub(claims.iat))
}

/// A token in hand.
#[derive(Clone)]
pub(crate) struct AgentToken {
    pub(crate) token: Secret,
    pub(crate) authorization: HeaderValue,
    pub(crate) expires_at: UnixTime,
    /// From its issue to its expiry.
    pub(crate) lifetime: Duration,
}

impl AgentToken {
    /// `asked_at` is from before the broker was asked, and the broker counts whole seconds: the token is then never
    /// believed to live longer than it does.
    ///
    /// Where the response does not say how long the token lives, the token itself does.
    pub(crate) fn from_response(
        request: &ApiRequest,
        token: Secret,
        asked_at: UnixTime,
        expires_in: Option<u64>,
    ) -> Result<Self, ClientError> {
        let expires_in = expires_in.or_else(|| lifetime(&token));
        match (bearer(&token), expires_in) {
            (Some(authorization), Some(expires_in)) => Ok(Self {
                authorization,
                token,
                expires_at: UnixTime::from_seconds(asked_at.seconds().saturating_add(expires_in)),
                lifetime: Duration::from_secs(expires_in),
            }),
            (None, _) => Err(request.malformed_with_secret("unusable access token", Some(token))),
            (Some(_), None) => {
                Err(request.malformed_with_secret("it does not say when the access token expires", Some(token)))
            }
        }
    }
}
