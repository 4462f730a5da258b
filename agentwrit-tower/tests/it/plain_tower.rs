//! Layers without axum: any `http` service, any body.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, RequireScope, ResponseBody, Verified};
use bytes::{Buf, Bytes};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_layer::Layer;

use crate::support::{Inner, bearer, get, get_without_token, send};

#[tokio::test]
async fn works_in_service_builder() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = ServiceBuilder::new()
        .layer(Authenticate::new(issuer.verifier()))
        .layer(RequireScope::new("read:data:*"))
        .service(inner.service());

    let response = send(&service, get("/", &bearer(&issuer.token(&["read:data:*"])))).await;
    assert_eq!((response.status, &*response.body), (StatusCode::OK, &b"inner"[..]));
    assert!(response.headers.is_empty(), "an accepted response is passed on as it is: {:?}", response.headers);
    assert_eq!(inner.calls(), 1);
}

#[tokio::test]
async fn does_not_call_inner_service_for_rejected_request() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = RequireScope::new("read:data:*").verifier(issuer.verifier()).layer(inner.service());

    for request in
        [get_without_token("/"), get("/", "Bearer a.b.c"), get("/", &bearer(&issuer.token(&["read:data:7"])))]
    {
        assert!(send(&service, request).await.status.is_client_error());
    }
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn inserts_claims_and_marks_token_sensitive() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:*").verifier(issuer.verifier()).layer(service_fn(
        |request: Request<Full<Bytes>>| async move {
            let subject = request.extensions().get::<Verified>().unwrap().subject().to_string();
            let credentials = format!("{:?}", request.headers().get(AUTHORIZATION).unwrap());
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!("{subject} {credentials}"))))
        },
    ));
    let claims = issuer.claims(&["read:data:*"]);
    let response = send(&service, get("/", &bearer(&issuer.sign(&claims)))).await;
    assert_eq!(std::str::from_utf8(&response.body).unwrap(), format!("{} Sensitive", claims.sub));
}

/// An upgrade to WebSocket needs this: hyper's handle of the connection is such an extension.
#[derive(Clone, Debug, PartialEq)]
struct Upgrade(u8);

#[tokio::test]
async fn passes_accepted_request_unchanged() {
    let issuer = TestIssuer::new();
    let mut request =
        get("/data?page=2", &bearer(&issuer.token(&["read:data:*"]))).map(|_: Empty<Bytes>| "body".to_owned());
    *request.method_mut() = Method::PATCH;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    request.extensions_mut().insert(Upgrade(7));
    let headers = request.headers().clone();

    let service = RequireScope::new("read:data:*").verifier(issuer.verifier()).layer(service_fn(
        move |request: Request<String>| {
            assert_eq!((request.method(), request.version()), (&Method::PATCH, Version::HTTP_2));
            assert_eq!(request.uri(), "/data?page=2");
            assert_eq!(request.headers(), &headers);
            assert_eq!(request.extensions().get(), Some(&Upgrade(7)));
            async move { Ok::<_, Infallible>(Response::new(request.into_body())) }
        },
    ));
    assert_eq!(service.oneshot(request).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn passes_trailers_of_inner_service() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:*").verifier(issuer.verifier()).layer(service_fn(
        |_: Request<Empty<Bytes>>| async {
            let trailers =
                HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("5"))]);
            let body = Full::new(Bytes::from("data")).with_trailers(std::future::ready(Some(Ok(trailers))));
            Ok::<_, Infallible>(Response::new(body))
        },
    ));
    let response = service.oneshot(get("/", &bearer(&issuer.token(&["read:data:*"])))).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap().get("grpc-status").unwrap(), "5");
    assert_eq!(body.to_bytes(), "data");
}

/// Body with a buffer type of its own.
#[derive(Debug, Default)]
struct Letters(VecDeque<u8>);

#[derive(Debug, PartialEq)]
struct Chunk(Bytes);

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

