//! Apps, which may create agents within the ceiling that the operator set.

use std::sync::Arc;

use agentwrit_protocol::{Secret, paths};

use crate::{
    client::Client,
    error::ClientError,
    launch_token::{LaunchToken, NewLaunchToken},
    session::{Credentials, Session},
};

/// App of a broker. Clones are cheap and share connections and the app's token.
///
/// Nothing is sent before the first request that needs it; see the crate's documentation for an example.
#[derive(Clone, Debug)]
pub struct App {
    session: Arc<Session>,
}

impl Client {
    /// Returns the app of these credentials. Sends nothing.
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
        let session = Session::new(self.clone(), Credentials::App { client_id, client_secret });
        Ok(App { session: Arc::new(session) })
    }
}

impl App {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.session.client()
    }

    /// Obtains the app's token unless there is one, so that wrong credentials show at the start.
    ///
    /// # Errors
    ///
    /// [`ClientError::Rejected`] with status 401 for wrong credentials; any error of the network.
    pub async fn authenticate(&self) -> Result<(), ClientError> {
        self.session.ensure_token().await
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
