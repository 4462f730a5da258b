//! Check of the host and of the sending site, and the headers that confine a page.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
};

/// Names of the loopback interface.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

const HEADERS: [(HeaderName, &str); 6] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Rejects requests to other hosts and from other sites, and sets the headers.
pub(super) async fn guard(State(hosts): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let mut response = match reason_to_reject(request.method(), request.headers(), &hosts) {
        None => next.run(request).await,
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Against DNS rebinding, the host is one of the known names. Against requests that other sites' pages send, a request that
/// changes something is JSON, for which a browser asks first, and its origin is this one.
fn reason_to_reject(method: &Method, headers: &HeaderMap, hosts: &[String]) -> Option<&'static str> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    if !LOOPBACK.contains(&name) && !hosts.iter().any(|known| known == name) {
        return Some("this page is for the loopback interface: start it with --host for another name");
    }
    if method.is_safe() {
        return None;
    }
    let origin = headers.get(ORIGIN).map(|_| text(ORIGIN).and_then(|origin| origin.split_once("://")));
    if origin.is_some_and(|origin| origin.is_none_or(|(_, of)| of != host)) {
        return Some("the request comes from another site");
    }
    (text(CONTENT_TYPE) != Some("application/json")).then_some("the request is not JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_other_hosts_and_other_sites() {
        let json = ("content-type", "application/json");
        for (method, sent, accepted) in [
            (Method::GET, vec![("host", "127.0.0.1:5000")], true),
            (Method::GET, vec![("host", "localhost")], true),
            (Method::GET, vec![("host", "[::1]:5000")], true),
            (Method::GET, vec![("host", "demo.test:5000")], true),
            (Method::GET, vec![("host", "evil.test:5000")], false),
            (Method::GET, vec![("host", "localhost.evil.test")], false),
            (Method::GET, vec![], false),
            (Method::POST, vec![("host", "localhost:5000"), json], true),
            (Method::POST, vec![("host", "localhost:5000"), json, ("origin", "http://localhost:5000")], true),
            (Method::POST, vec![("host", "localhost:5000"), json, ("origin", "http://localhost:5001")], false),
            (Method::POST, vec![("host", "localhost:5000"), json, ("origin", "null")], false),
            (Method::POST, vec![("host", "localhost:5000"), ("content-type", "text/plain")], false),
            (Method::POST, vec![("host", "localhost:5000")], false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &sent {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let rejected = reason_to_reject(&method, &headers, &["demo.test".to_owned()]);
            assert_eq!(rejected.is_none(), accepted, "{method} {sent:?}: {rejected:?}");
        }
    }
}
