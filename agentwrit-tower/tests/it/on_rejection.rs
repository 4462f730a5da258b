//! Rendering of rejections by a closure, which cannot change the decision.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::verify::{TrustedKeys, Verifier, scope};
use agentwrit_tower::{Authenticate, Permits, Rejection, RejectionResponse, RequireScope, TokenSource, Verified};
use axum::Router;
use axum::routing::get;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tower_layer::Layer;

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{INVALID_TOKEN, Inner, NO_TOKEN, bearer, get as plain_get, get_without_token as plain, send};

/// Tries to turn every rejection into a success.
fn wide_open(_: &Rejection, _: &Parts) -> Response<&'static str> {
    Response::builder()
        .status(StatusCode::OK)
        .header("www-authenticate", "None")
        .header("cache-control", "public, max-age=3600")
        .header("retry-after", "0")
        .header("allow", "BREW")
        .header("content-length", "1")
        .header("transfer-encoding", "gzip")
        .header("content-type", "text/html")
        .header("x-own", "kept")
        .body("welcome")
        .unwrap()
}

#[tokio::test]
async fn closure_cannot_change_status_or_challenge() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:7")
        .verifier(issuer.verifier())
        .on_rejection(wide_open)
        .layer(Inner::default().service());
    let insufficient = r#"Bearer realm="agentwrit", error="insufficient_scope", scope="read:data:7""#;
    for (request, status, challenge) in [
        (plain("/"), StatusCode::UNAUTHORIZED, NO_TOKEN),
        (plain_get("/", "Bearer a.b.c"), StatusCode::UNAUTHORIZED, INVALID_TOKEN),
        (plain_get("/", &bearer(&issuer.token(&["read:data:8"]))), StatusCode::FORBIDDEN, insufficient),
    ] {
        let response = send(&service, request).await;
        assert_eq!((response.status, response.header("www-authenticate")), (status, Some(challenge)));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("x-request-id"), Some("req-1"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!((response.header("content-length"), response.header("transfer-encoding")), (None, None));
        // The closure's body and headers stay.
        assert_eq!((response.header("content-type"), response.header("x-own")), (Some("text/html"), Some("kept")));
        assert_eq!(&*response.body, b"welcome");
        assert!(response.extensions.get::<Rejection>().is_some());
    }
}

#[tokio::test]
async fn closure_cannot_change_retry_after_or_allow() {
    let keyless = Verifier::builder().issuer(TestIssuer::ISSUER).keys(TrustedKeys::following(None));
    let service = RequireScope::new("read:data:7")
        .verifier(keyless.without_revocations().build())
        .on_rejection(wide_open)
        .layer(Inner::default().service());
    let token = TestIssuer::new().token(&["read:data:7"]);
    let response = send(&service, plain_get("/", &bearer(&token))).await;
    assert_eq!((response.status, response.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("5")));

    let issuer = TestIssuer::new();
    let service = RequireScope::by_method([(Method::PUT, "write:data:7")])
        .verifier(issuer.verifier())
        .on_rejection(wide_open)
        .layer(Inner::default().service());
    let response = send(&service, plain_get("/", &bearer(&issuer.token(&["write:data:7"])))).await;
    assert_eq!((response.status, response.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("PUT")));
}

