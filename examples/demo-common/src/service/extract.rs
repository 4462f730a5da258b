//! Extractor of a JSON body.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::{MAX_BODY, ServiceError};

/// Maximum nesting of a body.
const MAX_DEPTH: usize = 4;

/// JSON object of known members, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "handlers take it apart")]
pub struct Object<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Object<T> {
    type Rejection = ServiceError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ServiceError> {
        let body = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ServiceError::TooLarge { limit: MAX_BODY },
            _ => ServiceError::invalid("the body could not be read"),
        })?;
        agentwrit_json::object_from_slice(&body, MAX_DEPTH)
            .map(Self)
            .map_err(|error| ServiceError::invalid(error.to_string()))
    }
}
