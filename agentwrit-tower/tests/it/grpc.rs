//! gRPC clients receive a gRPC status that tonic reads.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::verify::{TrustedKeys, Verifier};
use agentwrit_tower::{Authenticate, Misconfiguration, Rejection, RequireScope, RequireScopeService};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::Full;
use tonic::Code;
use tonic::service::{LayerExt, Routes};
use tower::{Service, ServiceExt};
use tower_layer::Layer;

use crate::support::{CollectedResponse, Inner, NO_TOKEN, Plain, bearer, get, get_without_token, mistake, send};

const CONTENT_TYPES: [&str; 4] =
    ["application/grpc", "application/grpc+proto", "application/grpc-web-text", "Application/GRPC"];

fn call(mut request: Request<Full<Bytes>>, content_type: &str) -> Request<Full<Bytes>> {
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/data.v1.Data/Read".parse().unwrap();
    request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
    over_http2(request)
}

fn over_http2<B>(mut request: Request<B>) -> Request<B> {
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert(TE, "trailers".parse().unwrap());
    request
}

fn protected(issuer: &TestIssuer) -> RequireScopeService<Plain> {
    RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(Inner::default().service())
}

fn assert_status(response: &CollectedResponse, code: Code, message: &str) {
    assert_eq!(response.status, StatusCode::OK);
    let status = tonic::Status::from_header_map(&response.headers).unwrap();
    assert_eq!((status.code(), status.message()), (code, message));
    assert!(response.body.is_empty());
}

#[tokio::test]
async fn rejections_of_tokens_have_their_grpc_codes() {
    let issuer = TestIssuer::new();
    let expired = issuer.token(&["read:data:7"]);
    issuer.clock().advance(Duration::from_secs(301));
    let service = protected(&issuer);
    for content_type in CONTENT_TYPES {
        let response = send(&service, call(get_without_token("/"), content_type)).await;
        assert_status(&response, Code::Unauthenticated, "a Bearer token is required");
        assert_eq!(response.header("content-type"), Some(content_type));
        assert_eq!(response.header("www-authenticate"), Some(NO_TOKEN));
        assert_eq!(response.header("x-request-id"), Some("req-1"));

        let response = send(&service, call(get("/", &bearer(&expired)), content_type)).await;
        assert_status(&response, Code::Unauthenticated, "token verification failed");

        let narrow = issuer.token(&["read:data:8"]);
        let response = send(&service, call(get("/", &bearer(&narrow)), content_type)).await;
        assert_status(&response, Code::PermissionDenied, "the token lacks the required scope `read:data:7`");
        assert!(matches!(response.extensions.get(), Some(Rejection::InsufficientScope { .. })));
    }
}

#[tokio::test]
async fn other_rejections_have_their_grpc_codes() {
    let issuer = TestIssuer::new();
    let token = bearer(&issuer.token(&["read:data:*"]));
    let keyless = Verifier::builder().issuer(TestIssuer::ISSUER).keys(TrustedKeys::following(None));
    let unready = Authenticate::new(keyless.without_revocations().build()).layer(Inner::default().service());
    let response = send(&unready, call(get("/", &token), "application/grpc")).await;
    assert_status(&response, Code::Unavailable, "tokens cannot be verified at present");
    assert_eq!(response.header("retry-after"), Some("5"));

    let forgotten = RequireScope::new("read:data:7").layer(Inner::default().service());
    let response = send(&forgotten, call(get("/", &token), "application/grpc")).await;
    let message = mistake("no verifier here and no `Authenticate` layer around it", "/")["detail"].clone();
    assert_status(&response, Code::Internal, message.as_str().unwrap());
    assert_eq!(response.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoVerifier)));

    let by_path = RequireScope::new("read:data:{method}")
        .path("/data.v1.Data/{method}")
        .verifier(issuer.verifier())
        .layer(Inner::default().service());
    let mut request = call(get("/", &token), "application/grpc");
    *request.uri_mut() = "/data.v1.Data/%2A".parse().unwrap();
    assert_status(&send(&by_path, request).await, Code::InvalidArgument, "the path's `method` is not an identifier");
    assert_eq!(&*send(&by_path, call(get("/", &token), "application/grpc")).await.body, b"inner");
}

#[tokio::test]
async fn escapes_percent_signs_in_message() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:100%").verifier(issuer.verifier()).layer(Inner::default().service());
    let response = send(&service, call(get("/", &bearer(&issuer.token(&["read:data:7"]))), "application/grpc")).await;
    assert_eq!(response.header("grpc-message"), Some("the token lacks the required scope `read:data:100%25`"));
    assert_status(&response, Code::PermissionDenied, "the token lacks the required scope `read:data:100%`");
}

