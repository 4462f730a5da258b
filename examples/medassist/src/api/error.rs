//! Errors of the API, and their mapping to HTTP.

use agentwrit_protocol::ErrorCode;
use agentwrit_verify::NotPermitted;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::store::StoreError;

/// Rejection by the API itself, after the token was verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    #[error("there is no {kind} `{name}`")]
    NotFound { kind: &'static str, name: String },
    #[error("there is nothing at this path")]
    UnknownPath,
    #[error("the path does not take this method")]
    MethodNotAllowed,
    #[error("{reason}")]
    Invalid { reason: String },
    #[error("{reason}")]
    Conflict { reason: String },
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    #[error("the server made a mistake")]
    Internal,
}

impl ApiError {
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }

    pub(super) fn conflict(reason: impl Into<String>) -> Self {
        Self::Conflict { reason: reason.into() }
    }

    /// Maps the error to HTTP.
    pub(super) fn code(&self) -> ErrorCode {
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

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, "the store failed");
        Self::Internal
    }
}

/// Sets the status, and leaves the error for [`finish`](super::response::finish), which has the request's path and id.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = StatusCode::from_u16(self.code().status()).unwrap_or_default().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
