//! What can go wrong between a caller and the broker.
//!
//! 1. An response of the broker that refuses is [`ClientError::Rejected`] and carries the broker's own words.
//! 2. Everything else says on which side the cause lies: the network, the response, or the caller's own input.
//! 3. No error shows a secret or a token. One holds it: what a malformed response handed out once is kept
//!    ([`ClientError::received_secret`]), since nothing can ask for it again.

use std::time::Duration;

use agentwrit_protocol::{Problem, Secret};
use agentwrit_verify::http_client::TransportErrorKind;

/// Why a call did not succeed.
///
/// ```
/// use agentwrit_client::ClientError;
/// # use std::time::Duration;
/// let error = ClientError::Timeout { after: Duration::from_secs(10) };
/// assert_eq!(error.to_string(), "broker did not response within 10s");
/// assert_eq!(error.error_code(), None);
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The broker answered, and the response is no.
    #[error("broker refused ({status}): {}", problem.detail)]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The refusal in the broker's words (RFC 9457). When something between here and the broker answered without
        /// a problem body, the type is `about:blank` and the error code is empty.
        problem: Box<Problem>,
        /// How long to wait before the next attempt, when the response said so.
        retry_after: Option<Duration>,
    },
    /// No connection to the broker, or it broke before the response was complete.
    #[error("broker cannot be reached: {reason}")]
    Unreachable {
        /// What the network said.
        reason: String,
        /// What it is about: decides what can be done.
        kind: TransportErrorKind,
    },
    /// The broker did not response in time. Whether it acted on the request is unknown.
    #[error("broker did not response within {after:?}")]
    Timeout {
        /// The limit that ran out.
        after: Duration,
    },
    /// An response that no `AgentWrit` broker gives: not JSON, too large, a redirect, a member missing.
    #[error("broker gave a malformed response to {endpoint}: {reason}")]
    MalformedResponse {
        /// Method and path of the request.
        endpoint: String,
        /// What is wrong with the response.
        reason: String,
        /// The client secret, launch token or access token that the response held all the same.
        received: Option<Box<ReceivedSecret>>,
    },
    /// The caller's own input is unusable; nothing was sent.
    #[error("invalid {field}: {reason}")]
    InvalidInput {
        /// Which input.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no valid token to send, and no other error says why.
    #[error("agent has no valid token: {reason}")]
    NoToken {
        /// What became of it.
        reason: &'static str,
    },
    /// The operating system gave no randomness for a key.
    #[error("no randomness for a key: {reason}")]
    NoRandomness {
        /// What the operating system said.
        reason: String,
    },
}

impl ClientError {
    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Rejected { status, .. } => Some(*status),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::MalformedResponse { .. }
            | Self::InvalidInput { .. }
            | Self::NoToken { .. }
            | Self::NoRandomness { .. } => None,
        }
    }

    /// The refusal in the broker's words.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Rejected { problem, .. } => Some(problem),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::MalformedResponse { .. }
            | Self::InvalidInput { .. }
            | Self::NoToken { .. }
            | Self::NoRandomness { .. } => None,
        }
    }

    /// The machine-readable code of a refusal, for example `scope_violation`.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        let code = self.problem()?.error_code.as_str();
        (!code.is_empty()).then_some(code)
    }

    /// What to do next, if the broker has advice.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.problem()?.hint.as_deref()
    }

    /// The id under which the broker's log knows the refused request.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        let id = self.problem()?.request_id.as_str();
        (!id.is_empty()).then_some(id)
    }

    /// The client secret, launch token or access token that came in an response which could not be read otherwise. The
    /// broker shows each once: keep it, or undo what was done.
    #[must_use]
    pub fn received_secret(&self) -> Option<&ReceivedSecret> {
        match self {
            Self::MalformedResponse { received, .. } => received.as_deref(),
            Self::Rejected { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::InvalidInput { .. }
            | Self::NoToken { .. }
            | Self::NoRandomness { .. } => None,
        }
    }

    /// How long to wait before the next attempt, when the broker said so (429, 503).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected { retry_after, .. } => *retry_after,
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::MalformedResponse { .. }
            | Self::InvalidInput { .. }
            | Self::NoToken { .. }
            | Self::NoRandomness { .. } => None,
        }
    }

    pub(crate) fn no_token(reason: &'static str) -> Self {
        Self::NoToken { reason }
    }

    /// The call's own task was stopped on its way.
    pub(crate) fn aborted(reason: &(impl ToString + ?Sized)) -> Self {
        Self::Unreachable { reason: reason.to_string(), kind: TransportErrorKind::Broken }
    }

    pub(crate) fn invalid(field: &'static str, reason: &(impl ToString + ?Sized)) -> Self {
        Self::InvalidInput { field, reason: reason.to_string() }
    }
}

/// A secret that the broker shows once, from an response that could not be read otherwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReceivedSecret {
    /// The member of the response that held it: `client_secret`, `launch_token` or `access_token`.
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
