//! An app: the party that may create agents, within the ceiling that the operator gave it.

use std::sync::Arc;

use agentwrit_protocol::paths;

use crate::{
    agent_request::NewAgent,
    client::Client,
    error::ClientError,
    launch_token::{LaunchToken, NewLaunchToken},
    session::Session,
};

/// An app's relation to the broker. Clones are cheap and share connections and the app's token.
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

    /// What the app talks to the broker with.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.session.client()
    }

    /// Names the orchestration and the task that an agent will work for. Both become part of the agent's SPIFFE id:
    /// 1 to 128 of `A-Z a-z 0-9 . _ -`, not `.` or `..`.
    pub fn agent(&self, orch_id: impl Into<String>, task_id: impl Into<String>) -> NewAgent {
        NewAgent::new(self.clone(), orch_id.into(), task_id.into())
    }

    /// Asks for a launch token, to hand to an agent that [registers itself](Client::register). [`App::agent`] does this
    /// on its own.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with `scope_violation` beyond the app's ceiling; any error of the network.
    pub async fn create_launch_token(&self, request: &NewLaunchToken) -> Result<LaunchToken, ClientError> {
        request.send(&self.session, paths::APP_LAUNCH_TOKENS).await
    }
}
