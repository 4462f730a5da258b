//! Concurrent requests, and requests whose future is dropped.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{RequireScope, Verified};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use tokio::sync::Barrier;
use tower::{Service, ServiceExt, service_fn};
use tower_layer::Layer;

use crate::support::{bearer, get, get_without_token, send};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decides_each_request_by_its_own_token() {
    const REQUESTS: usize = 64;
    let issuer = TestIssuer::new();
    // All accepted requests are inside the handler at once before any response.
    let all_inside = Arc::new(Barrier::new(REQUESTS));
    let service = RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(service_fn(
        move |request: Request<Full<Bytes>>| {
            let all_inside = Arc::clone(&all_inside);
            async move {
                all_inside.wait().await;
                let token_id = request.extensions().get::<Verified>().map(|caller| caller.token_id().to_string());
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(token_id.unwrap_or_default())))
            }
        },
    ));

    let mut requests = tokio::task::JoinSet::new();
    for number in 0..2 * REQUESTS {
        let service = service.clone();
        let granted = number % 2 == 0;
        let mut claims = issuer.claims(&[if granted { "read:data:7" } else { "read:data:8" }]);
        claims.jti = agentwrit_tower::verify::TokenId::from_bytes([u8::try_from(number).unwrap(); 16]);
        let authorization = bearer(&issuer.sign(&claims));
        requests.spawn(async move {
            let response = send(&service, get("/", &authorization)).await;
            if granted {
                assert_eq!(response.status, StatusCode::OK);
                assert_eq!(std::str::from_utf8(&response.body).unwrap(), claims.jti.to_string());
            } else {
                assert_eq!(response.status, StatusCode::FORBIDDEN);
            }
        });
    }
    assert_eq!(requests.join_all().await.len(), 2 * REQUESTS);
}

/// Counts its live instances.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn dropping_future_drops_inner_future_only() {
    let issuer = TestIssuer::new();
    let alive = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&alive);
    let mut service = RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(service_fn(
        move |request: Request<Full<Bytes>>| {
            let guard = Alive::new(&count);
            async move {
                if request.uri().path() == "/for-ever" {
                    std::future::pending::<()>().await;
                }
                drop(guard);
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
            }
        },
    ));
    let authorization = bearer(&issuer.token(&["read:data:7"]));

    let mut waiting = Box::pin(service.ready().await.unwrap().call(get("/for-ever", &authorization)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    drop(waiting);
    assert_eq!(alive.load(Ordering::SeqCst), 0);

    // A rejection that is never polled has no effect either.
    drop(service.ready().await.unwrap().call(get_without_token("/")));
    let response = service.ready().await.unwrap().call(get("/", &authorization)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn rejection_is_ready_at_once() {
    let service =
        service_fn(|_: Request<Empty<Bytes>>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let mut service = RequireScope::new("read:data:7").verifier(TestIssuer::new().verifier()).layer(service);
    let mut future = Box::pin(service.ready().await.unwrap().call(get_without_token("/")));
    assert!(poll_once(future.as_mut()).is_ready());
    assert!(poll_once(future.as_mut()).is_pending(), "polled after the end it waits, it does not panic");
}

/// Polls a future once.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
