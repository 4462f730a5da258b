//! Errors of the pages' requests.

use agentwrit_client::ClientError;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

/// Error of a request of a page's script. The response is JSON with the member `error`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// Malformed request.
    #[error("{0}")]
    Invalid(String),
    /// Request of another site.
    #[error("the request comes from another site")]
    OtherSite,
    /// Request for another host.
    #[error("this page is for the loopback interface, not for this host")]
    OtherHost,
    /// Body that is not JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// Nothing of this name.
    #[error("{0}")]
    NotFound(&'static str),
    /// No place for a run.
    #[error("{0}")]
    TooMany(&'static str),
    /// Request that needs the operator's secret.
    #[error("this page has no operator's secret: start it with AGENTWRIT_ADMIN_SECRET")]
    NoOperator,
    /// Failure or rejection of the broker.
    #[error("the broker: {}", .0.problem().map_or_else(|| .0.to_string(), |problem| problem.detail.clone()))]
    Broker(#[from] ClientError),
    /// Failure of the demo.
    #[error("{0}")]
    Internal(&'static str),
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::OtherSite | Self::NoOperator => StatusCode::FORBIDDEN,
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Broker(_) => StatusCode::BAD_GATEWAY,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({"error": self.to_string()}))).into_response()
    }
}