impl Body for Letters {
    type Data = Chunk;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunk>, Infallible>>> {
        let letter = self.0.pop_front();
        Poll::Ready(letter.map(|letter| Ok(Frame::data(Chunk(Bytes::copy_from_slice(&[letter]))))))
    }
}

#[tokio::test]
async fn accepts_any_request_and_response_body() {
    let issuer = TestIssuer::new();
    let service =
        RequireScope::new("read:data:*").verifier(issuer.verifier()).layer(service_fn(|_: Request<Letters>| async {
            Ok::<_, Infallible>(Response::new(Letters(VecDeque::from(*b"abc"))))
        }));

    let accepted = send(&service, get("/", &bearer(&issuer.token(&["read:data:*"])))).await;
    assert_eq!((accepted.status, &*accepted.body), (StatusCode::OK, &b"abc"[..]));
    let rejected = send(&service, get_without_token("/")).await;
    assert_eq!(rejected.json()["error_code"], "unauthorized");
}

#[tokio::test]
async fn passes_response_whose_body_is_no_http_body() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:*")
        .verifier(issuer.verifier())
        .layer(service_fn(|_: Request<Empty<Bytes>>| async { Ok::<_, Infallible>(Response::new(7_u32)) }));
    let response: Response<ResponseBody<u32>> =
        service.oneshot(get("/", &bearer(&issuer.token(&["read:data:*"])))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn rejection_has_exact_size_hint() {
    let service =
        RequireScope::new("read:data:*").verifier(TestIssuer::new().verifier()).layer(Inner::default().service());
    let body = service.oneshot(get_without_token("/")).await.unwrap().into_body();
    let length = body.size_hint().exact().unwrap();
    assert!(!body.is_end_stream());
    assert_eq!(body.collect().await.unwrap().to_bytes().len() as u64, length);
}

/// Fails in `poll_ready`, or in its future.
#[derive(Clone, Debug)]
struct Failing {
    when_ready: bool,
}

impl Service<Request<Empty<Bytes>>> for Failing {
    type Response = Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(if self.when_ready { Err("not ready") } else { Ok(()) })
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        std::future::ready(Err("failed"))
    }
}

#[tokio::test]
async fn passes_errors_of_inner_service() {
    let issuer = TestIssuer::new();
    let layer = RequireScope::new("read:data:*").verifier(issuer.verifier());
    let authorization = bearer(&issuer.token(&["read:data:*"]));
    for (when_ready, error) in [(true, "not ready"), (false, "failed")] {
        let service = layer.layer(Failing { when_ready });
        assert_eq!(service.oneshot(get("/", &authorization)).await.err(), Some(error));
    }
}

/// Is ready only when polled since its last call, and panics when called without.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
}

impl Service<Request<Empty<Bytes>>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        std::future::ready(Ok(Response::new(Full::from("inner"))))
    }
}

#[tokio::test]
async fn calls_service_that_was_ready() {
    let issuer = TestIssuer::new();
    let authorization = bearer(&issuer.token(&["read:data:*"]));
    // `Strict` is not `Clone`: no clone can be called in its place.
    let mut service = RequireScope::new("read:data:*").verifier(issuer.verifier()).layer(Strict::default());
    for (request, status) in [
        (get("/", &authorization), StatusCode::OK),
        (get_without_token("/"), StatusCode::UNAUTHORIZED),
        (get("/", &authorization), StatusCode::OK),
    ] {
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn rejection_leaves_capacity_of_inner_service() {
    let issuer = TestIssuer::new();
    let service = ServiceBuilder::new()
        .layer(RequireScope::new("read:data:*").verifier(issuer.verifier()))
        .concurrency_limit(1)
        .service(Inner::default().service());
    for _ in 0..3 {
        assert_eq!(send(&service, get_without_token("/")).await.status, StatusCode::UNAUTHORIZED);
    }
    let response = send(&service, get("/", &bearer(&issuer.token(&["read:data:*"])))).await;
    assert_eq!(response.status, StatusCode::OK);
}
