//! A service's own words for a refusal: whatever it says, the verdict stands.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::verify::{TrustedKeys, Verifier};
use agentwrit_tower::{Authenticate, Refusal, RequireScope, Verified};
use axum::Router;
use axum::routing::get;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tower_layer::Layer;

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{INVALID_TOKEN, Inner, NO_TOKEN, bearer, get as plain_get, get_without_token as plain, send};

/// Tries to let everybody in.
fn wide_open(_: &Refusal, _: &Parts) -> Response<&'static str> {
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
async fn status_and_challenge_cannot_be_dropped() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:7")
        .verifier(issuer.verifier())
        .on_refusal(wide_open)
        .layer(Inner::default().service());
    let insufficient = r#"Bearer realm="agentwrit", error="insufficient_scope", scope="read:data:7""#;
    for (request, status, challenge) in [
        (plain("/"), StatusCode::UNAUTHORIZED, NO_TOKEN),
        (plain_get("/", "Bearer a.b.c"), StatusCode::UNAUTHORIZED, INVALID_TOKEN),
        (plain_get("/", &bearer(&issuer.token(&["read:data:8"]))), StatusCode::FORBIDDEN, insufficient),
    ] {
        let answer = send(&service, request).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (status, Some(challenge)));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-request-id"), Some("req-1"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, None));
        // Its words and its own headers stay.
        assert_eq!((answer.header("content-type"), answer.header("x-own")), (Some("text/html"), Some("kept")));
        assert_eq!(&*answer.body, b"welcome");
        assert!(answer.extensions.get::<Refusal>().is_some());
    }
}

#[tokio::test]
async fn nor_can_retry_after_and_allow() {
    let keyless = Verifier::builder().issuer(TestIssuer::ISSUER).keys(TrustedKeys::following(None));
    let service = RequireScope::new("read:data:7")
        .verifier(keyless.without_revocations().build())
        .on_refusal(wide_open)
        .layer(Inner::default().service());
    let token = TestIssuer::new().token(&["read:data:7"]);
    let answer = send(&service, plain_get("/", &bearer(&token))).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("5")));

    let issuer = TestIssuer::new();
    let service = RequireScope::by_method([(Method::PUT, "write:data:7")])
        .verifier(issuer.verifier())
        .on_refusal(wide_open)
        .layer(Inner::default().service());
    let answer = send(&service, plain_get("/", &bearer(&issuer.token(&["write:data:7"])))).await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("PUT")));
}

fn named(name: &'static str) -> impl Fn(&Refusal, &Parts) -> Response<String> + Clone + Send + Sync + 'static {
    move |refusal, head| Response::new(format!("{name}: {} at {}", refusal.reason(), head.uri.path()))
}

#[tokio::test]
async fn the_layers_and_extractors_beneath_say_it_in_the_same_words() {
    let issuer = TestIssuer::new();
    for layer in [Authenticate::new(issuer.verifier()), Authenticate::optional(issuer.verifier())] {
        let app = Router::new()
            .route("/data", get(async || "data").layer(RequireScope::new("read:data:7")))
            .route("/own", get(async || "own").layer(RequireScope::new("read:own:7").on_refusal(named("inner"))))
            .route("/who", get(async |_: Verified| "who"))
            .layer(layer.on_refusal(named("outer")));
        let token = issuer.token(&["read:x:y"]);
        let body = async |request| String::from_utf8(send(&app, request).await.body.to_vec()).unwrap();
        assert_eq!(body(get_as("/data", &token)).await, "outer: insufficient_scope at /data");
        assert_eq!(body(get_as("/own", &token)).await, "inner: insufficient_scope at /own");
        assert_eq!(body(get_without_token("/data")).await, "outer: no_token at /data");
        assert_eq!(body(get_without_token("/who")).await, "outer: no_token at /who");
    }
}
