//! The body of a rejected request is drained, within limits, while the response is on its way (RFC 9112 §9.6).

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{LingeringBody, RequireScope, RequireScopeService};
use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::Full;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tower::util::ServiceFn;
use tower::{ServiceExt, service_fn};
use tower_layer::Layer;

const PART: usize = 64 * 1024;
const LIMIT: usize = 8 * 1024 * 1024;

/// Body of parts, each `pause` after the previous one, which reports the number of parts read when it is dropped.
struct Parts {
    left: usize,
    read: usize,
    pause: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    dropped: Option<oneshot::Sender<usize>>,
}

impl Parts {
    fn new(count: usize, pause: Duration) -> (Self, oneshot::Receiver<usize>) {
        let (dropped, read) = oneshot::channel();
        (Self { left: count, read: 0, pause, timer: None, dropped: Some(dropped) }, read)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.dropped.take().unwrap().send(self.read).ok();
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        std::task::ready!(timer.as_mut().poll(cx));
        self.timer = None;
        self.left -= 1;
        self.read += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; PART])))))
    }
}

type Inner = fn(Request<Parts>) -> Ready<Result<Response<Full<Bytes>>, Infallible>>;

fn protected() -> RequireScopeService<ServiceFn<Inner>> {
    let inner: Inner = |_| ready(Ok(Response::new(Full::default())));
    RequireScope::new("read:data:7").verifier(TestIssuer::new().verifier()).layer(service_fn(inner))
}

async fn reject(request: Request<Parts>) {
    assert_eq!(protected().oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn drains_body_of_rejected_request_without_delaying_response() {
    let (body, read) = Parts::new(20, Duration::from_millis(200));
    let begun = Instant::now();
    reject(Request::post("/").body(body).unwrap()).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(read.await, Ok(20));
    assert!(begun.elapsed() >= Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn stops_draining_after_8_mib() {
    let (body, read) = Parts::new(usize::MAX, Duration::ZERO);
    reject(Request::post("/").body(body).unwrap()).await;
    assert_eq!(read.await, Ok(LIMIT / PART + 1));
}

#[tokio::test(start_paused = true)]
async fn stops_draining_after_5_seconds() {
    let (body, read) = Parts::new(usize::MAX, Duration::from_secs(2));
    let begun = Instant::now();
    reject(Request::post("/").body(body).unwrap()).await;
    assert_eq!(read.await, Ok(2));
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn reads_nothing_of_body_that_awaits_100_continue() {
    let (body, read) = Parts::new(20, Duration::ZERO);
    reject(Request::post("/").header(EXPECT, "100-continue").body(body).unwrap()).await;
    assert_eq!(read.await, Ok(0));
}

#[test]
fn drops_body_outside_of_runtime() {
    let (body, mut read) = Parts::new(20, Duration::ZERO);
    let rejected = protected().oneshot(Request::post("/").body(body).unwrap());
    let mut rejected = std::pin::pin!(rejected);
    assert!(rejected.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
    assert_eq!(read.try_recv(), Ok(0));
}

#[tokio::test(start_paused = true)]
async fn wrapped_body_is_drained_once_when_dropped_unread_or_half_read() {
    for read_before in [0, 3] {
        for (expect, awaited) in [(false, true), (true, read_before > 0)] {
            let (body, read) = Parts::new(usize::MAX, Duration::ZERO);
            let mut request = Request::post("/").body(body).unwrap();
            if expect {
                request.headers_mut().insert(EXPECT, "100-continue".parse().unwrap());
            }
            let mut request = LingeringBody::wrap(request);
            for _ in 0..read_before {
                let frame = std::future::poll_fn(|cx| Pin::new(request.body_mut()).poll_frame(cx)).await;
                assert!(frame.is_some());
            }
            let layer = RequireScope::new("read:data:7").verifier(TestIssuer::new().verifier());
            let inner = service_fn(|_: Request<LingeringBody<Parts>>| async {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            });
            layer.layer(inner).oneshot(request).await.unwrap();
            let drained = if awaited { LIMIT / PART + 1 } else { 0 };
            assert_eq!(read.await, Ok(read_before + drained), "{read_before} {expect}");
        }
    }
}
