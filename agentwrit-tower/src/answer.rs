//! From a [`Refusal`] to the response that a client sees: status, challenge (RFC 6750 §3) and problem (RFC 9457).

use std::borrow::Cow;

use agentwrit_verify::Scope;
use agentwrit_verify::problem::{ErrorCode, Problem, RequestId};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::observe;
use crate::refusal::{Refusal, spaced};

const X_REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);

/// The whole response to a refused request, with the refusal itself in its extensions.
pub(crate) fn respond(refusal: Refusal, head: &Parts) -> Response<Full<Bytes>> {
    let request_id = request_id(head);
    let path = path(head);
    observe::refused(&refusal, &request_id, path);

    let answer = Answer::to(&refusal);
    let mut response = Response::new(Full::from(answer.body(path, &request_id)));
    *response.status_mut() = answer.status();
    answer.write_headers(response.headers_mut(), &request_id);
    response.extensions_mut().insert(refusal);
    response
}

/// What a client is told.
struct Answer {
    code: ErrorCode,
    detail: Cow<'static, str>,
    hint: Option<&'static str>,
    challenge: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
}

impl Answer {
    /// The one place where a refusal becomes HTTP.
    fn to(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NoToken(_) => Self {
                hint: Some("send one `Authorization: Bearer <token>` header"),
                challenge: Some(HeaderValue::from_static(r#"Bearer realm="agentwrit""#)),
                ..Self::new(ErrorCode::Unauthorized, "a Bearer token is required")
            },
            Refusal::InvalidToken(_) => Self {
                challenge: Some(HeaderValue::from_static(r#"Bearer realm="agentwrit", error="invalid_token""#)),
                ..Self::new(ErrorCode::Unauthorized, "token verification failed")
            },
            Refusal::InsufficientScope { required, .. } => Self {
                hint: Some("use a token that was granted the scope which the challenge names"),
                challenge: Some(insufficient_scope(required)),
                ..Self::new(ErrorCode::InsufficientScope, refusal.to_string())
            },
            Refusal::Unavailable(_) => Self {
                hint: Some("the token is not at fault: send the same request again later"),
                retry_after: Some(HeaderValue::from_static("5")),
                ..Self::new(ErrorCode::Unavailable, "tokens cannot be verified at present")
            },
            Refusal::MissingLayer => Self::new(ErrorCode::InternalError, "the server made a mistake"),
        }
    }

    fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), hint: None, challenge: None, retry_after: None }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn body(&self, path: &str, request_id: &RequestId) -> Vec<u8> {
        let mut problem = Problem::new(self.code, &*self.detail, path, request_id);
        if let Some(hint) = self.hint {
            problem = problem.with_hint(hint);
        }
        problem.to_json()
    }

    fn write_headers(self, headers: &mut HeaderMap, request_id: &RequestId) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Problem::CONTENT_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        if let Ok(request_id) = HeaderValue::from_str(request_id.as_str()) {
            headers.insert(X_REQUEST_ID, request_id);
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds);
        }
    }
}

/// RFC 6750 §3.1. The characters of a scope need no escape within quotes: that is what RFC 6749 chose them for.
fn insufficient_scope(required: &[Scope]) -> HeaderValue {
    let scopes = spaced(required);
    let challenge = format!(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="{scopes}""#);
    HeaderValue::try_from(challenge)
        .unwrap_or_else(|_| HeaderValue::from_static(r#"Bearer realm="agentwrit", error="insufficient_scope""#))
}

/// The id that a layer outside has given the request, else a valid one of the client's, else a new one.
fn request_id(head: &Parts) -> RequestId {
    let given = || head.extensions.get::<RequestId>().cloned();
    let sent = || RequestId::parse(head.headers.get(X_REQUEST_ID)?.to_str().ok()?);
    given().or_else(sent).unwrap_or_else(new_request_id)
}

fn new_request_id() -> RequestId {
    let mut bytes = [0; 8];
    // The id guards nothing, so a system without randomness still gets its refusal, under an id that shows it.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = [0; 8];
    }
    RequestId::from_bytes(bytes)
}

/// The path that the client sent, where that can be known.
fn path(head: &Parts) -> &str {
    #[cfg(feature = "original-uri")]
    if let Some(axum::extract::OriginalUri(uri)) = head.extensions.get() {
        return uri.path();
    }
    head.uri.path()
}
