//! Credentials that are judged by what every broker has acknowledged.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::header::AUTHORIZATION;

use super::{Shared, errors::HttpError};
use crate::service::Error;

/// Brings the revocations in memory up to date before the token of a request is judged. If the database does not respond,
/// the request is rejected: a revocation may be missing.
pub(super) async fn confirm(State(services): State<Shared>, request: Request, next: Next) -> Response {
    if request.headers().contains_key(AUTHORIZATION)
        && let Err(error) = services.ledger.confirm().await
    {
        return HttpError::from(Error::from(error)).into_response();
    }
    next.run(request).await
}
