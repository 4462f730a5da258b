//! Count of admitted requests: a cursor is drained when the requests before it have ended, responses included.

use std::convert::Infallible;
use std::future::{pending, ready};

use agentwrit_tower::verify::feed::Staleness;
use agentwrit_tower::verify::testing::{TestFollower, TestIssuer};
use agentwrit_tower::verify::{Level, RevocationList};
use agentwrit_tower::{Authenticate, RequireScope, Verified};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::support::{bearer, get};

struct Scene {
    issuer: TestIssuer,
    follower: TestFollower,
}

impl Scene {
    fn new() -> Self {
        let issuer = TestIssuer::new();
        let mut follower = TestFollower::of(&issuer, Staleness::default());
        follower.feed().list().count_requests();
        follower.poll(&issuer).unwrap();
        Self { issuer, follower }
    }

    fn list(&self) -> &RevocationList {
        self.follower.feed().list()
    }

    /// Revokes something, so that the list reaches the next cursor.
    fn advance(&mut self) {
        self.issuer.revoke(Level::Task, "other");
        self.follower.poll(&self.issuer).unwrap();
    }

    fn drained(&self) -> Option<u64> {
        self.list().drain().map(|cursor| cursor.position())
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        get("/", &bearer(&self.issuer.token(&["read:data:*"])))
    }

    fn authenticate(&self) -> Authenticate {
        Authenticate::new(self.follower.verifier().clone())
    }
}

#[tokio::test]
async fn request_counts_until_its_response_body_has_ended() {
    let mut scene = Scene::new();
    let (sender, frames) = sent_by_test();
    let mut frames = Some(frames);
    let mut service = ServiceBuilder::new()
        .layer(scene.authenticate())
        .layer(RequireScope::new("read:data:7"))
        .service_fn(move |_: Request<Empty<Bytes>>| {
            ready(Ok::<_, Infallible>(Response::new(StreamBody::new(frames.take().unwrap()))))
        });
    let mut response = service.call(scene.request()).await.unwrap();
    scene.advance();
    assert_eq!(scene.drained(), None);
    sender.send(Bytes::from_static(b"part")).unwrap();
    assert!(response.frame().await.is_some());
    assert_eq!(scene.drained(), None, "the body has not ended");
    drop(sender);
    assert!(response.frame().await.is_none());
    assert_eq!(scene.drained(), Some(1), "it has ended and is not dropped yet");
}

#[tokio::test]
async fn dropped_requests_and_responses_have_ended() {
    let mut scene = Scene::new();
    let mut never = ServiceBuilder::new()
        .layer(scene.authenticate())
        .service_fn(|_: Request<Empty<Bytes>>| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let mut call = Box::pin(never.call(scene.request()));
    assert!((&mut call).now_or_never().is_none());
    scene.advance();
    assert_eq!(scene.drained(), None);
    drop(call);
    assert_eq!(scene.drained(), Some(1));

    let mut streams = ServiceBuilder::new().layer(scene.authenticate()).service_fn(|_: Request<Empty<Bytes>>| {
        let frames = stream::pending::<Result<Frame<Bytes>, Infallible>>().boxed();
        ready(Ok::<_, Infallible>(Response::new(StreamBody::new(frames))))
    });
    let response = streams.call(scene.request()).await.unwrap();
    scene.advance();
    assert_eq!(scene.drained(), Some(1));
    drop(response);
    assert_eq!(scene.drained(), Some(2));
}

#[tokio::test]
async fn claims_that_outlive_response_count() {
    let mut scene = Scene::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    let service =
        ServiceBuilder::new().layer(scene.authenticate()).service_fn(move |request: Request<Empty<Bytes>>| {
            sender.send(request.extensions().get::<Verified>().unwrap().clone()).unwrap();
            ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        });
    drop(service.oneshot(scene.request()).await.unwrap());
    let kept = receiver.recv().unwrap();
    scene.advance();
    assert_eq!(scene.drained(), None, "a WebSocket's handler, for one, goes on with the claims");
    drop(kept);
    assert_eq!(scene.drained(), Some(1));
}

#[tokio::test]
async fn rejected_requests_do_not_count() {
    let mut scene = Scene::new();
    let service = ServiceBuilder::new()
        .layer(RequireScope::new("write:data:7").verifier(scene.follower.verifier().clone()))
        .service_fn(|_: Request<Empty<Bytes>>| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    drop(service.clone().oneshot(get("/", "Bearer x.y.z")).await.unwrap());
    drop(service.oneshot(scene.request()).await.unwrap());
    scene.advance();
    assert_eq!(scene.drained(), Some(1));
}

/// A body whose frames are sent by the test.
fn sent_by_test()
-> (tokio::sync::mpsc::UnboundedSender<Bytes>, stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let frames = stream::unfold(receiver, async |mut receiver: tokio::sync::mpsc::UnboundedReceiver<Bytes>| {
        receiver.recv().await.map(|bytes| (Ok(Frame::data(bytes)), receiver))
    });
    (sender, frames.boxed())
}
