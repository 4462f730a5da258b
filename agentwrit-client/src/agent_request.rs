//! An app's agents: the launch token and the registration in one.

use std::time::Duration;

use crate::{
    agent::Agent, agent_key::AgentKey, app::App, error::ClientError, launch_token::NewLaunchToken,
    registration::Registration,
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
        let registration = Registration::new(&self.orch_id, &self.task_id, scope)?;
        Ok(AgentRequest { app: self.app, registration, max_ttl: None, label: None })
    }
}

/// An agent in the making. [`AgentRequest::create`] registers it.
#[derive(Clone, Debug)]
#[must_use]
pub struct AgentRequest {
    app: App,
    registration: Registration,
    max_ttl: Option<Duration>,
    label: Option<String>,
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
        self.registration = self.registration.signing_key(key);
        self
    }

    /// Registers the agent.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `scope_violation` beyond the app's ceiling; any error of the network. What fails
    /// leaves no agent behind, except [`ClientError::Timeout`], after which one may exist whose token nobody has.
    pub async fn create(self) -> Result<Agent, ClientError> {
        self.register().await
    }

    /// As [`AgentRequest::create`], and can be repeated: each time registers another agent.
    pub(crate) async fn register(&self) -> Result<Agent, ClientError> {
        let key = self.registration.key()?; // before anything is asked for
        let launch_token = self.app.create_launch_token(&self.launch_token_request()).await?;
        self.app.client().register_with(launch_token.token(), &self.registration, &key).await
    }

    /// As narrow as the agent itself: of no use to anyone who finds it, but to register this very agent.
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
