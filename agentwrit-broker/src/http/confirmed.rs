//! Credentials that are judged by what every broker has acknowledged.
//!
//! Only what other brokers acknowledge can make a token invalid that is valid as far as memory shows, or make its key known.
//! No other token has the database read: unauthenticated clients cause no reading.

use agentwrit_verify::VerifyError;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header::AUTHORIZATION};

use super::{Shared, errors::HttpError};
use crate::{
    service::{Error, Services},
    store::{StoreError, When},
};

/// Brings the revocations in memory up to date before the token of a request is judged. If the database does not respond,
/// the request is rejected: a revocation may be missing.
pub(super) async fn confirm(State(services): State<Shared>, request: Request, next: Next) -> Response {
    if let Some(token) = credentials(request.headers())
        && let Err(error) = confirm_for(&services, token).await
    {
        return HttpError::from(Error::from(error)).into_response();
    }
    next.run(request).await
}

/// Brings memory up to date if the judgement of a token depends on it. Nothing of the token is known if its key is not: then
/// a reading is waited for that is made anyway, within milliseconds.
pub(super) async fn confirm_for(services: &Services, token: &str) -> Result<(), StoreError> {
    let when = match services.verifier.verify(token) {
        // Of a token that is bound to a key only the proof is missing: its judgement follows.
        Ok(_) | Err(VerifyError::ProofRequired { .. }) => When::Now,
        Err(VerifyError::UnknownKey { .. }) => When::Next,
        Err(error) if error.is_unavailable() => When::Next,
        Err(_) => return Ok(()),
    };
    services.ledger.confirm_when(when).await
}

/// Returns what follows the scheme of the request's one `Authorization` header. The layers reject several headers, and check
/// the scheme.
fn credentials(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (_, token) = value.to_str().ok()?.split_once(' ')?;
    Some(token.trim_start_matches(' '))
}
