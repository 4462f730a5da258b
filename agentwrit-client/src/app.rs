//! An app: the party that may create agents, within the ceiling that the operator gave it.

use std::{sync::Arc, time::Duration};

use agentwrit_verify::{ClaimSet, Clock, SystemClock};
use http::StatusCode;
use serde::Deserialize;

use crate::{
    ceremony::NewAgent,
    error::ClientError,
    launch_token::{LaunchToken, LaunchTokenRequest},
    secret::Secret,
    session::{Credentials, Session},
    transport::{Call, Endpoint, Transport},
    wire::{ValidateAnswer, ValidateBody},
};

/// An app's relation to the broker. Clones are cheap and share connections and the app's token.
///
/// Nothing is sent before the first call that needs it; see the crate's documentation for an example.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) session: Arc<Session>,
}

impl App {
    /// Starts from the broker's address and the credentials that the operator handed out.
    pub fn builder(
        broker_url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> AppBuilder {
        AppBuilder {
            endpoint: Endpoint::new(broker_url.into()),
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Names the orchestration and the task that an agent will work for. Both become part of the agent's SPIFFE id:
    /// 1 to 128 of `A-Z a-z 0-9 . _ -`, not `.` or `..`.
    pub fn agent(&self, orch_id: impl Into<String>, task_id: impl Into<String>) -> NewAgent {
        NewAgent::new(self.clone(), orch_id.into(), task_id.into())
    }

    /// Asks for a launch token, to hand to an agent that registers itself. [`App::agent`] does this on its own.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] with `scope_violation` beyond the app's ceiling; any error of the network.
    pub async fn create_launch_token(&self, request: &LaunchTokenRequest) -> Result<LaunchToken, ClientError> {
        request.send(&self.session, "/v1/app/launch-tokens").await
    }

    /// Asks the broker whether `token` is valid now. A resource server has no need of this: it verifies offline.
    ///
    /// # Errors
    ///
    /// Any error of the network. An invalid token is no error, but [`Validation::Invalid`].
    pub async fn validate(&self, token: &str) -> Result<Validation, ClientError> {
        let call = Call::post("/v1/token/validate", &ValidateBody { token })?;
        let answer: ValidateAnswer = self.session.transport.fetch(&call, None).await?;
        match (answer.valid, answer.claims) {
            (true, Some(claims)) => Ok(Validation::Valid(Box::new(claims))),
            (true, None) => Err(call.malformed("`valid` without `claims`")),
            (false, _) => Ok(Validation::Invalid { reason: answer.error.unwrap_or_default() }),
        }
    }

    /// Asks the broker how it is. A broker that answers but cannot serve is no error, but a [`Health`] that says so.
    ///
    /// # Errors
    ///
    /// Any error of the network.
    pub async fn health(&self) -> Result<Health, ClientError> {
        let call = Call::get("/v1/health");
        let answer = self.session.transport.exchange(&call, None).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE
            && let Ok(health) = answer.decode(&call)
        {
            return Ok(health);
        }
        answer.accepted(&call)?.decode(&call)
    }
}

/// Builds an [`App`].
#[derive(Clone, Debug)]
#[must_use]
pub struct AppBuilder {
    endpoint: Endpoint,
    client_id: String,
    client_secret: Secret,
    clock: Arc<dyn Clock>,
}

impl AppBuilder {
    /// How long one call may take, from connecting to the last byte. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.timeout = timeout;
        self
    }

    /// How long connecting may take. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.endpoint.connect_timeout = timeout;
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
    /// [`ClientError::InvalidInput`] for an unusable URL or empty credentials.
    pub fn build(self) -> Result<App, ClientError> {
        if self.client_id.is_empty() {
            return Err(ClientError::invalid("client id", "empty"));
        }
        if self.client_secret.expose().is_empty() {
            return Err(ClientError::invalid("client secret", "empty"));
        }
        let transport = Transport::connect_lazily(&self.endpoint)?;
        let credentials = Credentials::App { client_id: self.client_id, client_secret: self.client_secret };
        Ok(App { session: Arc::new(Session::new(transport, self.clock, credentials)) })
    }
}

/// The broker's word on a token.
#[derive(Clone, Debug, PartialEq)]
pub enum Validation {
    /// The token is valid at this moment and says this.
    Valid(Box<ClaimSet>),
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
        matches!(self, Self::Valid(_))
    }
}

/// How the broker is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// `ok`, or what is wrong.
    pub status: String,
    /// The broker's version.
    pub version: String,
    /// Seconds since its start.
    pub uptime: u64,
    /// Whether its store can be written.
    pub db_connected: bool,
    /// How many events its audit trail holds.
    pub audit_events_count: u64,
}

impl Health {
    /// Whether the broker can serve.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status == "ok" && self.db_connected
    }
}
