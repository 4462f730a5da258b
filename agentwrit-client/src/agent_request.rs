//! Registration of an app's agents: launch token and registration in one call.

use std::time::Duration;

use crate::{
    agent::Agent, agent_key::AgentKey, app::App, error::ClientError, launch_token::NewLaunchToken,
    registration::Registration,
};

impl App {
    /// Starts the registration of an agent for an orchestration and a task. Both become part of the agent's SPIFFE id:
    /// 1 to 128 of `A-Z a-z 0-9 . _ -`, not `.` or `..`.
    pub fn agent(&self, orch_id: impl Into<String>, task_id: impl Into<String>) -> NewAgent {
        NewAgent { app: self.clone(), orch_id: orch_id.into(), task_id: task_id.into() }
    }
}

/// Agent to be registered, without scopes yet.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewAgent {
    app: App,
    orch_id: String,
    task_id: String,
}

impl NewAgent {
    /// Sets the agent's scopes: 1 to 64, as few and as narrow as the task allows.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when a scope, the `orch_id` or the `task_id` is malformed.
    pub fn scope<S: AsRef<str>>(self, scope: impl IntoIterator<Item = S>) -> Result<AgentRequest, ClientError> {
        let registration = Registration::new(&self.orch_id, &self.task_id, scope)?;
        Ok(AgentRequest { app: self.app, registration, max_ttl: None, label: None })
    }
}

/// Agent to be registered by [`AgentRequest::create`].
#[derive(Clone, Debug)]
#[must_use]
pub struct AgentRequest {
    app: App,
    registration: Registration,
    max_ttl: Option<Duration>,
    label: Option<String>,
}

impl AgentRequest {
    /// Maximum lifetime of the token: whole seconds, 1 s to 24 h. Default: the broker's setting.
    pub fn max_ttl(mut self, max_ttl: Duration) -> Self {
        self.max_ttl = Some(max_ttl);
        self
    }

    /// Label of the agent in the audit trail. Default: `<orch_id>/<task_id>`.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Key of the agent. Default: a new one, which never leaves this process.
    pub fn signing_key(mut self, key: AgentKey) -> Self {
        self.registration = self.registration.signing_key(key);
        self
    }

    /// Binds the agent's tokens to its key (RFC 9449): without the key, the tokens are of no use. The agent signs the
    /// proofs by itself; services must accept the scheme `DPoP`.
    pub fn sender_constrained(mut self) -> Self {
        self.registration = self.registration.sender_constrained();
        self
    }

    /// Registers the agent.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `scope_violation` beyond the app's ceiling; any error of the network. An error
    /// leaves no agent behind, except [`ClientError::Timeout`], after which one may exist whose token was lost.
    pub async fn create(self) -> Result<Agent, ClientError> {
        self.register().await
    }

    /// Repeatable form of [`AgentRequest::create`]: each call registers another agent.
    pub(crate) async fn register(&self) -> Result<Agent, ClientError> {
        let key = self.registration.key()?; // before anything is asked for
        let launch_token = self.app.create_launch_token(&self.launch_token_request()).await?;
        self.app.client().register_with(launch_token.token(), &self.registration, &key).await
    }

    /// Returns a launch token as narrow as the agent: a leaked one can only register this agent.
    fn launch_token_request(&self) -> NewLaunchToken {
        let Registration { orch_id, task_id, scope, .. } = &self.registration;
        let label = self.label.clone().unwrap_or_else(|| format!("{orch_id}/{task_id}"));
        let request = NewLaunchToken::within(label, scope.clone()).pinned(orch_id.clone(), task_id.clone());
        match self.max_ttl {
            Some(max_ttl) => request.max_ttl(max_ttl),
            None => request,
        }
    }
}
