//! Requests with the header `AgentWrit-At-Least`: `AwaitRevocations`, and the layers that verify.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentwrit_tower::verify::feed::Staleness;
use agentwrit_tower::verify::testing::{TestFollower, TestIssuer};
use agentwrit_tower::verify::{FeedCursor, Level, Verifier};
use agentwrit_tower::{Authenticate, AwaitRevocations, Rejection};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceBuilder};

use crate::support::{Inner, Plain, bearer, get, send};

struct Scene {
    issuer: TestIssuer,
    follower: TestFollower,
    token: String,
}

impl Scene {
    /// The follower's list is one revocation behind.
    fn new() -> Self {
        let issuer = TestIssuer::new();
        let mut follower = TestFollower::of(&issuer, Staleness::default());
        follower.poll(&issuer).unwrap();
        let token = issuer.token(&["read:data:*"]);
        issuer.revoke(Level::Task, "other");
        Self { issuer, follower, token }
    }

    fn verifier(&self) -> Verifier {
        self.follower.verifier().clone()
    }

    fn request(&self, cursors: &[&str]) -> Request<Full<Bytes>> {
        let mut request = get("/", &bearer(&self.token));
        for cursor in cursors {
            request.headers_mut().append(FeedCursor::AT_LEAST, HeaderValue::from_str(cursor).unwrap());
        }
        request
    }
}

/// Service that holds requests, with the layers in their order.
fn holding(
    verifier: Verifier,
    inner: Plain,
) -> impl Service<Request<Full<Bytes>>, Response = Response<impl Body<Error: Debug>>, Error = Infallible> + Clone {
    ServiceBuilder::new()
        .layer(AwaitRevocations::new(verifier.clone()))
        .layer(Authenticate::new(verifier))
        .service(inner)
}

