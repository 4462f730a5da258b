//! Headers, request id and problem of every response.

use agentwrit_protocol::{Problem, RequestId};
use axum::{
    body::Body,
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};

use super::ServiceError;

/// Fallback for paths without a route.
pub async fn unknown_path() -> Response {
    ServiceError::UnknownPath.into_response()
}

/// Fallback for methods that a route does not take.
pub async fn method_not_allowed() -> Response {
    ServiceError::MethodNotAllowed.into_response()
}

/// Sets the request's id and the response's headers; writes the problem of a [`ServiceError`]. No cache stores
/// personal data.
pub async fn finish(mut request: Request, next: Next) -> Response {
    let request_id = sent_id(&request).unwrap_or_else(new_id);
    request.extensions_mut().insert(request_id.clone());
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ServiceError>() {
        response = write_problem(response, &error, &path, &request_id);
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(request_id) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(RequestId::HEADER, request_id);
    }
    response
}

fn write_problem(mut response: Response, error: &ServiceError, path: &str, request_id: &RequestId) -> Response {
    let problem = Problem::new(error.code(), error.to_string(), path, request_id);
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(Problem::CONTENT_TYPE));
    if let ServiceError::NotPermitted(denied) = error {
        // RFC 6750 §3.1, as the layers would have written it. A scope has no character that needs an escape.
        let challenge = format!(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="{}""#, denied.wanted);
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
    }
    *response.body_mut() = Body::from(problem.to_json());
    response
}

fn sent_id(request: &Request) -> Option<RequestId> {
    RequestId::parse(request.headers().get(RequestId::HEADER)?.to_str().ok()?)
}

fn new_id() -> RequestId {
    let mut bytes = [0; 8];
    // The id protects nothing: without randomness the response has an id of zeros.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = [0; 8];
    }
    RequestId::from_bytes(bytes)
}
