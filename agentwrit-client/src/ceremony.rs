//! How an agent comes to be: launch token, challenge, signature over the **decoded** nonce, registration (contract §4).
//! The private key never leaves the process.

use std::{sync::Arc, time::Duration};

use agentwrit_verify::{PathSegment, ScopeSet};
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::{
    agent::{Agent, Held},
    agent_key::AgentKey,
    app::App,
    error::ClientError,
    launch_token::{LaunchToken, LaunchTokenRequest, parse_scopes, parse_segment},
    transport::Call,
    wire::{ChallengeAnswer, RegisterAnswer, RegisterBody},
};

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
                public_key: key.public_key(),
                signature: key.sign(&nonce.bytes),
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
        let held = Held::new(answer.access_token, asked_at, answer.expires_in);
        let held = held.ok_or_else(|| call.malformed("unusable access token"))?;
        Ok(Agent::holding(id, self.scope.clone(), held, session.transport.clone(), Arc::clone(&session.clock)))
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