#[tokio::test]
async fn verifying_layer_rejects_cursor_that_list_has_not_reached() {
    let mut scene = Scene::new();
    let inner = Inner::default();
    let service = ServiceBuilder::new().layer(Authenticate::new(scene.verifier())).service(inner.service());
    for reached in ["epoch-0.0", "epoch-0.1"] {
        let response = send(&service, scene.request(&[reached])).await;
        if reached == "epoch-0.0" {
            assert_eq!(response.status, StatusCode::OK);
            continue;
        }
        assert_eq!((response.status, response.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
        assert_eq!(response.json()["error_code"], "unavailable");
        let rejection = response.extensions.get::<Rejection>().unwrap();
        assert_eq!(rejection.reason(), "cursor_not_reached");
        scene.follower.poll(&scene.issuer).unwrap();
        assert_eq!(send(&service, scene.request(&[reached])).await.status, StatusCode::OK);
    }
    let other_epoch = send(&service, scene.request(&["epoch-1.0"])).await;
    assert_eq!(other_epoch.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(inner.calls(), 2);
}

#[tokio::test]
async fn verifying_layer_rejects_malformed_and_repeated_header() {
    let scene = Scene::new();
    let inner = Inner::default();
    let verifier = scene.verifier();
    let plain = ServiceBuilder::new().layer(Authenticate::new(verifier)).service(inner.service());
    let waiting = holding(scene.verifier(), inner.service());
    for cursors in [&["7"][..], &[""], &["epoch-0.00"], &["epoch-0.0", "epoch-0.0"]] {
        for response in [send(&plain, scene.request(cursors)).await, send(&waiting, scene.request(cursors)).await] {
            assert_eq!(response.status, StatusCode::BAD_REQUEST, "{cursors:?}");
            assert_eq!(response.extensions.get(), Some(&Rejection::MalformedCursor));
        }
    }
    let without_token = Request::get("/").header(FeedCursor::AT_LEAST, "7").body(Full::default()).unwrap();
    assert_eq!(send(&plain, without_token).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(inner.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn holds_request_until_list_has_reached_cursor() {
    let scene = Scene::new();
    let inner = Inner::default();
    let service = holding(scene.verifier(), inner.service());
    let request = scene.request(&["epoch-0.1"]);
    let scene = Arc::new(Mutex::new(scene));
    let later = Arc::clone(&scene);
    let begun = Instant::now();
    let polled = async move {
        sleep(Duration::from_millis(300)).await;
        let scene = &mut *later.lock().unwrap();
        scene.follower.poll(&scene.issuer).unwrap();
    };
    let (response, ()) = tokio::join!(send(&service, request), polled);
    assert_eq!(response.status, StatusCode::OK);
    let took = begun.elapsed();
    assert_eq!(took, Duration::from_millis(300), "the change of the list wakes the request");
}

#[tokio::test(start_paused = true)]
async fn holds_request_for_cursor_of_other_epoch_only_while_list_is_stale() {
    let mut scene = Scene::new();
    let inner = Inner::default();
    let service = holding(scene.verifier(), inner.service());
    let begun = Instant::now();
    let response = send(&service, scene.request(&["epoch-1.0"])).await;
    assert_eq!((response.status, begun.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, Duration::ZERO));
    scene.issuer.clock().advance(Duration::from_secs(40));
    let response = send(&service, scene.request(&["epoch-1.0"])).await;
    assert_eq!((response.status, begun.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, AwaitRevocations::MAX_WAIT));
    let begun = Instant::now();
    let request = scene.request(&["epoch-1.0"]);
    let polled = async {
        sleep(Duration::from_millis(300)).await;
        scene.follower.poll(&scene.issuer).unwrap();
    };
    let (response, ()) = tokio::join!(send(&service, request), polled);
    assert_eq!((response.status, begun.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, Duration::from_millis(300)));
}

#[tokio::test(start_paused = true)]
async fn passes_requests_on_when_too_many_are_held() {
    let scene = Scene::new();
    let inner = Inner::default();
    let service = holding(scene.verifier(), inner.service());
    let begun = Instant::now();
    let held: FuturesUnordered<_> =
        (0..AwaitRevocations::MAX_HELD).map(|_| send(&service, scene.request(&["epoch-0.1"]))).collect();
    let others = async {
        tokio::task::yield_now().await;
        let response = send(&service, scene.request(&["epoch-0.1"])).await;
        assert_eq!((response.status, begun.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, Duration::ZERO));
        assert_eq!(send(&service, scene.request(&["epoch-0.0"])).await.status, StatusCode::OK);
    };
    let (held, ()) = tokio::join!(held.collect::<Vec<_>>(), others);
    assert_eq!(held.len(), AwaitRevocations::MAX_HELD);
    assert_eq!(begun.elapsed(), AwaitRevocations::MAX_WAIT, "the held requests were held together");
    let response = send(&service, scene.request(&["epoch-0.1"])).await;
    assert_eq!((response.status, begun.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, 2 * AwaitRevocations::MAX_WAIT));
}

#[tokio::test(start_paused = true)]
async fn rejects_held_request_after_one_second() {
    let scene = Scene::new();
    let inner = Inner::default();
    let service = holding(scene.verifier(), inner.service());
    let begun = Instant::now();
    let response = send(&service, scene.request(&["epoch-0.1"])).await;
    assert_eq!((response.status, response.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
    assert_eq!(begun.elapsed(), AwaitRevocations::MAX_WAIT);
    let begun = Instant::now();
    assert_eq!(send(&service, scene.request(&[])).await.status, StatusCode::OK);
    assert_eq!(begun.elapsed(), Duration::ZERO, "a request without the header is not held");
    assert_eq!(inner.calls(), 1);
}

#[tokio::test]
async fn brokers_own_list_has_each_cursor_and_verifier_without_list_none() {
    let issuer = TestIssuer::new();
    let without = Verifier::builder()
        .issuer(TestIssuer::ISSUER)
        .keys(issuer.key_set())
        .without_revocations()
        .clock(issuer.clock().clone())
        .build();
    for (verifier, expected) in [(issuer.verifier(), StatusCode::OK), (without, StatusCode::SERVICE_UNAVAILABLE)] {
        let service = ServiceBuilder::new().layer(Authenticate::new(verifier)).service(Inner::default().service());
        let mut request = get("/", &bearer(&issuer.token(&["read:data:*"])));
        request.headers_mut().insert(FeedCursor::AT_LEAST, HeaderValue::from_static("epoch-0.9"));
        assert_eq!(send(&service, request).await.status, expected);
    }
}
