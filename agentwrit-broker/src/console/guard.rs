//! The check of the site that a request is of, and the headers that confine the response.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY},
};

use super::{INTERFACE, error::ConsoleError};
use crate::ledger;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                              form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Rejects requests of other sites, and sets the headers that confine a page.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = if is_of_this_site(request.method(), request.headers()) {
        ledger::by_interface(INTERFACE, next.run(request)).await
    } else {
        ConsoleError::OtherSite.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    // Without a referrer the browser would send `Origin: null` with a form.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(OPENER, HeaderValue::from_static("same-origin"));
    headers.insert(RESOURCE, HeaderValue::from_static("same-origin"));
    response
}

/// Returns whether a page of the console may have sent the request. A browser says so in `Sec-Fetch-Site`, an older one in
/// `Origin`; a request that changes something has one of the two. A link of another site may lead to a page, for which
/// the browser sends no cookie.
fn is_of_this_site(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_navigation = method.is_safe() && text(MODE).is_none_or(|mode| mode == "navigate");
    match (headers.get(SITE).map(HeaderValue::as_bytes), headers.get(ORIGIN)) {
        (Some(b"same-origin"), _) => true,
        (Some(b"none"), _) | (None, None) => method.is_safe(),
        (Some(_), _) => is_navigation,
        (None, Some(origin)) => {
            let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            host.is_some() && host == text(HOST)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_requests_of_other_sites() {
        let host = ("host", "broker.test:8080");
        for (method, sent, accepted) in [
            (Method::POST, vec![("sec-fetch-site", "same-origin")], true),
            (Method::POST, vec![("sec-fetch-site", "same-site"), ("origin", "http://broker.test:8080")], false),
            (Method::POST, vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], false),
            (Method::POST, vec![("sec-fetch-site", "none")], false),
            (Method::POST, vec![("origin", "https://broker.test:8080")], true),
            (Method::POST, vec![("origin", "https://broker.test")], false),
            (Method::POST, vec![("origin", "https://evil.test")], false),
            (Method::POST, vec![("origin", "null")], false),
            (Method::POST, vec![], false),
            (Method::GET, vec![], true),
            (Method::GET, vec![("sec-fetch-site", "none")], true),
            (Method::GET, vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], true),
            (Method::GET, vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], false),
            (Method::GET, vec![("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")], false),
            (Method::GET, vec![("origin", "https://evil.test")], false),
        ] {
            let headers: HeaderMap = sent
                .iter()
                .chain([&host])
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(is_of_this_site(&method, &headers), accepted, "{method} {sent:?}");
        }
    }
}