fn named(name: &'static str) -> impl Fn(&Rejection, &Parts) -> Response<String> + Clone + Send + Sync + 'static {
    move |rejection, head| Response::new(format!("{name}: {} at {}", rejection.reason(), head.uri.path()))
}

#[tokio::test]
async fn layers_and_extractors_beneath_use_closure() {
    let issuer = TestIssuer::new();
    for layer in [Authenticate::new(issuer.verifier()), Authenticate::optional(issuer.verifier())] {
        let app = Router::new()
            .route("/data", get(async || "data").layer(RequireScope::new("read:data:7")))
            .route("/own", get(async || "own").layer(RequireScope::new("read:own:7").on_rejection(named("inner"))))
            .route("/who", get(async |_: Verified| "who"))
            .layer(layer.on_rejection(named("outer")));
        let token = issuer.token(&["read:x:y"]);
        let body = async |request| String::from_utf8(send(&app, request).await.body.to_vec()).unwrap();
        assert_eq!(body(get_as("/data", &token)).await, "outer: insufficient_scope at /data");
        assert_eq!(body(get_as("/own", &token)).await, "inner: insufficient_scope at /own");
        assert_eq!(body(get_without_token("/data")).await, "outer: no_token at /data");
        assert_eq!(body(get_without_token("/who")).await, "outer: no_token at /who");
    }
}

#[tokio::test]
async fn closure_applies_beneath_layer_that_verifies_again() {
    let issuer = TestIssuer::new();
    let route = || Router::new().route("/", get(async || "data").layer(RequireScope::new("read:data:7")));
    let words = |layer: Authenticate| layer.on_rejection(named("outer"));
    let in_cookie = || TokenSource::cookie("token");
    let token = issuer.token(&["read:x:y"]);
    for inner in [Authenticate::new(issuer.verifier()), Authenticate::optional(issuer.verifier())] {
        let app = route().layer(inner).layer(words(Authenticate::new(issuer.verifier())));
        assert_eq!(&*send(&app, get_as("/", &token)).await.body, b"outer: insufficient_scope at /");
    }
    let without_token = Authenticate::optional(issuer.verifier()).token_source(in_cookie());
    let app = route().layer(without_token).layer(words(Authenticate::new(issuer.verifier())));
    assert_eq!(&*send(&app, get_as("/", &token)).await.body, b"outer: no_token at /");
}

async fn write_note(permits: Permits) -> Result<&'static str, RejectionResponse> {
    permits.permit(&scope!("write:notes:P-7")).map(|_| "written")
}

#[tokio::test]
async fn closure_of_require_scope_applies_beneath_it() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/", get(write_note))
        .layer(RequireScope::new("read:data:7").on_rejection(named("scope")))
        .layer(Authenticate::new(issuer.verifier()).on_rejection(named("outer")));
    let response = send(&app, get_as("/", &issuer.token(&["read:data:7"]))).await;
    assert_eq!((response.status, &*response.body), (StatusCode::FORBIDDEN, &b"scope: insufficient_scope at /"[..]));
    assert_eq!(&*send(&app, get_without_token("/")).await.body, b"outer: no_token at /");
}

/// Everything that the closure receives.
fn shown(_: &Rejection, head: &Parts) -> Response<String> {
    Response::new(format!("{head:?}"))
}

#[tokio::test]
async fn token_is_sensitive_when_closure_prints_request() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/", get(write_note)).layer(RequireScope::new("read:data:7")).layer(
        Authenticate::new(issuer.verifier())
            .token_sources([TokenSource::authorization(), TokenSource::cookie("token")])
            .on_rejection(shown),
    );
    let good = issuer.token(&["read:data:7"]);
    let narrow = issuer.token(&["read:data:8"]);
    let forged = TestIssuer::with_seed([9; 32]).token(&["read:data:7"]);
    for (headers, status) in [
        (vec![("authorization", bearer(&good))], StatusCode::FORBIDDEN),
        (vec![("authorization", bearer(&narrow))], StatusCode::FORBIDDEN),
        (vec![("authorization", bearer(&forged))], StatusCode::UNAUTHORIZED),
        (vec![("cookie", format!("token={forged}"))], StatusCode::UNAUTHORIZED),
        (vec![("authorization", good.clone())], StatusCode::UNAUTHORIZED),
        (vec![("authorization", bearer(&good)), ("authorization", bearer(&narrow))], StatusCode::UNAUTHORIZED),
        (vec![("authorization", bearer(&good)), ("cookie", format!("token={good}"))], StatusCode::BAD_REQUEST),
    ] {
        let mut request = get_without_token("/");
        for (name, value) in headers {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let response = send(&app, request).await;
        assert_eq!(response.status, status);
        let printed = std::str::from_utf8(&response.body).unwrap();
        for token in [&good, &narrow, &forged] {
            assert!(!printed.contains(&token[token.len() - 20..]), "{printed}");
        }
    }
}

#[tokio::test]
async fn permits_shows_closure_headers_without_credentials() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/", get(write_note)).layer(Authenticate::new(issuer.verifier()).on_rejection(shown));
    let mut request = get_as("/", &issuer.token(&["read:data:7"]));
    request.headers_mut().insert("accept-language", "eo".parse().unwrap());
    let response = send(&app, request).await;
    let printed = std::str::from_utf8(&response.body).unwrap();
    assert!(printed.contains(r#""accept-language": "eo""#) && !printed.contains("authorization"), "{printed}");
}
