//! Client of a broker: requests without credentials. `app`, `admin` and `agent` hold the constructors of their types.

use std::{sync::Arc, time::Duration};

use agentwrit_protocol::{
    HealthResponse, ReportedClaims, Secret, TokenType, ValidationRequest, ValidationResponse, paths,
};
use agentwrit_verify::{ClaimSet, Clock, Feed, KeySet, SystemClock, UnverifiedToken};
use http::StatusCode;

use crate::{
    authorization::bearer,
    credentials::{OriginStates, RequestCredentials},
    error::ClientError,
    request::ApiRequest,
    retry::RetryDelay,
    transport::{DelayObserver, Endpoint, Transport},
};

/// Client of one broker. Clones are cheap and share connections.
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
    pub(crate) origins: Arc<OriginStates>,
}

impl Client {
    /// Starts from the broker's URL: `https://…`, or `http://…` on the same machine. Nothing is sent before the first
    /// request that needs it.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder { endpoint: Endpoint::new(url.into()), clock: Arc::new(SystemClock) }
    }

    /// Creates a client of the broker at `url` with default settings, which [`Client::builder`] changes.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] for an unusable URL.
    pub fn new(url: impl Into<String>) -> Result<Self, ClientError> {
        Self::builder(url).build()
    }

    /// Returns the broker's URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        self.transport.base()
    }

    /// Returns `true` if secrets and tokens cross a network without encryption: `http` to another machine.
    #[must_use]
    pub fn sends_cleartext(&self) -> bool {
        self.transport.sends_cleartext()
    }

    /// Releases any bearer token, an agent's, an app's or the operator's, which ends it. Idempotent.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] for a text that does not fit into a header, and for a token that is bound to an
    /// agent's key, which [`Agent::release`](crate::Agent::release) releases with a proof; [`ClientError::Rejected`] with
    /// `unauthorized` when it is not a token of this broker or has expired; any error of the network.
    pub async fn release(&self, token: &Secret) -> Result<(), ClientError> {
        let claims = UnverifiedToken::decode(token.expose()).and_then(|token| token.claims());
        if claims.is_ok_and(|claims| claims.cnf.is_some()) {
            return Err(ClientError::invalid("token", "it is bound to an agent's key, which has to be given too"));
        }
        let authorization = bearer(token).ok_or_else(|| ClientError::invalid("token", "does not fit into a header"))?;
        let credentials = RequestCredentials::new(authorization);
        let request = ApiRequest::post_empty(paths::TOKEN_RELEASE).idempotent();
        self.transport.exchange(&request, Some(&credentials)).await?.error_for_status(&request)?;
        Ok(())
    }

    /// Validates a token at the broker. Resource servers verify offline instead: a token that is bound to a key
    /// ([`Validation::token_type`]) is valid in the hands of a thief too, and only its proof shows the difference.
    ///
    /// # Errors
    ///
    /// Any error of the network. An invalid token is [`Validation::Invalid`], not an error.
    pub async fn validate(&self, token: &str) -> Result<Validation, ClientError> {
        let request =
            ApiRequest::post(paths::TOKEN_VALIDATE, &ValidationRequest { token: Secret::from(token).into() })?
                .idempotent();
        let response: ValidationResponse = self.transport.fetch(&request, None).await?;
        let validation = match (response.valid, response.claims) {
            (true, Some(ReportedClaims::Known(claims))) => Validation::Valid(claims),
            (true, Some(ReportedClaims::Other(claims))) => Validation::ValidWithOtherClaims { claims },
            (true, None) => return Err(request.malformed("`valid` without `claims`")),
            (false, _) => Validation::Invalid { reason: response.error.unwrap_or_default() },
        };
        if response.token_type == Some(TokenType::Dpop) && validation.token_type() == Some(TokenType::Bearer) {
            return Err(request.malformed("the token type is DPoP, but the claims name no key"));
        }
        Ok(validation)
    }

    /// Returns the broker's health. An unhealthy broker is not an error, but a [`HealthResponse`] that reports it.
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

    /// Returns the public keys that verify current tokens.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn key_set(&self) -> Result<KeySet, ClientError> {
        let request = ApiRequest::get(paths::KEY_SET);
        let response = self.transport.exchange(&request, None).await?.error_for_status(&request)?;
        KeySet::from_jwks(response.bytes()).map_err(|error| request.malformed(&error))
    }

    /// Returns true if the broker's description of its API (`/v1/openapi.json`) has a schema with this member.
    pub(crate) async fn knows_member(&self, member: &str) -> Result<bool, ClientError> {
        let request = ApiRequest::get(paths::OPENAPI);
        let response = self.transport.exchange(&request, None).await?;
        if response.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let response = response.error_for_status(&request)?;
        let document: serde_json::Value =
            serde_json::from_slice(response.bytes()).map_err(|error| request.malformed(&error))?;
        let schemas = document.pointer("/components/schemas").and_then(serde_json::Value::as_object);
        let mut schemas = schemas.into_iter().flat_map(serde_json::Map::values);
        Ok(schemas.any(|schema| schema.pointer(&format!("/properties/{member}")).is_some()))
    }

    /// Returns a signed snapshot of the revocation feed, for [`Feed::apply`](agentwrit_verify::Feed::apply).
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

