//! The documents that verifiers follow: `GET /.well-known/jwks.json` and `GET /v1/revocations`.

use std::time::Duration;

use agentwrit_protocol::limits::MAX_FEED_WAIT;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use data_encoding::HEXLOWER;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use sha2::{Digest, Sha256};

use super::{
    Shared,
    client::Client,
    errors::HttpError,
    large_responses::respond,
    query::{NoParameters, Parameters},
};
use crate::{service::Error, store::When};

const KEY_SET_CACHE: (HeaderName, &str) = (CACHE_CONTROL, "public, max-age=300");

pub(super) async fn key_set(
    State(services): State<Shared>,
    _: NoParameters,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    // Another broker may have announced a key that this one has not read yet, or withdrawn one. A reading is waited for that is
    // made anyway.
    services.ledger.confirm_when(When::Next).await.map_err(Error::from)?;
    let body = services.issuer.ring().published.to_jwks();
    let digest = HEXLOWER.encode(&Sha256::digest(body.as_bytes()));
    let tag = format!("\"{digest}\"");
    if matches_tag(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [KEY_SET_CACHE], [(ETAG, tag)]).into_response());
    }
    Ok(([KEY_SET_CACHE, (CONTENT_TYPE, "application/json")], [(ETAG, tag)], body).into_response())
}

pub(super) async fn revocation_feed(
    State(services): State<Shared>,
    Client(client): Client,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    parameters.only(&["since", "wait"])?;
    let since = parameters.parsed("since", "a cursor: decimal digits", cursor)?;
    let wait = parameters.number("wait", 0, MAX_FEED_WAIT)?.unwrap_or(0);
    let response = services.feed.since(since, Duration::from_secs(wait), client).await?;
    let revalidate = (CACHE_CONTROL, "no-cache");
    let Some(tag) = &response.tag else {
        let fresh = (CACHE_CONTROL, "no-store");
        return Ok(([fresh, (CONTENT_TYPE, "application/jwt")], respond(&response.document)).into_response());
    };
    if matches_tag(&headers, tag) {
        return Ok((StatusCode::NOT_MODIFIED, [revalidate], [(ETAG, tag.clone())]).into_response());
    }
    let headers = [revalidate, (CONTENT_TYPE, "application/jwt")];
    Ok((headers, [(ETAG, tag.clone())], respond(&response.document)).into_response())
}

/// Reads a number, however large: the feed sends a snapshot for a cursor that it cannot serve.
fn cursor(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX))
}

/// Returns whether `If-None-Match` names the tag (RFC 9110 §13.1.2).
fn matches_tag(headers: &HeaderMap, tag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').map(str::trim).any(|offered| offered == "*" || offered.trim_start_matches("W/") == tag)
    })
}
