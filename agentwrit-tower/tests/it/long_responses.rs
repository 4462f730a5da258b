//! Responses that go on after their token has ended: `EndWithToken`, `Verified::ended`, `Verified::recheck`.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentwrit_tower::verify::feed::Staleness;
use agentwrit_tower::verify::testing::{TestFollower, TestIssuer};
use agentwrit_tower::verify::{Level, VerifyError};
use agentwrit_tower::{
    Authenticate, EndWithToken, EndWithTokenError, Misconfiguration, Rejection, RequireScope, TokenEnd, Verified,
};
use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::support::axum::get_without_token as plain_axum;
use crate::support::{Inner, bearer, get as get_as, get_without_token, send};

const SCOPE: &str = "read:events:*";

type Frames = futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>;

fn one() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(b"one"))
}

/// One frame, then pending for ever.
fn idle() -> Frames {
    stream::iter([Ok(one())]).chain(stream::pending()).boxed()
}

/// Endless sequence of frames.
fn busy() -> Frames {
    stream::repeat_with(|| Ok(one())).boxed()
}

/// Returns the response of a service that streams `frames` as `content_type` behind an [`EndWithToken`].
async fn respond(
    authenticate: Authenticate,
    request: Request<Empty<Bytes>>,
    content_type: &'static str,
    frames: fn() -> Frames,
    end: EndWithToken,
) -> impl Body<Data = Bytes, Error = impl std::fmt::Debug + IntoEnd> + Unpin {
    let service = ServiceBuilder::new().layer(authenticate).layer(end).service_fn(move |_: Request<Empty<Bytes>>| {
        let response = Response::builder().header("content-type", content_type);
        ready(Ok::<_, Infallible>(response.body(StreamBody::new(frames())).unwrap()))
    });
    let response = service.oneshot(request).await.unwrap_or_else(|never| match never {});
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

trait IntoEnd {
    fn into_end(self) -> VerifyError;
}

impl IntoEnd for EndWithTokenError<Infallible> {
    fn into_end(self) -> VerifyError {
        let EndWithTokenError::TokenEnded(error) = self else { unreachable!("these streams never fail") };
        error
    }
}

/// Returns an open response with a valid token.
async fn open(
    issuer: &TestIssuer,
    content_type: &'static str,
    frames: fn() -> Frames,
) -> impl Body<Data = Bytes, Error = impl std::fmt::Debug + IntoEnd> + Unpin {
    let request = get_as("/", &bearer(&issuer.token(&[SCOPE])));
    let mut body =
        respond(Authenticate::new(issuer.verifier()), request, content_type, frames, EndWithToken::new()).await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    body
}

fn revoke_everything(issuer: &TestIssuer) {
    issuer.clock().advance(Duration::from_secs(1));
    issuer.revoke(Level::Issuer, "");
}

#[tokio::test(start_paused = true)]
async fn idle_event_stream_ends_within_a_second_of_revocation() {
    let issuer = TestIssuer::new();
    let mut body = open(&issuer, "text/event-stream; charset=utf-8", idle).await;
    assert!(timeout(Duration::from_secs(100), body.frame()).await.is_err(), "a live token ends nothing");
    revoke_everything(&issuer);
    let revoked = Instant::now();
    assert!(body.frame().await.is_none());
    assert!(revoked.elapsed() <= TokenEnd::DEFAULT_INTERVAL, "{:?}", revoked.elapsed());
    assert!(body.is_end_stream() && body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn body_ends_in_error_before_next_frame_when_token_is_revoked() {
    let issuer = TestIssuer::new();
    let mut body = open(&issuer, "application/json", busy).await;
    assert!(body.frame().await.unwrap().is_ok());
    revoke_everything(&issuer);
    let error = body.frame().await.unwrap().err().unwrap().into_end();
    assert!(matches!(error, VerifyError::Revoked { level: Level::Issuer, .. }), "{error:?}");
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn idle_body_ends_at_expiry_with_any_interval() {
    let issuer = TestIssuer::new();
    let request = get_as("/", &bearer(&issuer.token(&[SCOPE])));
    let life = issuer.verifier().verify_token(&issuer.token(&[SCOPE])).unwrap().expires_in();
    let end = EndWithToken::new().check_every(Duration::from_secs(1_000_000));
    let mut body = respond(Authenticate::new(issuer.verifier()), request, "video/mp4", idle, end).await;
    assert!(body.frame().await.unwrap().is_ok());
    let started = Instant::now();
    assert!(timeout(Duration::from_millis(1), body.frame()).await.is_err());
    issuer.clock().advance(life);
    let error = body.frame().await.unwrap().err().unwrap().into_end();
    assert!(matches!(error, VerifyError::Expired { .. }), "{error:?}");
    assert!(started.elapsed() <= life + Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn body_ends_when_revocations_are_stale_or_the_key_is_withdrawn() {
    let mut issuer = TestIssuer::new();
    let mut follower = TestFollower::of(&issuer, Staleness::default());
    follower.poll(&issuer).unwrap();
    let open = async || {
        let request = get_as("/", &bearer(&issuer.token(&[SCOPE])));
        let layer = Authenticate::new(follower.verifier().clone());
        let mut body = respond(layer, request, "text/plain", idle, EndWithToken::new()).await;
        assert!(body.frame().await.unwrap().is_ok());
        body
    };
    let (mut stale, mut withdrawn) = (open().await, open().await);
    issuer.clock().advance(Duration::from_secs(31));
    let error = stale.frame().await.unwrap().err().unwrap().into_end();
    assert!(matches!(error, VerifyError::StaleRevocations { .. }), "{error:?}");

    issuer.rotate_key([9; 32]);
    follower.fetch_keys(&issuer);
    follower.poll(&issuer).unwrap();
    assert!(
        timeout(Duration::from_secs(10), withdrawn.frame()).await.is_err(),
        "fresh again, and the key still counts"
    );
    issuer.withdraw_retired_keys();
    follower.poll(&issuer).unwrap();
    let error = withdrawn.frame().await.unwrap().err().unwrap().into_end();
    assert!(matches!(error, VerifyError::UnknownKey { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn grpc_stream_ends_with_unauthenticated_in_its_trailers() {
    let issuer = TestIssuer::new();
    let mut body = open(&issuer, "application/grpc+proto", idle).await;
    revoke_everything(&issuer);
    let trailers: HeaderMap = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "16");
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn ended_body_releases_inner_body() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Cursor;
    impl Drop for Cursor {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
    let issuer = TestIssuer::new();
    let frames = || {
        let cursor = Cursor;
        idle()
            .inspect(move |_| {
                let _held = &cursor;
            })
            .boxed()
    };
    let mut body = open(&issuer, "text/event-stream", frames).await;
    revoke_everything(&issuer);
    assert!(body.frame().await.is_none());
    assert_eq!(DROPPED.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn passes_body_of_request_without_token_unchanged() {
    let issuer = TestIssuer::new();
    let layer = Authenticate::optional(issuer.verifier());
    let mut body = respond(layer, get_without_token("/"), "text/plain", busy, EndWithToken::new()).await;
    revoke_everything(&issuer);
    for _ in 0..3 {
        assert!(body.frame().await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn layer_outside_of_the_verifying_one_responds_500() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let app = Router::new()
        .route("/", get(inner.handler()))
        .layer(Authenticate::new(issuer.verifier()))
        .layer(EndWithToken::new());
    let response = send(&app, plain_axum("/")).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoTokenToRecheck)));
    assert_eq!(inner.calls(), 0);
}

/// Runs without a runtime: a timer would panic.
#[test]
fn ready_body_needs_no_timer() {
    let issuer = TestIssuer::new();
    let mut service = ServiceBuilder::new()
        .layer(RequireScope::new(SCOPE).verifier(issuer.verifier()))
        .layer(EndWithToken::new())
        .service(Inner::default().service());
    let request = get_as("/", &bearer(&issuer.token(&[SCOPE])));
    let response = service.call(request).now_or_never().unwrap().unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(5));
    let body = response.into_body().collect().now_or_never().unwrap().unwrap();
    assert_eq!(body.to_bytes(), "inner");
}

#[tokio::test(start_paused = true)]
async fn ended_returns_same_reason_when_polled_again() {
    let issuer = TestIssuer::new();
    let caller = agentwrit_tower::testing::verified(&issuer, &[SCOPE]);
    assert_eq!(caller.recheck(), Ok(()));
    let mut ended = caller.ended();
    assert!(timeout(Duration::from_secs(60), &mut ended).await.is_err());
    revoke_everything(&issuer);
    let reason = (&mut ended).await;
    assert!(matches!(reason, VerifyError::Revoked { .. }), "{reason:?}");
    assert_eq!(caller.recheck(), Err(reason.clone()));
    assert_eq!(ended.await, reason);
}

async fn socket(caller: Verified, upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.on_upgrade(async move |mut socket: WebSocket| {
        let mut ended = caller.ended().check_every(Duration::from_millis(20));
        loop {
            tokio::select! {
                biased;
                _ = &mut ended => {
                    let close = CloseFrame { code: close_code::POLICY, reason: "the token has ended".into() };
                    drop(socket.send(Message::Close(Some(close))).await);
                    return;
                }
                message = socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => drop(socket.send(Message::Text(text)).await),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
            }
        }
    })
}

/// Starts a server on a free port, and sends `head` on a connection to it.
async fn connect(app: Router, head: String) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

async fn read_until(connection: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        let byte = timeout(Duration::from_secs(20), connection.read_u8()).await;
        read.push(byte.expect("a response in time").expect("more bytes"));
    }
    read
}

#[tokio::test]
async fn websocket_is_closed_with_policy_violation_when_token_is_revoked() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/socket", any(socket))
        .layer(EndWithToken::new())
        .layer(RequireScope::new(SCOPE).verifier(issuer.verifier()));
    let head = format!(
        "GET /socket HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: {}\r\n\r\n",
        bearer(&issuer.token(&[SCOPE]))
    );
    let mut connection = connect(app, head).await;
    assert!(read_until(&mut connection, b"\r\n\r\n").await.starts_with(b"HTTP/1.1 101 "));
    // A masked text frame, mask 0: it is echoed while the token is good.
    connection.write_all(b"\x81\x82\0\0\0\0hi").await.unwrap();
    assert_eq!(read_until(&mut connection, b"hi").await, b"\x81\x02hi");
    revoke_everything(&issuer);
    let close = read_until(&mut connection, b"ended").await;
    assert_eq!(&close[..4], [0x88, 21, 0x03, 0xf0], "a close frame of code 1008");
}

/// Returns the bytes of a chunked response until the connection closes or the response is complete.
async fn wire(issuer: &TestIssuer, content_type: &'static str) -> Vec<u8> {
    let started = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&started);
    let handler = get(move || {
        notify.notify_one();
        async move {
            (
                [("content-type", content_type)],
                axum::body::Body::from_stream(idle().map(|frame| frame.map(|frame| frame.into_data().unwrap()))),
            )
        }
    });
    let app = Router::new()
        .route("/", handler)
        .layer(EndWithToken::new().check_every(Duration::from_millis(20)))
        .layer(RequireScope::new(SCOPE).verifier(issuer.verifier()));
    let head = format!(
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: {}\r\n\r\n",
        bearer(&issuer.token(&[SCOPE]))
    );
    let mut connection = connect(app, head).await;
    read_until(&mut connection, b"3\r\none\r\n").await;
    started.notified().await;
    revoke_everything(issuer);
    let mut rest = Vec::new();
    // A connection that is reset instead of closed is as broken off.
    drop(timeout(Duration::from_secs(20), connection.read_to_end(&mut rest)).await.expect("it ends in time"));
    rest
}

#[tokio::test]
async fn only_event_stream_ends_complete_on_the_wire() {
    assert_eq!(wire(&TestIssuer::new(), "text/event-stream").await, b"0\r\n\r\n");
    assert_eq!(
        wire(&TestIssuer::new(), "application/json").await,
        b"",
        "no last chunk: the client knows that it was cut"
    );
}

#[tokio::test]
async fn full_bodies_pass_unchanged() {
    let issuer = TestIssuer::new();
    let service = ServiceBuilder::new()
        .layer(Authenticate::new(issuer.verifier()))
        .layer(EndWithToken::new())
        .service_fn(async |_: Request<Empty<Bytes>>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("whole"))));
    let response = send(&service, get_as("/", &bearer(&issuer.token(&[SCOPE])))).await;
    assert_eq!(&*response.body, b"whole");
}
