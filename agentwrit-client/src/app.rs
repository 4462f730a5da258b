//! Apps, which may create agents within the ceiling that the operator set.

use std::sync::Arc;

use agentwrit_protocol::paths;

use crate::{
    agent_request::NewAgent,
    client::Client,
    error::ClientError,
    launch_token::{LaunchToken, NewLaunchToken},
    session::Session,
};

/// App of a broker. Clones are cheap and share connections and the app's token.
///
/// Nothing is sent before the first request that needs it; see the crate's documentation for an example.
#[derive(Clone, Debug)]
pub struct App {
    session: Arc<Session>,
}

impl App {
    pub(crate) fn new(session: Session) -> Self {
        Self { session: Arc::new(session) }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.session.client()
    }

    /// Starts the registration of an agent for an orchestration and a task. Both become part of the agent's SPIFFE id:
    /// 1 to 128 of `A-Z a-z 0-9 . _ -`, not `.` or `..`.
    pub fn agent(&self, orch_id: impl Into<String>, task_id: impl Into<String>) -> NewAgent {
        NewAgent::new(self.clone(), orch_id.into(), task_id.into())
    }

    /// Issues a launch token for an agent that [registers itself](Client::register). [`App::agent`] does this by
    /// itself.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `scope_violation` beyond the app's ceiling; any error of the network.
    pub async fn create_launch_token(&self, request: &NewLaunchToken) -> Result<LaunchToken, ClientError> {
        request.send(&self.session, paths::APP_LAUNCH_TOKENS).await
    }
}
