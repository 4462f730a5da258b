//! Errors of a service, and their mapping to HTTP.

use agentwrit_protocol::ErrorCode;
use agentwrit_verify::NotPermitted;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// Rejection by the service itself, after the token was verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "a service that maps it handles each")]
pub enum ServiceError {
    /// No entry of this kind and name.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// Kind of the entry.
        kind: &'static str,
        /// Name in the request.
        name: String,
    },
    /// No route.
    #[error("there is nothing at this path")]
    UnknownPath,
    /// Route without this method.
    #[error("the path does not take this method")]
    MethodNotAllowed,
    /// Malformed request.
    #[error("{reason}")]
    Invalid {
        /// Defect.
        reason: String,
    },
    /// Request against a rule of the service.
    #[error("{reason}")]
    Conflict {
        /// Rule.
        reason: String,
    },
    /// Body beyond the limit.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// Limit in bytes.
        limit: usize,
    },
    /// Scope that the token lacks, where only the body shows that it is needed.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// Failure of the service.
    #[error("the server made a mistake")]
    Internal,
}

impl ServiceError {
    /// Builds the error of a malformed request.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }

    /// Builds the error of a request against a rule of the service.
    pub fn conflict(reason: impl Into<String>) -> Self {
        Self::Conflict { reason: reason.into() }
    }

    /// Maps the error to HTTP.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } | Self::UnknownPath => ErrorCode::NotFound,
            Self::MethodNotAllowed => ErrorCode::MethodNotAllowed,
            Self::Invalid { .. } => ErrorCode::InvalidRequest,
            Self::Conflict { .. } => ErrorCode::Conflict,
            Self::TooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::NotPermitted(_) => ErrorCode::InsufficientScope,
            Self::Internal => ErrorCode::InternalError,
        }
    }
}

/// Sets the status, and leaves the error for [`finish`](super::finish), which has the request's path and id.
impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        let mut response = StatusCode::from_u16(self.code().status()).unwrap_or_default().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
