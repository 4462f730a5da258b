//! Errors of the pages' requests.

use agentwrit_client::ClientError;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

use crate::StoreError;

/// Error of a request of the page.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebError {
    #[error("{0}")]
    Invalid(String),
    #[error("there is no encounter of this id with live agents")]
    NoSuchEncounter,
    #[error("too many encounters are in progress: try again")]
    TooMany,
    #[error("this page has no operator's secret: start it with AGENTWRIT_ADMIN_SECRET")]
    NoOperator,
    #[error("the broker: {}", .0.problem().map_or_else(|| .0.to_string(), |problem| problem.detail.clone()))]
    Broker(#[from] ClientError),
    #[error("the hospital's database failed")]
    Store(#[from] StoreError),
    #[error("the system has no randomness")]
    Randomness,
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NoSuchEncounter => StatusCode::NOT_FOUND,
            Self::TooMany => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoOperator => StatusCode::FORBIDDEN,
            Self::Broker(_) => StatusCode::BAD_GATEWAY,
            Self::Store(_) | Self::Randomness => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({"error": self.to_string()}))).into_response()
    }
}
