//! Tests of `docs/order-of-layers.md`, whose code is excerpts of this file.

use agentwrit_tower::verify::Verifier;
use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, AuthenticateService, RequireScope};
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Method, Request, StatusCode, Version};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{CollectedResponse, send};

// ANCHOR: axum
fn axum_app(verifier: Verifier) -> Router {
    let records = Router::new()
        .route("/records/{id}", get(async || "a record"))
        // On the route: only here are its parameters known.
        .route_layer(RequireScope::new("read:records:{id}"));
    let audit = Router::new().route("/audit", get(async || "the trail")).layer(RequireScope::new("read:audit:*"));
    Router::new()
        .merge(records)
        .merge(audit)
        // One verification for all of them; a route added above this line is protected.
        .layer(Authenticate::new(verifier))
        // Routes added below are open, on purpose.
        .route("/health", get(async || "fine"))
}
// ANCHOR_END: axum

// ANCHOR: cors
fn cors_app(verifier: Verifier) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::exact("https://app.example".parse().expect("an origin")))
        .allow_methods([Method::GET])
        .allow_headers([http::header::AUTHORIZATION]);
    Router::new()
        .route("/data", get(async || "data"))
        .layer(RequireScope::new("read:data:*").verifier(verifier))
        // Added last, so it is outside: it responds to preflights, and its headers are on rejections too.
        .layer(cors)
}
// ANCHOR_END: cors

// ANCHOR: fallback
fn fallback_app(verifier: Verifier) -> Router {
    Router::new()
        .route("/data", get(async || "data"))
        // Before `layer`, which then protects it: without a token an unknown path is 401, with one it is 404.
        .fallback(async || (StatusCode::NOT_FOUND, "nothing here"))
        .layer(RequireScope::new("read:data:*").verifier(verifier))
}
// ANCHOR_END: fallback

/// Service of the form that `tonic-build` generates.
#[derive(Clone, Debug)]
struct Greeter;

impl tonic::server::NamedService for Greeter {
    const NAME: &'static str = "greet.v1.Greeter";
}

impl tower::Service<Request<tonic::body::Body>> for Greeter {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<tonic::body::Body>) -> Self::Future {
        std::future::ready(Ok(tonic::Status::ok("").into_http()))
    }
}

// ANCHOR: tonic
use tonic::service::{LayerExt, Routes}; // `LayerExt` has `named_layer`
use tower_layer::Layer;

fn tonic_app(verifier: Verifier, greeter: Greeter) -> AuthenticateService<Routes> {
    // `named_layer` keeps the service's name, which tonic routes by; `layer` would lose it.
    let greeter = RequireScope::new("call:greeter:{method}").path("/greet.v1.Greeter/{method}").named_layer(greeter);
    // Around all services, reflection and health included.
    Authenticate::new(verifier).layer(Routes::new(greeter))
}
// ANCHOR_END: tonic

fn preflight() -> Request<Body> {
    let mut request = get_without_token("/data");
    *request.method_mut() = Method::OPTIONS;
    for (name, value) in [
        ("origin", "https://app.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

fn allowed_origin(response: &CollectedResponse) -> Option<&str> {
    response.header("access-control-allow-origin")
}

#[tokio::test]
async fn cors_layer_outside_responds_to_preflights_and_marks_rejections() {
    let issuer = TestIssuer::new();
    let app = cors_app(issuer.verifier());
    let response = send(&app, preflight()).await;
    assert_eq!((response.status, allowed_origin(&response)), (StatusCode::OK, Some("https://app.example")));
    let mut request = get_without_token("/data");
    request.headers_mut().insert("origin", "https://app.example".parse().unwrap());
    let response = send(&app, request).await;
    assert_eq!((response.status, allowed_origin(&response)), (StatusCode::UNAUTHORIZED, Some("https://app.example")));
    assert_eq!(send(&app, get_as("/data", &issuer.token(&["read:data:*"]))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn cors_layer_inside_leaves_preflights_unauthorized() {
    let app = Router::new()
        .route("/data", get(async || "data"))
        .layer(CorsLayer::permissive())
        .layer(RequireScope::new("read:data:*").verifier(TestIssuer::new().verifier()));
    let response = send(&app, preflight()).await;
    assert_eq!((response.status, allowed_origin(&response)), (StatusCode::UNAUTHORIZED, None));
}

#[tokio::test]
async fn routes_above_the_layer_are_protected_and_those_below_are_open() {
    let issuer = TestIssuer::new();
    let app = axum_app(issuer.verifier());
    for (path, status) in
        [("/records/7", StatusCode::UNAUTHORIZED), ("/audit", StatusCode::UNAUTHORIZED), ("/health", StatusCode::OK)]
    {
        assert_eq!(send(&app, get_without_token(path)).await.status, status, "{path}");
    }
    let token = issuer.token(&["read:records:7"]);
    for (path, status) in
        [("/records/7", StatusCode::OK), ("/records/8", StatusCode::FORBIDDEN), ("/audit", StatusCode::FORBIDDEN)]
    {
        assert_eq!(send(&app, get_as(path, &token)).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn fallback_is_protected_by_layer_and_not_by_route_layer() {
    let issuer = TestIssuer::new();
    let app = fallback_app(issuer.verifier());
    assert_eq!(send(&app, get_without_token("/nowhere")).await.status, StatusCode::UNAUTHORIZED);
    let response = send(&app, get_as("/nowhere", &issuer.token(&["read:data:*"]))).await;
    assert_eq!((response.status, &*response.body), (StatusCode::NOT_FOUND, &b"nothing here"[..]));

    let app = Router::new()
        .route("/data", get(async || "data"))
        .route_layer(RequireScope::new("read:data:*").verifier(issuer.verifier()));
    assert_eq!(send(&app, get_without_token("/nowhere")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(send(&app, get_without_token("/data")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn named_layer_protects_each_method_of_tonic_service() {
    let issuer = TestIssuer::new();
    let app = tonic_app(issuer.verifier(), Greeter);
    let token = issuer.token(&["call:greeter:Hello"]);
    for (method, code) in [("Hello", tonic::Code::Ok), ("Goodbye", tonic::Code::PermissionDenied)] {
        let mut request: Request<tonic::body::Body> =
            crate::support::get(&format!("/greet.v1.Greeter/{method}"), &crate::support::bearer(&token));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let response = send(&app, request).await;
        assert_eq!(tonic::Status::from_header_map(&response.headers).unwrap().code(), code, "{method}");
    }
}
