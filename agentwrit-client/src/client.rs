//! What anyone may ask a broker without credentials, and where apps and operators start from.

use std::{sync::Arc, time::Duration};

use agentwrit_protocol::{HealthResponse, ReportedClaims, Secret, ValidationRequest, ValidationResponse, paths};
use agentwrit_verify::{AgentId, ClaimSet, Clock, Feed, KeySet, ScopeSet, SystemClock, UnixTime, UnverifiedToken};
use http::StatusCode;

use crate::{
    admin::Admin,
    agent::{Agent, AgentToken},
    app::App,
    error::ClientError,
    request::ApiRequest,
    retry::RetryDelay,
    session::{Credentials, Session, bearer},
    token_store::TokenStore,
    transport::{DelayObserver, Endpoint, Transport},
};

/// A client of one broker: where it is, and how to talk to it. Clones are cheap and share connections.
///
/// ```no_run
/// use std::time::Duration;
/// use agentwrit_client::Client;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder("https://broker.example")
///     .timeout(Duration::from_secs(5))
///     .root_certificate_pem(std::fs::read("/etc/agentwrit/ca.pem")?)
///     .client_identity_pem(std::fs::read("/etc/agentwrit/client.pem")?)
///     .build()?;
/// assert!(client.health().await?.is_ok());
/// let app = client.app("id-0123456789ab", std::env::var("CLIENT_SECRET")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) transport: Transport,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Client {
    /// Starts from the broker's address: `https://…`, or `http://…` on the same machine. Nothing is sent before the
    /// first request that needs it.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder { endpoint: Endpoint::new(url.into()), clock: Arc::new(SystemClock) }
    }

    /// A client of the broker at `url`, with every setting at its default: [`Client::builder`] changes them.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] for an unusable URL.
    pub fn new(url: impl Into<String>) -> Result<Self, ClientError> {
        Self::builder(url).build()
    }

    /// The broker's address, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        self.transport.base()
    }

    /// Whether everyone on the way can read secrets and tokens along: `http` to another machine.
    #[must_use]
    pub fn sends_cleartext(&self) -> bool {
        self.transport.sends_cleartext()
    }

    /// The app of these credentials, which the operator handed out. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when one of them is empty.
    pub fn app(&self, client_id: impl Into<String>, client_secret: impl Into<Secret>) -> Result<App, ClientError> {
        let (client_id, client_secret) = (client_id.into(), client_secret.into());
        if client_id.is_empty() {
            return Err(ClientError::invalid("client id", "empty"));
        }
        if client_secret.expose().is_empty() {
            return Err(ClientError::invalid("client secret", "empty"));
        }
        Ok(App::new(Session::new(self.clone(), Credentials::App { client_id, client_secret })))
    }

    /// The operator, by the admin secret. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is empty.
    pub fn admin(&self, secret: impl Into<Secret>) -> Result<Admin, ClientError> {
        let secret = secret.into();
        if secret.expose().is_empty() {
            return Err(ClientError::invalid("admin secret", "empty"));
        }
        Ok(Admin::new(Session::new(self.clone(), Credentials::Admin { secret })))
    }

    /// The operator, by the admin secret, whose token is kept in `store` for the next process. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when the secret is empty.
    pub fn admin_with_store(
        &self,
        secret: impl Into<Secret>,
        store: Arc<dyn TokenStore>,
    ) -> Result<Admin, ClientError> {
        let secret = secret.into();
        if secret.expose().is_empty() {
            return Err(ClientError::invalid("admin secret", "empty"));
        }
        Ok(Admin::new(Session::new(self.clone(), Credentials::Admin { secret }).with_store(store)))
    }

    /// An agent by the token that it holds, for example after a restart, or one that was handed over. It can be renewed,
    /// delegated from and released.
    ///
    /// The token is read, not verified: a resource server, and the broker, do that.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not an agent's token. Nothing is sent.
    pub fn agent(&self, token: impl Into<Secret>) -> Result<Agent, ClientError> {
        let (agent, scopes, held) = read_token("token", token.into())?;
        Ok(Agent::from_token(agent, scopes, held, self.clone()))
    }

    /// Gives any token back, an agent's, an app's or the operator's: it is dead from now on. Repeating it is harmless.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] for what does not fit into a header; [`ClientError::Rejected`] with `unauthorized`
    /// when it is no token of this broker's or has expired; any error of the network.
    pub async fn release(&self, token: &Secret) -> Result<(), ClientError> {
        let authorization = bearer(token).ok_or_else(|| ClientError::invalid("token", "does not fit into a header"))?;
        let request = ApiRequest::post_empty(paths::TOKEN_RELEASE).idempotent();
        self.transport.exchange(&request, Some(&authorization)).await?.error_for_status(&request)?;
        Ok(())
    }

    /// Asks whether `token` is valid now. A resource server has no need of this: it verifies offline.
    ///
    /// # Errors
    ///
    /// Any error of the network. An invalid token is no error, but [`Validation::Invalid`].
    pub async fn validate(&self, token: &str) -> Result<Validation, ClientError> {
        let request =
            ApiRequest::post(paths::TOKEN_VALIDATE, &ValidationRequest { token: Secret::from(token).into() })?
                .idempotent();
        let response: ValidationResponse = self.transport.fetch(&request, None).await?;
        match (response.valid, response.claims) {
            (true, Some(ReportedClaims::Known(claims))) => Ok(Validation::Valid(claims)),
            (true, Some(ReportedClaims::Other(claims))) => Ok(Validation::ValidWithOtherClaims { claims }),
            (true, None) => Err(request.malformed("`valid` without `claims`")),
            (false, _) => Ok(Validation::Invalid { reason: response.error.unwrap_or_default() }),
        }
    }

    /// Asks the broker how it is. A broker that answers but cannot serve is no error, but a [`HealthResponse`] that reports it.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn health(&self) -> Result<HealthResponse, ClientError> {
        let request = ApiRequest::get(paths::HEALTH).without_retries();
        let response = self.transport.exchange(&request, None).await?;
        if response.status == StatusCode::SERVICE_UNAVAILABLE
            && let Ok(health) = response.decode(&request)
        {
            return Ok(health);
        }
        response.error_for_status(&request)?.decode(&request)
    }

    /// The public keys that live tokens may be signed with.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn key_set(&self) -> Result<KeySet, ClientError> {
        let request = ApiRequest::get(paths::KEY_SET);
        let response = self.transport.exchange(&request, None).await?.error_for_status(&request)?;
        KeySet::from_jwks(response.bytes()).map_err(|error| request.malformed(&error))
    }

    /// A snapshot of the revocation feed as the broker signed it: what
    /// [`Feed::apply`](agentwrit_verify::Feed::apply) reads, online or not.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn revocations(&self) -> Result<String, ClientError> {
        let request = ApiRequest::get(paths::REVOCATIONS).max_response_bytes(Feed::DEFAULT_MAX_RESPONSE_LENGTH);
        let response = self.transport.exchange(&request, None).await?.error_for_status(&request)?;
        std::str::from_utf8(response.bytes()).map(str::to_owned).map_err(|error| request.malformed(&error))
    }
}

