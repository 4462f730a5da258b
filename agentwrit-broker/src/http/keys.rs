//! `GET /.well-known/jwks.json`: the keys that tokens are verified with.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use data_encoding::HEXLOWER;
use http::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use sha2::{Digest, Sha256};

use super::{Shared, parameters::NoParameters};

const CACHE: (http::HeaderName, &str) = (CACHE_CONTROL, "public, max-age=300");

pub(super) async fn key_set(State(services): State<Shared>, _: NoParameters, headers: HeaderMap) -> Response {
    let body = services.issuer.keys().to_jwks();
    let digest = HEXLOWER.encode(&Sha256::digest(body.as_bytes()));
    let tag = format!("\"{digest}\"");
    if names(&headers, &tag) {
        return (StatusCode::NOT_MODIFIED, [CACHE], [(ETAG, tag)]).into_response();
    }
    ([CACHE, (CONTENT_TYPE, "application/json")], [(ETAG, tag)], body).into_response()
}

/// Whether `If-None-Match` names the tag (RFC 9110 §13.1.2).
pub(super) fn names(headers: &HeaderMap, tag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').map(str::trim).any(|offered| offered == "*" || offered.trim_start_matches("W/") == tag)
    })
}
