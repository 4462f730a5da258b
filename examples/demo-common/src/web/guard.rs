//! Check of the host and of the sending site, and the headers that confine a page.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};

use super::PageError;

/// Names of the loopback interface.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

const HEADERS: [(HeaderName, &str); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Confines pages: requests for other hosts than the loopback interface and `hosts`, and requests of other sites, are rejected;
/// every response carries a strict policy.
pub fn confined(routes: Router, hosts: Vec<String>) -> Router {
    routes.layer(middleware::from_fn_with_state(Arc::<[String]>::from(hosts), check))
}

async fn check(State(hosts): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let mut response = match rejection(request.method(), request.headers(), &hosts) {
        None => next.run(request).await,
        Some(rejected) => rejected.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Against DNS rebinding, the host is one of the known names. Against requests that other sites' pages send, a request that
/// changes something is JSON, for which a browser asks first, and its origin is this one.
fn rejection(method: &Method, headers: &HeaderMap, hosts: &[String]) -> Option<PageError> {
    let text = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let host = text(HOST).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    if !LOOPBACK.contains(&name) && !hosts.iter().any(|known| known == name) {
        return Some(PageError::OtherHost);
    }
    if method.is_safe() {
        return None;
    }
    let origin = text(ORIGIN).and_then(|origin| origin.split_once("://"));
    if headers.contains_key(ORIGIN) && origin.is_none_or(|(_, authority)| authority != host) {
        return Some(PageError::OtherSite);
    }
    let media_type = text(CONTENT_TYPE).and_then(|media_type| media_type.split(';').next()).map(str::trim);
    (media_type != Some("application/json")).then_some(PageError::NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_other_hosts_and_other_sites() {
        let json = ("content-type", "application/json");
        let local = ("host", "localhost:5000");
        for (method, sent, status) in [
            (Method::GET, vec![("host", "127.0.0.1:5000")], 200),
            (Method::GET, vec![("host", "localhost")], 200),
            (Method::GET, vec![("host", "[::1]:5000")], 200),
            (Method::GET, vec![("host", "demo.test:5000")], 200),
            (Method::GET, vec![("host", "evil.test:5000")], 421),
            (Method::GET, vec![("host", "localhost.evil.test")], 421),
            (Method::GET, vec![("host", "127.0.0.1.nip.example")], 421),
            (Method::GET, vec![("host", "evil@127.0.0.1")], 421),
            (Method::GET, vec![("host", "127.0.0.1:5000"), ("host", "evil.test")], 421),
            (Method::GET, vec![], 421),
            (Method::POST, vec![local, json], 200),
            (Method::POST, vec![local, ("content-type", "application/json; charset=utf-8")], 200),
            (Method::POST, vec![local, json, ("origin", "http://localhost:5000")], 200),
            (Method::POST, vec![local, json, ("origin", "http://localhost:5001")], 403),
            (Method::POST, vec![local, json, ("origin", "http://evil.test")], 403),
            (Method::POST, vec![local, json, ("origin", "null")], 403),
            (Method::POST, vec![local, json, ("origin", "http://localhost:5000"), ("origin", "http://evil.test")], 403),
            (Method::POST, vec![("host", "evil.test"), json, ("origin", "http://evil.test")], 421),
            (Method::POST, vec![local, ("content-type", "text/plain")], 415),
            (Method::POST, vec![local, ("content-type", "text/plain; application/json")], 415),
            (Method::POST, vec![local], 415),
            (Method::DELETE, vec![local], 415),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &sent {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let rejected = rejection(&method, &headers, &["demo.test".to_owned()]);
            assert_eq!(
                rejected.map_or(200, |rejected| rejected.into_response().status().as_u16()),
                status,
                "{method} {sent:?}"
            );
        }
    }
}