/// What an agent's token says of itself; `field` is what it is called when it is none.
pub(crate) fn read_token(field: &'static str, token: Secret) -> Result<(AgentId, ScopeSet, AgentToken), ClientError> {
    let invalid = |reason: &str| ClientError::invalid(field, reason);
    let claims = UnverifiedToken::decode(token.expose()).and_then(|unverified| unverified.claims());
    let claims = claims.map_err(|error| invalid(error.reason()))?;
    let agent =
        claims.sub.as_agent().ok_or_else(|| invalid(&format!("it is for `{}`, not for an agent", claims.sub)))?;
    let authorization = bearer(&token).ok_or_else(|| invalid("it does not fit into a header"))?;
    let lifetime = Duration::from_secs(claims.exp.saturating_sub(claims.iat));
    let held = AgentToken { token, authorization, expires_at: UnixTime::from_seconds(claims.exp), lifetime };
    Ok((agent.clone(), claims.scope, held))
}

/// Builds a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
}

impl ClientBuilder {
    /// How long one request to the broker may take, from connecting to the last byte, however often it is sent. Default:
    /// 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.timeout = timeout;
        self
    }

    /// How long connecting may take, each time. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.connect_timeout = timeout;
        self
    }

    /// How often a request is sent again at most, when that is safe; 0 is never. Default: 2.
    ///
    /// Safe is what did not get through to the broker, what the broker says it has not done (429, 503) and what comes to
    /// the same when done twice: reading, validating, releasing, revoking, changing and removing. A registration, a
    /// renewal, a delegation or anything else that makes something is never sent again once it may have been done.
    ///
    /// Between two attempts lies a random pause of up to 100 ms, then 200 ms and so on, on top of what the broker asks
    /// for (`Retry-After`). When that does not fit into what is left of the [timeout](Self::timeout), there is no
    /// further attempt and the request ends with the response that it has. A request that a connection gave back untouched
    /// (it had ended while idle, or HTTP/2 refused the stream) goes out on another one in any case; it doesn't count.
    pub fn retries(mut self, most: u32) -> Self {
        self.endpoint.retries = most;
        self
    }

    /// Trusts these certificate authorities too, PEM; request it again to add others. Every certificate in it counts: PEM
    /// that holds anything that cannot be read is an error with the number of the line.
    pub fn root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.endpoint.connection.add_root_certificate_pem(pem.into());
        self
    }

    /// Shows this certificate to the broker (mTLS): PEM of a private key and its certificates.
    pub fn client_identity_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.endpoint.connection.client_identity_pem(pem.into());
        self
    }

    /// Sends everything through this HTTP proxy, `http://…` or `https://…`. Proxies from the environment (`HTTP_PROXY`,
    /// `HTTPS_PROXY`, `ALL_PROXY`) are never used.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.endpoint.connection.proxy(url.into());
        self
    }

    /// Is told of each pause that the broker asks for before a request is sent again (429, 503), when it begins.
    pub fn on_retry_delay(mut self, observer: impl Fn(&RetryDelay) + Send + Sync + 'static) -> Self {
        self.endpoint.observer = DelayObserver::new(observer);
        self
    }

    /// What tells the time. Default: the system's clock; tests move their own.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Checks the configuration. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] for an unusable URL, or certificates that can't be read.
    pub fn build(self) -> Result<Client, ClientError> {
        Ok(Client { transport: Transport::connect_lazily(&self.endpoint)?, clock: self.clock })
    }
}

/// The broker's word on a token.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Validation {
    /// The token is valid at this moment and says this.
    Valid(Box<ClaimSet>),
    /// The token is valid at this moment, and its claims are not those of this project's tokens: AgentWrit v2 leaves out
    /// the session and has other delegation records.
    ValidWithOtherClaims {
        /// The claims as the broker states them.
        claims: serde_json::Map<String, serde_json::Value>,
    },
    /// The token is malformed, forged, expired or revoked; the broker does not tell which.
    Invalid {
        /// The broker's sentence.
        reason: String,
    },
}

impl Validation {
    /// Whether the token is valid at this moment.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(_) | Self::ValidWithOtherClaims { .. })
    }
}
