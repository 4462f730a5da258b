//! Errors between a caller and the broker.
//!
//! 1. A rejection by the broker is [`ClientError::Rejected`], with the broker's problem.
//! 2. Every other variant names the side of its cause: the network, the response, or the caller's own input.
//! 3. No error prints a secret or a token. One holds it: the secret in a malformed response
//!    ([`ClientError::received_secret`]), which no other request returns again.

use std::time::Duration;

use agentwrit_protocol::{Problem, Secret};
use agentwrit_verify::http_client::TransportErrorKind;

/// Error of a request.
///
/// ```
/// use agentwrit_client::ClientError;
/// # use std::time::Duration;
/// let error = ClientError::Timeout { after: Duration::from_secs(10) };
/// assert_eq!(error.to_string(), "broker did not respond within 10s");
/// assert_eq!(error.error_code(), None);
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The broker rejected the request.
    #[error("broker refused ({status}): {}", problem.detail)]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The broker's problem (RFC 9457). For a response without one, such as a gateway's, the type is `about:blank`
        /// and the error code is empty. Where the two clocks differ too much for proofs, the detail ends with it.
        problem: Box<Problem>,
        /// The response's `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// There was no connection to the broker, or it broke before the response was complete.
    #[error("broker cannot be reached: {reason}")]
    #[non_exhaustive]
    Unreachable {
        /// The reason.
        reason: String,
        /// The kind of error, which decides what can be done.
        kind: TransportErrorKind,
    },
    /// The broker did not respond in time. It may have processed the request.
    #[error("broker did not respond within {after:?}")]
    Timeout {
        /// The timeout.
        after: Duration,
    },
    /// The response is not an `AgentWrit` broker's: not JSON, too large, a redirect, without a required member.
    #[error("broker gave a malformed response to {endpoint}: {reason}")]
    #[non_exhaustive]
    MalformedResponse {
        /// Method and path of the request.
        endpoint: String,
        /// The defect of the response.
        reason: String,
        /// The client secret, launch token or access token in the response.
        received: Option<Box<ReceivedSecret>>,
    },
    /// The caller's own input is unusable; nothing was sent.
    #[error("invalid {field}: {reason}")]
    InvalidInput {
        /// The name of the input.
        field: &'static str,
        /// The reason.
        reason: String,
    },
    /// There is no valid token to send, for no other recorded error.
    #[error("agent has no valid token: {reason}")]
    NoToken {
        /// The reason.
        reason: &'static str,
    },
    /// There is no assertion to attest an agent with; nothing was sent to the broker.
    #[error("no assertion to attest an agent with: {reason}")]
    #[non_exhaustive]
    NoAssertion {
        /// The reason.
        reason: String,
        /// True if the source may have another assertion later.
        retryable: bool,
    },
    /// The operating system gave no randomness for a key.
    #[error("no randomness for a key: {reason}")]
    NoRandomness {
        /// The operating system's error.
        reason: String,
    },
}

impl ClientError {
    /// Returns the HTTP status of a rejection.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Rejected { status, .. } => Some(*status),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::MalformedResponse { .. }
            | Self::InvalidInput { .. }
            | Self::NoToken { .. }
            | Self::NoAssertion { .. }
            | Self::NoRandomness { .. } => None,
        }
    }

    /// Returns the problem of a rejection.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Rejected { problem, .. } => Some(problem),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::MalformedResponse { .. }
            | Self::InvalidInput { .. }
            | Self::NoToken { .. }
            | Self::NoAssertion { .. }
            | Self::NoRandomness { .. } => None,
        }
    }

    /// Returns the machine-readable code of a rejection, for example `scope_violation`.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        let code = self.problem()?.error_code.as_str();
        (!code.is_empty()).then_some(code)
    }

    /// Returns the broker's advice, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.problem()?.hint.as_deref()
    }

    /// Returns the request id that is in the broker's log.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        let id = self.problem()?.request_id.as_str();
        (!id.is_empty()).then_some(id)
    }

    /// Returns the client secret, launch token or access token in a malformed response. The broker returns each only
    /// once: keep it, or revert the request.
    #[must_use]
    pub fn received_secret(&self) -> Option<&ReceivedSecret> {
        match self {
            Self::MalformedResponse { received, .. } => received.as_deref(),
            Self::Rejected { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::InvalidInput { .. }
            | Self::NoToken { .. }
            | Self::NoAssertion { .. }
            | Self::NoRandomness { .. } => None,
        }
    }

    /// Returns the response's `Retry-After` (429, 503).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected { retry_after, .. } => *retry_after,
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::MalformedResponse { .. }
            | Self::InvalidInput { .. }
            | Self::NoToken { .. }
            | Self::NoAssertion { .. }
            | Self::NoRandomness { .. } => None,
        }
    }

    /// Creates the error of an [`AttestationSource`](crate::AttestationSource) that has no assertion. The reason tells
    /// what to do, and shows nothing of an assertion.
    pub fn no_assertion(reason: impl Into<String>) -> Self {
        Self::NoAssertion { reason: reason.into(), retryable: true }
    }

    /// Sets whether a source that has no assertion may have one later.
    pub(crate) fn retryable_if(mut self, is_renewed: bool) -> Self {
        if let Self::NoAssertion { retryable, .. } = &mut self {
            *retryable &= is_renewed;
        }
        self
    }

    /// Returns true if the broker did not receive the request.
    pub(crate) fn is_before_sending(&self) -> bool {
        match self {
            Self::Unreachable { kind, .. } => matches!(
                kind,
                TransportErrorKind::NoConnection
                    | TransportErrorKind::ConnectTimeout
                    | TransportErrorKind::BrokerIsPlain
                    | TransportErrorKind::UnknownAuthority
                    | TransportErrorKind::BrokerCertificate
            ),
            Self::InvalidInput { .. } | Self::NoToken { .. } | Self::NoAssertion { .. } | Self::NoRandomness { .. } => {
                true
            }
            Self::Rejected { .. } | Self::Timeout { .. } | Self::MalformedResponse { .. } => false,
        }
    }

    pub(crate) fn no_token(reason: &'static str) -> Self {
        Self::NoToken { reason }
    }

    /// The request's own task was stopped.
    pub(crate) fn aborted(reason: &(impl ToString + ?Sized)) -> Self {
        Self::Unreachable { reason: reason.to_string(), kind: TransportErrorKind::Broken }
    }

    pub(crate) fn invalid(field: &'static str, reason: &(impl ToString + ?Sized)) -> Self {
        Self::InvalidInput { field, reason: reason.to_string() }
    }
}

/// Secret in a malformed response, which the broker returns only once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReceivedSecret {
    /// The name of its member: `client_secret`, `launch_token` or `access_token`.
    pub member: &'static str,
    /// The secret.
    pub secret: Secret,
}

impl ReceivedSecret {
    pub(crate) fn new(member: &'static str, secret: Secret) -> Self {
        Self { member, secret }
    }
}

impl PartialEq for ReceivedSecret {
    fn eq(&self, other: &Self) -> bool {
        (self.member, self.secret.expose()) == (other.member, other.secret.expose())
    }
}
