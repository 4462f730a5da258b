//! Responses to requests that only read: the bearer's token is valid when the response begins, not only when the request
//! arrived.
//!
//! A list waits for the store, and a confirmation for verifiers, up to 30 s. Requests that change something are judged again in
//! their transaction ([`checks`](crate::service)); their responses report what was done.

use agentwrit_tower::{Rejection, Verified};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Shared, errors::HttpError};
use crate::service::Error;

/// Replaces the response to a request that only reads by a rejection if the token was revoked, has expired, or lost its key
/// meanwhile. Beneath the layer that judges the token.
pub(super) async fn recheck(State(services): State<Shared>, request: Request, next: Next) -> Response {
    let bearer = request.extensions().get::<Verified>().cloned().filter(|_| request.method().is_safe());
    let response = next.run(request).await;
    let Some(bearer) = bearer else { return response };
    if services.ledger.store.is_shared()
        && let Err(error) = services.ledger.confirm().await
    {
        return HttpError::from(Error::from(error)).into_response();
    }
    match bearer.recheck() {
        Ok(()) => response,
        Err(error) => {
            let mut response = HttpError::from(Error::TokenEnded).into_response();
            // For the audit trail.
            response.extensions_mut().insert(Rejection::InvalidToken(error));
            response
        }
    }
}
