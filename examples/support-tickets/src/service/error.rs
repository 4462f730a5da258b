//! Errors of the service, and their mapping to HTTP.

use agentwrit_protocol::ErrorCode;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::store::Refused;

/// Rejection by the service itself, after the token was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServiceError {
    NotFound { kind: &'static str, name: String },
    UnknownPath,
    MethodNotAllowed,
    Invalid { reason: String },
    Conflict { reason: String },
    TooLarge { limit: usize },
}

impl ServiceError {
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }

    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } | Self::UnknownPath => ErrorCode::NotFound,
            Self::MethodNotAllowed => ErrorCode::MethodNotAllowed,
            Self::Invalid { .. } => ErrorCode::InvalidRequest,
            Self::Conflict { .. } => ErrorCode::Conflict,
            Self::TooLarge { .. } => ErrorCode::PayloadTooLarge,
        }
    }

    pub(super) fn detail(&self) -> String {
        match self {
            Self::NotFound { kind, name } => format!("there is no {kind} `{name}`"),
            Self::UnknownPath => "there is nothing at this path".to_owned(),
            Self::MethodNotAllowed => "the path does not take this method".to_owned(),
            Self::Invalid { reason } | Self::Conflict { reason } => reason.clone(),
            Self::TooLarge { limit } => format!("the body is larger than {limit} bytes"),
        }
    }
}

impl From<Refused> for ServiceError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoTicket(name) => Self::NotFound { kind: "ticket", name },
            Refused::NoCustomer(name) => Self::NotFound { kind: "customer", name },
            Refused::Amount(_) => Self::Invalid { reason: refused.to_string() },
            Refused::AboveLimit { .. } | Refused::AlreadyRefunded(_) | Refused::NotCustomersTicket { .. } => {
                Self::Conflict { reason: refused.to_string() }
            }
        }
    }
}

/// Sets the status, and leaves the error for [`finish`](super::response::finish), which has the request's path and id.
impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        let mut response = StatusCode::from_u16(self.code().status()).unwrap_or_default().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