#[tokio::test]
async fn response_has_no_body() {
    let response =
        protected(&TestIssuer::new()).oneshot(call(get_without_token("/"), "application/grpc")).await.unwrap();
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn does_not_call_on_rejection_closure() {
    let service = RequireScope::new("read:data:7")
        .verifier(TestIssuer::new().verifier())
        .on_rejection(|_, _| Response::new("welcome"))
        .layer(Inner::default().service());
    let response = send(&service, call(get_without_token("/"), "application/grpc")).await;
    assert_status(&response, Code::Unauthenticated, "a Bearer token is required");
}

#[tokio::test]
async fn responds_with_problem_to_other_content_types() {
    for content_type in ["application/json", "application/grpcx", "text/application/grpc", "application/grp"] {
        let response = send(&protected(&TestIssuer::new()), call(get_without_token("/"), content_type)).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{content_type}");
        assert_eq!(response.header("grpc-status"), None);
    }
}

/// A proxy's authorization request (`auth_request`, `forwardAuth`) is a `GET` with the client's content type, and the
/// proxy acts on the status.
#[tokio::test]
async fn what_is_no_post_is_no_call_and_never_200() {
    let issuer = TestIssuer::new();
    for content_type in CONTENT_TYPES {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS] {
            let mut request = call(get_without_token("/"), content_type);
            *request.method_mut() = method;
            let response = send(&protected(&issuer), request).await;
            assert_eq!((response.status, response.header("grpc-status")), (StatusCode::UNAUTHORIZED, None));
            assert_eq!(response.header("content-type"), Some("application/problem+json"));
        }
    }
}

#[tokio::test]
async fn responds_with_http_status_unless_request_is_http2_with_te_trailers() {
    let issuer = TestIssuer::new();
    for (version, te) in [
        (Version::HTTP_10, Some("trailers")),
        (Version::HTTP_11, Some("trailers")),
        (Version::HTTP_11, None),
        (Version::HTTP_2, None),
        (Version::HTTP_2, Some("gzip")),
    ] {
        let mut request = call(get_without_token("/"), "application/grpc");
        *request.version_mut() = version;
        request.headers_mut().remove(TE);
        if let Some(te) = te {
            request.headers_mut().insert(TE, te.parse().unwrap());
        }
        let response = send(&protected(&issuer), request).await;
        assert_eq!(
            (response.status, response.header("grpc-status")),
            (StatusCode::UNAUTHORIZED, None),
            "{version:?} {te:?}"
        );
        assert_eq!(response.json()["error_code"], "unauthorized");
    }
}

#[tokio::test]
async fn wraps_service_with_body_of_tonic() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(tower::service_fn(
        async |_: Request<tonic::body::Body>| Ok::<_, Infallible>(tonic::Status::ok("").into_http()),
    ));
    let ask = async |token: &str| {
        let mut request: Request<tonic::body::Body> = get("/", &bearer(token));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
        let response: Response<agentwrit_tower::ResponseBody<tonic::body::Body>> =
            service.clone().oneshot(over_http2(request)).await.unwrap();
        tonic::Status::from_header_map(response.headers()).unwrap().code()
    };
    assert_eq!(ask(&issuer.token(&["read:data:7"])).await, Code::Ok);
    assert_eq!(ask(&issuer.token(&["read:data:8"])).await, Code::PermissionDenied);
}

/// Service of the form that `tonic-build` generates: with a name, by which the router selects it.
#[derive(Clone, Debug)]
struct Data;

impl tonic::server::NamedService for Data {
    const NAME: &'static str = "data.v1.Data";
}

impl Service<Request<tonic::body::Body>> for Data {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<tonic::body::Body>) -> Self::Future {
        ready(Ok(tonic::Status::ok("").into_http()))
    }
}

#[tokio::test]
async fn protects_tonic_router_and_named_service() {
    let issuer = TestIssuer::new();
    let by_method = RequireScope::new("call:data:{method}").path("/data.v1.Data/{method}").named_layer(Data);
    let server = Authenticate::new(issuer.verifier()).layer(Routes::new(by_method).prepare());
    let ask = async |path: &str, authorization: &str| {
        let mut request: Request<tonic::body::Body> = get(path, authorization);
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
        tonic::Status::from_header_map(&send(&server, over_http2(request)).await.headers).unwrap().code()
    };
    let token = bearer(&issuer.token(&["call:data:Read"]));
    assert_eq!(ask("/data.v1.Data/Read", &token).await, Code::Ok);
    assert_eq!(ask("/data.v1.Data/Write", &token).await, Code::PermissionDenied);
    assert_eq!(ask("/data.v1.Data/Read", "Bearer a.b.c").await, Code::Unauthenticated);
    assert_eq!(ask("/data.v1.Data/Read/x", &token).await, Code::Unimplemented);
    assert_eq!(ask("/other.v1.Other/Read", &token).await, Code::Unimplemented);
}
