//! Registration of an agent: launch token, challenge, signature over the **decoded** nonce, registration (contract §4).
//! The private key never leaves the process.

use agentwrit_protocol::{
    Attestation, ChallengeResponse, Nonce, RegistrationRequest, RegistrationResponse, Secret, paths,
};
use agentwrit_verify::{PathSegment, ScopeSet};

use crate::{
    agent::Agent,
    agent_key::AgentKey,
    agent_token::{AgentToken, IssuedToken},
    client::Client,
    error::ClientError,
    launch_token::{parse_scopes, parse_segment},
    request::ApiRequest,
};

/// Identity and scopes that an agent requests with a launch token.
#[derive(Clone, Debug)]
#[must_use]
pub struct Registration {
    pub(crate) orch_id: PathSegment,
    pub(crate) task_id: PathSegment,
    pub(crate) scope: ScopeSet,
    key: Option<AgentKey>,
    sender_constrained: bool,
}

impl Registration {
    /// Requests an agent for this orchestration and task with 1 to 64 scopes: as few and as narrow as the task allows,
    /// and within the launch token's.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when a scope, the `orch_id` or the `task_id` is malformed.
    pub fn new<S: AsRef<str>>(
        orch_id: &str,
        task_id: &str,
        scope: impl IntoIterator<Item = S>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            orch_id: parse_segment("orch_id", orch_id)?,
            task_id: parse_segment("task_id", task_id)?,
            scope: parse_scopes("scope", scope)?,
            key: None,
            sender_constrained: false,
        })
    }

    /// Key of the agent. Default: a new one, which never leaves this process.
    pub fn signing_key(mut self, key: AgentKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Binds the agent's tokens to its key (RFC 9449): without the key, the tokens are of no use. The agent signs the
    /// proofs by itself; services must accept the scheme `DPoP`.
    pub fn sender_constrained(mut self) -> Self {
        self.sender_constrained = true;
        self
    }

    pub(crate) fn key(&self) -> Result<AgentKey, ClientError> {
        self.key.clone().map_or_else(AgentKey::generate, Ok)
    }
}

/// Permission for a registration.
pub(crate) enum Permission {
    LaunchToken(Secret),
    Attestation(Attestation),
}

/// Agent that is being registered.
pub(crate) struct RegisteringAgent<'r> {
    pub(crate) permission: Permission,
    pub(crate) orch_id: Option<&'r PathSegment>,
    pub(crate) task_id: Option<&'r PathSegment>,
    pub(crate) scope: &'r ScopeSet,
    pub(crate) sender_constrained: bool,
    pub(crate) key: &'r AgentKey,
}

impl Client {
    /// Registers an agent with a launch token from an app or an operator.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `scope_violation` beyond the launch token, `unauthorized` when it is unknown,
    /// expired or used; any error of the network. An error consumes nothing, except [`ClientError::Timeout`] and
    /// [`ClientError::Unreachable`] after the request was sent: an agent may exist then whose token was lost.
    pub async fn register(&self, launch_token: &Secret, registration: &Registration) -> Result<Agent, ClientError> {
        self.register_with(launch_token, registration, &registration.key()?).await
    }

    pub(crate) async fn register_with(
        &self,
        launch_token: &Secret,
        registration: &Registration,
        key: &AgentKey,
    ) -> Result<Agent, ClientError> {
        let nonce = self.challenge().await?;
        let Registration { orch_id, task_id, scope, sender_constrained, key: _ } = registration;
        let agent = RegisteringAgent {
            permission: Permission::LaunchToken(launch_token.clone()),
            orch_id: Some(orch_id),
            task_id: Some(task_id),
            scope,
            sender_constrained: *sender_constrained,
            key,
        };
        self.register_agent(agent, nonce).await
    }

    /// Sends the registration, with the key's signature of the nonce.
    pub(crate) async fn register_agent(&self, agent: RegisteringAgent<'_>, nonce: Nonce) -> Result<Agent, ClientError> {
        let RegisteringAgent { permission, orch_id, task_id, scope, sender_constrained, key } = agent;
        let (launch_token, attestation) = match permission {
            Permission::LaunchToken(launch_token) => (Some(launch_token), None),
            Permission::Attestation(attestation) => (None, Some(attestation)),
        };
        let request = ApiRequest::post(
            paths::REGISTER,
            &RegistrationRequest {
                launch_token,
                attestation,
                nonce: nonce.into(),
                public_key: key.public_key().into(),
                signature: key.sign(&nonce.0).into(),
                orch_id: orch_id.cloned(),
                task_id: task_id.cloned(),
                requested_scope: scope.clone(),
                sender_constrained,
            },
        )?
        .with_secret_member("access_token");
        // Read before the request, so that the computed expiry is never later than the real one.
        let asked_at = self.clock.now();
        let response: RegistrationResponse = self.transport.fetch(&request, None).await?;
        let id = response.agent_id;
        let is_named = |named: Option<&PathSegment>, granted| named.is_none_or(|named| named.as_str() == granted);
        if !is_named(orch_id, id.orch_id()) || !is_named(task_id, id.task_id()) {
            let reason = format!("`{id}` is not the agent that was asked for");
            return Err(request.malformed_with_secret(&reason, Some(response.access_token)));
        }
        let RegistrationResponse { access_token, token_type, expires_in, .. } = response;
        let issued = IssuedToken { access_token, token_type, expires_in };
        let mut token = AgentToken::from_response(&request, issued, asked_at)?;
        let malformed = |reason, token: AgentToken| Err(request.malformed_with_secret(reason, Some(token.token)));
        if sender_constrained && token.bound_to.is_none() {
            return malformed("the token is not bound to the agent's key, as was asked for", token);
        }
        if !token.accept_key(key, self) {
            return malformed("the token is bound to another key than the agent's", token);
        }
        Ok(Agent::from_token(id, scope.clone(), token, Some(key.clone()), self.clone()))
    }

    pub(crate) async fn challenge(&self) -> Result<Nonce, ClientError> {
        let response: ChallengeResponse = self.transport.fetch(&ApiRequest::get(paths::CHALLENGE), None).await?;
        Ok(response.nonce)
    }
}
