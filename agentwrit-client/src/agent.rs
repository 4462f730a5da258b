//! An agent: one registered identity with a token for one task.
//!
//! Creating one is the whole ceremony (contract §4): launch token, challenge, signature over the **decoded** nonce,
//! registration. The private key never leaves the process.

use std::{fmt, time::Duration};

use agentwrit_verify::{AgentId, PathSegment, ScopeSet, UnixTime};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signer as _, SigningKey};
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::{
    app::App,
    error::ClientError,
    launch_token::{LaunchToken, LaunchTokenRequest, parse_scopes, parse_segment},
    secret::Secret,
    session::bearer,
    transport::Call,
    wire::{ChallengeAnswer, RegisterAnswer, RegisterBody},
};

/// A registered agent and its token.
#[derive(Clone)]
pub struct Agent {
    id: AgentId,
    token: Secret,
    authorization: HeaderValue,
    expires_at: UnixTime,
    scopes: ScopeSet,
}

impl Agent {
    /// The SPIFFE id.
    #[must_use]
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// The token. Whoever calls this keeps it out of logs.
    #[must_use]
    pub fn token(&self) -> &str {
        self.token.expose()
    }

    /// The value of the `Authorization` header: `Bearer` and the token, marked as sensitive.
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// When the token expires, by this machine's clock.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// What the token permits.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("id", &self.id.as_str())
            .field("expires_at", &self.expires_at)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// An agent in the making, before it is said what it may do.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewAgent {
    app: App,
    orch_id: String,
    task_id: String,
}

impl NewAgent {
    pub(crate) fn new(app: App, orch_id: String, task_id: String) -> Self {
        Self { app, orch_id, task_id }
    }

    /// What the agent shall be permitted: 1 to 64 scopes, as few and as narrow as the task allows.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when a scope, the `orch_id` or the `task_id` is malformed.
    pub fn scope<S: AsRef<str>>(self, scope: impl IntoIterator<Item = S>) -> Result<AgentRequest, ClientError> {
        Ok(AgentRequest {
            orch_id: parse_segment("orch_id", &self.orch_id)?,
            task_id: parse_segment("task_id", &self.task_id)?,
            scope: parse_scopes("scope", scope)?,
            app: self.app,
            max_ttl: None,
            label: None,
            key: None,
        })
    }
}

/// An agent in the making. [`AgentRequest::create`] registers it.
#[derive(Clone, Debug)]
#[must_use]
pub struct AgentRequest {
    app: App,
    orch_id: PathSegment,
    task_id: PathSegment,
    scope: ScopeSet,
    max_ttl: Option<Duration>,
    label: Option<String>,
    key: Option<AgentKey>,
}

impl AgentRequest {
    /// How long the token lives: whole seconds, 1 s to 24 h. Default: what the broker is configured to.
    pub fn max_ttl(mut self, max_ttl: Duration) -> Self {
        self.max_ttl = Some(max_ttl);
        self
    }

    /// The name under which people find the agent in the audit trail. Default: `<orch_id>/<task_id>`.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The key to register with. Default: a new one, which nobody else ever sees.
    pub fn signing_key(mut self, key: AgentKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Registers the agent.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `scope_violation` beyond the app's ceiling; any error of the network. What fails
    /// leaves no agent behind, except [`ClientError::Timeout`], after which one may exist whose token nobody has.
    pub async fn create(self) -> Result<Agent, ClientError> {
        let key = match &self.key {
            Some(key) => key.clone(),
            None => AgentKey::generate()?,
        };
        let launch_token = self.app.create_launch_token(&self.launch_token_request()).await?;
        let nonce = self.challenge().await?;
        self.register(&launch_token, &nonce, &key).await
    }

    /// As narrow as the agent itself: of no use to anyone who finds it, but to register this very agent.
    fn launch_token_request(&self) -> LaunchTokenRequest {
        let label = self.label.clone().unwrap_or_else(|| format!("{}/{}", self.orch_id, self.task_id));
        let request =
            LaunchTokenRequest::within(label, self.scope.clone()).pinned(self.orch_id.clone(), self.task_id.clone());
        match self.max_ttl {
            Some(max_ttl) => request.max_ttl(max_ttl),
            None => request,
        }
    }

    async fn challenge(&self) -> Result<Nonce, ClientError> {
        let call = Call::get("/v1/challenge");
        let answer: ChallengeAnswer = self.app.session.transport.fetch(&call, None).await?;
        Nonce::decode(answer.nonce).ok_or_else(|| call.malformed("nonce is not 32 bytes of hex"))
    }

    async fn register(&self, launch_token: &LaunchToken, nonce: &Nonce, key: &AgentKey) -> Result<Agent, ClientError> {
        let session = &self.app.session;
        let call = Call::post(
            "/v1/register",
            &RegisterBody {
                launch_token: launch_token.token(),
                nonce: &nonce.hex,
                public_key: BASE64.encode(key.0.verifying_key().as_bytes()),
                signature: BASE64.encode(&key.0.sign(&nonce.bytes).to_bytes()),
                orch_id: self.orch_id.as_str(),
                task_id: self.task_id.as_str(),
                requested_scope: &self.scope,
            },
        )?;
        // Measured before asking: the token is then never believed to live longer than it does.
        let asked_at = session.clock.now();
        let answer: RegisterAnswer = session.transport.fetch(&call, None).await?;
        let id = answer.agent_id;
        if (id.orch_id(), id.task_id()) != (self.orch_id.as_str(), self.task_id.as_str()) {
            return Err(call.malformed(&format!("`{id}` is not the agent that was asked for")));
        }
        Ok(Agent {
            authorization: bearer(&answer.access_token).ok_or_else(|| call.malformed("unusable access token"))?,
            token: answer.access_token,
            expires_at: asked_at.saturating_add(Duration::from_secs(answer.expires_in)),
            scopes: self.scope.clone(),
            id,
        })
    }
}

/// The Ed25519 key of an agent. Wiped when dropped, hidden in `Debug`.
#[derive(Clone)]
pub struct AgentKey(SigningKey);

impl AgentKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoRandomness`] when the operating system has none.
    pub fn generate() -> Result<Self, ClientError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *seed).map_err(|error| ClientError::NoRandomness { reason: error.to_string() })?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a seed that the caller keeps: 32 random bytes (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentKey(…)")
    }
}

/// A nonce in both its forms: it is sent as text and signed as bytes.
struct Nonce {
    hex: String,
    bytes: [u8; 32],
}

impl Nonce {
    fn decode(hex: String) -> Option<Self> {
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()?;
        Some(Self { hex, bytes })
    }
}
