//! [`Verified`] as an axum extractor.

use std::convert::Infallible;

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http_body_util::Full;

use crate::answer;
use crate::refusal::Refusal;
use crate::verified::Verified;

/// The rejection of a handler that wants [`Verified`] where no layer verifies: 500, logged as an error.
#[derive(Debug, thiserror::Error)]
#[error("no layer around this handler verifies tokens")]
pub struct MissingVerified {
    // Made where the request is at hand: the problem names its path and its id.
    response: Box<http::Response<Full<Bytes>>>,
}

impl<S: Sync> FromRequestParts<S> for Verified {
    type Rejection = MissingVerified;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        head.extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| MissingVerified { response: Box::new(answer::respond(Refusal::MissingLayer, head)) })
    }
}

/// `None` when no layer around the handler verified a token.
impl<S: Sync> OptionalFromRequestParts<S> for Verified {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(head.extensions.get::<Self>().cloned())
    }
}

impl IntoResponse for MissingVerified {
    fn into_response(self) -> Response {
        self.response.map(Body::new)
    }
}
