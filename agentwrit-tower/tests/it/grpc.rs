//! A gRPC client gets a gRPC status, as tonic reads it.

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

fn assert_status(answer: &CollectedResponse, code: Code, message: &str) {
    assert_eq!(answer.status, StatusCode::OK);
    let status = tonic::Status::from_header_map(&answer.headers).unwrap();
    assert_eq!((status.code(), status.message()), (code, message));
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let issuer = TestIssuer::new();
    let expired = issuer.token(&["read:data:7"]);
    issuer.clock().advance(Duration::from_secs(301));
    let service = protected(&issuer);
    for content_type in CONTENT_TYPES {
        let answer = send(&service, call(get_without_token("/"), content_type)).await;
        assert_status(&answer, Code::Unauthenticated, "a Bearer token is required");
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.header("www-authenticate"), Some(NO_TOKEN));
        assert_eq!(answer.header("x-request-id"), Some("req-1"));

        let answer = send(&service, call(get("/", &bearer(&expired)), content_type)).await;
        assert_status(&answer, Code::Unauthenticated, "token verification failed");

        let narrow = issuer.token(&["read:data:8"]);
        let answer = send(&service, call(get("/", &bearer(&narrow)), content_type)).await;
        assert_status(&answer, Code::PermissionDenied, "the token lacks the required scope `read:data:7`");
        assert!(matches!(answer.extensions.get(), Some(Rejection::InsufficientScope { .. })));
    }
}

#[tokio::test]
async fn the_others_too() {
    let issuer = TestIssuer::new();
    let token = bearer(&issuer.token(&["read:data:*"]));
    let keyless = Verifier::builder().issuer(TestIssuer::ISSUER).keys(TrustedKeys::following(None));
    let unready = Authenticate::new(keyless.without_revocations().build()).layer(Inner::default().service());
    let answer = send(&unready, call(get("/", &token), "application/grpc")).await;
    assert_status(&answer, Code::Unavailable, "tokens cannot be verified at present");
    assert_eq!(answer.header("retry-after"), Some("5"));

    let forgotten = RequireScope::new("read:data:7").layer(Inner::default().service());
    let answer = send(&forgotten, call(get("/", &token), "application/grpc")).await;
    let message = mistake("no verifier here and no `Authenticate` layer around it", "/")["detail"].clone();
    assert_status(&answer, Code::Internal, message.as_str().unwrap());
    assert_eq!(answer.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoVerifier)));

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
async fn a_message_with_percent_signs_survives() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:100%").verifier(issuer.verifier()).layer(Inner::default().service());
    let answer = send(&service, call(get("/", &bearer(&issuer.token(&["read:data:7"]))), "application/grpc")).await;
    assert_eq!(answer.header("grpc-message"), Some("the token lacks the required scope `read:data:100%25`"));
    assert_status(&answer, Code::PermissionDenied, "the token lacks the required scope `read:data:100%`");
}

#[tokio::test]
async fn the_answer_ends_with_its_headers() {
    let response =
        protected(&TestIssuer::new()).oneshot(call(get_without_token("/"), "application/grpc")).await.unwrap();
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn a_rendering_closure_is_not_asked() {
    let service = RequireScope::new("read:data:7")
        .verifier(TestIssuer::new().verifier())
        .on_rejection(|_, _| Response::new("welcome"))
        .layer(Inner::default().service());
    let answer = send(&service, call(get_without_token("/"), "application/grpc")).await;
    assert_status(&answer, Code::Unauthenticated, "a Bearer token is required");
}

#[tokio::test]
async fn other_content_types_get_http() {
    for content_type in ["application/json", "application/grpcx", "text/application/grpc", "application/grp"] {
        let answer = send(&protected(&TestIssuer::new()), call(get_without_token("/"), content_type)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{content_type}");
        assert_eq!(answer.header("grpc-status"), None);
    }
}

/// A proxy that asks for leave (`auth_request`, `forwardAuth`) does so with a `GET`, the stranger's content type in it, and
/// goes by the status.
#[tokio::test]
async fn what_is_no_post_is_no_call_and_never_200() {
    let issuer = TestIssuer::new();
    for content_type in CONTENT_TYPES {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS] {
            let mut request = call(get_without_token("/"), content_type);
            *request.method_mut() = method;
            let answer = send(&protected(&issuer), request).await;
            assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::UNAUTHORIZED, None));
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
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
        let answer = send(&protected(&issuer), request).await;
        assert_eq!(
            (answer.status, answer.header("grpc-status")),
            (StatusCode::UNAUTHORIZED, None),
            "{version:?} {te:?}"
        );
        assert_eq!(answer.json()["error_code"], "unauthorized");
    }
}

#[tokio::test]
async fn a_service_with_tonics_body_is_wrapped_like_any_other() {
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

/// As `tonic-build` makes one: with a name, which the router goes by.
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
async fn it_stands_around_tonics_router_and_a_service_within_it() {
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