/// Builds a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
}

impl ClientBuilder {
    /// Timeout for one request, from connecting to the last byte, all retries included. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.timeout = timeout;
        self
    }

    /// Timeout for connecting, at each attempt. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.connect_timeout = timeout;
        self
    }

    /// Maximum number of retries of a request, where a retry is safe; 0 disables retries. Default: 2.
    ///
    /// A retry is safe for requests that did not reach the broker, that it declined (429, 503), and that are
    /// idempotent: reading, validating, releasing, revoking, changing and removing. A registration, a renewal, a
    /// delegation or another request that creates something is never sent again once the broker may have processed it.
    ///
    /// The delay before a retry is random, up to 100 ms, then 200 ms and so on, added to the broker's `Retry-After`.
    /// When it does not fit into the rest of the [timeout](Self::timeout), the last result is final. A request on an
    /// idle connection that turns out to be closed is sent on another one in any case, and does not count.
    pub fn retries(mut self, most: u32) -> Self {
        self.endpoint.retries = most;
        self
    }

    /// Adds trusted certificate authorities, PEM; further calls add others. Every certificate in it counts: unreadable
    /// PEM is an error with the number of the line.
    pub fn root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.endpoint.connection.add_root_certificate_pem(pem.into());
        self
    }

    /// Sets the client certificate (mTLS): PEM of a private key and its certificates.
    pub fn client_identity_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.endpoint.connection.client_identity_pem(pem.into());
        self
    }

    /// Sends all requests through this HTTP proxy, `http://…` or `https://…`. Proxies from the environment
    /// (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`) are never used.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.endpoint.connection.proxy(url.into());
        self
    }

    /// Calls the observer at the beginning of each delay that the broker causes before a retry (429, 503).
    pub fn on_retry_delay(mut self, observer: impl Fn(&RetryDelay) + Send + Sync + 'static) -> Self {
        self.endpoint.observer = DelayObserver::new(observer);
        self
    }

    /// Clock of the client. Default: the system's clock; tests move their own.
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
        let transport = Transport::connect_lazily(&self.endpoint)?;
        Ok(Client { transport, clock: self.clock, origins: Arc::default() })
    }
}

/// Result of a validation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Validation {
    /// The token is valid at this moment, with these claims.
    Valid(Box<ClaimSet>),
    /// The token is valid at this moment, and its claims are not those of this project's tokens: AgentWrit v2 leaves
    /// out the session and has other delegation records.
    ValidWithOtherClaims {
        /// The claims in the broker's response.
        claims: serde_json::Map<String, serde_json::Value>,
    },
    /// The token is malformed, forged, expired or revoked; the broker does not distinguish them.
    Invalid {
        /// The broker's message.
        reason: String,
    },
}

impl Validation {
    /// Returns `true` if the token is valid at this moment.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(_) | Self::ValidWithOtherClaims { .. })
    }

    /// Returns how the token is presented, if it is valid. A service must not accept one of the type
    /// [`TokenType::Dpop`] without its proof (RFC 9449 §7.2).
    #[must_use]
    pub fn token_type(&self) -> Option<TokenType> {
        let is_bound = match self {
            Self::Valid(claims) => claims.cnf.is_some(),
            Self::ValidWithOtherClaims { claims } => claims.contains_key("cnf"),
            Self::Invalid { .. } => return None,
        };
        Some(if is_bound { TokenType::Dpop } else { TokenType::Bearer })
    }
}
