//! An event stream and a download of a protected service, while the broker revokes the token that opened them.

use std::{convert::Infallible, time::Duration};

use agentwrit_e2e::Broker;
use agentwrit_tower::{EndWithToken, RequireScope};
use agentwrit_verify::remote::Follower;
use axum::{
    Router,
    body::{Body, Bytes},
    response::sse::{Event, Sse},
    routing::get,
};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::{net::TcpListener, time::timeout};

const PATIENCE: Duration = Duration::from_secs(20);

/// A service that follows the broker, and its address.
async fn service(broker: &Broker) -> (Follower, String) {
    let follower = Follower::builder(&broker.url).issuer("https://agentwrit.local").start().await.unwrap();
    let events = || async {
        Sse::new(stream::iter([Ok::<_, Infallible>(Event::default().data("first"))]).chain(stream::pending()))
    };
    let download = || async {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"first"))]);
        Body::from_stream(first.chain(stream::pending()))
    };
    let app = Router::new()
        .route("/events", get(events))
        .route("/download", get(download))
        .layer(EndWithToken::new())
        .layer(RequireScope::new("read:data:*").verifier(follower.verifier().build()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (follower, url)
}

#[tokio::test]
async fn open_responses_end_when_the_broker_revokes_their_token() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = broker.enrol(&admin, "one", json!({"allowed_scope": ["read:data:*"]})).await;
    let (_follower, url) = service(&broker).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let open = async |path: &str| {
        let mut response = client.get(format!("{url}{path}")).bearer_auth(&agent.token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()).contains("first"));
        response
    };
    let (mut events, mut download) = (open("/events").await, open("/download").await);
    assert_eq!(broker.revoke(&admin, "agent", &agent.id).await.status, 200);
    let end = timeout(PATIENCE, events.chunk()).await.expect("the event stream ends");
    assert!(matches!(end, Ok(None)), "{end:?}");
    let end = timeout(PATIENCE, download.chunk()).await.expect("the download ends");
    assert!(end.is_err(), "a download that was cut must not look complete: {end:?}");
}
