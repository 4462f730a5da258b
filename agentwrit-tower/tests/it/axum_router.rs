//! Layers in an axum router: `layer`, `route_layer`, `nest`, `merge`, a layer on one method.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, RequireScope};
use axum::Router;
use axum::routing::{get, put};
use http::{Method, StatusCode};

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{Inner, send};

#[tokio::test]
async fn router_layer_protects_fallback() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let app = Router::new()
        .route("/data", get(inner.handler()))
        .layer(RequireScope::new("read:data:*").verifier(issuer.verifier()));

    assert_eq!(send(&app, get_without_token("/data")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(send(&app, get_without_token("/nowhere")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(inner.calls(), 0);
    let response = send(&app, get_as("/data", &issuer.token(&["read:data:*"]))).await;
    assert_eq!((response.status, &*response.body), (StatusCode::OK, &b"inner"[..]));
    assert_eq!(inner.calls(), 1);
}

#[tokio::test]
async fn route_layer_leaves_unknown_paths_unprotected() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/data", get(Inner::default().handler()))
        .route_layer(RequireScope::new("read:data:*").verifier(issuer.verifier()));

    assert_eq!(send(&app, get_without_token("/data")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(send(&app, get_without_token("/nowhere")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(send(&app, get_as("/data", &issuer.token(&["read:data:*"]))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn method_of_path_may_require_another_scope() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let read = get(inner.handler()).layer(RequireScope::new("read:data:7"));
    let write = put(inner.handler()).layer(RequireScope::new("write:data:7"));
    let app = Router::new().route("/data/7", read.merge(write)).layer(Authenticate::new(issuer.verifier()));

    let reader = issuer.token(&["read:data:7"]);
    assert_eq!(send(&app, get_as("/data/7", &reader)).await.status, StatusCode::OK);
    let mut request = get_as("/data/7", &reader);
    *request.method_mut() = Method::PUT;
    let response = send(&app, request).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(
        response.header("www-authenticate"),
        Some(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="write:data:7""#)
    );
    assert_eq!(inner.calls(), 1);
}

#[tokio::test]
async fn requirements_of_nested_and_merged_routers_add_up() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let records = Router::new().route("/list", get(inner.handler())).layer(RequireScope::new("read:records:*"));
    let labs = Router::new().route("/labs", get(inner.handler())).route_layer(RequireScope::new("read:labs:*"));
    let app = Router::new()
        .nest("/records", records)
        .merge(labs)
        .layer(RequireScope::new("use:api:v1").verifier(issuer.verifier()))
        .route("/health", get(async || "ok"));

    for (path, scopes, status) in [
        ("/records/list", &["use:api:v1", "read:records:*"][..], StatusCode::OK),
        ("/records/list", &["use:api:v1", "read:labs:*"], StatusCode::FORBIDDEN),
        ("/records/list", &["read:records:*"], StatusCode::FORBIDDEN),
        ("/labs", &["use:api:v1", "read:labs:*"], StatusCode::OK),
        ("/labs", &["use:api:v1"], StatusCode::FORBIDDEN),
    ] {
        let response = send(&app, get_as(path, &issuer.token(scopes))).await;
        assert_eq!(response.status, status, "{path} {scopes:?}");
    }
    assert_eq!(inner.calls(), 2);
    assert_eq!(send(&app, get_without_token("/health")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn instance_under_nest_is_path_that_client_sent() {
    let issuer = TestIssuer::new();
    let records =
        Router::new().route("/list", get(Inner::default().handler())).layer(RequireScope::new("read:records:*"));
    let app = Router::new().nest("/records", records).layer(Authenticate::new(issuer.verifier()));
    let response = send(&app, get_as("/records/list?page=2", &issuer.token(&["read:labs:*"]))).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(response.json()["instance"], "/records/list");
}

#[tokio::test]
async fn does_not_pass_body_of_rejected_request_to_handler() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/data", put(async |body: String| body))
        .layer(RequireScope::new("write:data:*").verifier(issuer.verifier()));
    let mut request = get_without_token("/data").map(|_| axum::body::Body::new(Untouchable));
    *request.method_mut() = Method::PUT;
    assert_eq!(send(&app, request).await.status, StatusCode::UNAUTHORIZED);
}

/// Body that must not be polled.
#[derive(Debug)]
struct Untouchable;

impl http_body::Body for Untouchable {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        unreachable!("the body of a rejected request was read")
    }
}
