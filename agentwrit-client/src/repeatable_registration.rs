//! Registrations that an agent's task repeats.

use crate::{agent::Agent, agent_request::AgentRequest, attested::AttestedAgentRequest, error::ClientError};

/// Registration of an agent of an app, or of an attested workload.
#[derive(Clone, Debug)]
pub(crate) enum RepeatableRegistration {
    App(AgentRequest),
    Attested(AttestedAgentRequest),
}

impl RepeatableRegistration {
    /// Registers another agent.
    pub(crate) async fn register(&self) -> Result<Agent, ClientError> {
        match self {
            Self::App(request) => request.register().await,
            Self::Attested(request) => request.register().await,
        }
    }

    /// Returns true if a repetition cannot succeed.
    ///
    /// A 401 of an app is about its credentials, which are the same next time: it is deregistered, or its secret is
    /// another one. A 401 of an attested workload is about the assertion, which is another one next time.
    pub(crate) fn is_refused_for_good(&self, error: &ClientError) -> bool {
        match self {
            Self::App(_) => error.status() == Some(401) && error.error_code().is_some(),
            Self::Attested(_) => matches!(error, ClientError::NoAssertion { retryable: false, .. }),
        }
    }
}
