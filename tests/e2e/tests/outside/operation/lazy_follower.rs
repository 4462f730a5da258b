//! A service that starts while the broker is down (D14).

use std::time::Duration;

use agentwrit_client::{Client, NewApp};
use agentwrit_e2e::{ADMIN_SECRET, Broker};
use agentwrit_tower::RequireScope;
use agentwrit_verify::remote::Follower;
use axum::{Router, routing::get};
use tokio::{net::TcpListener, time::timeout};

#[tokio::test]
async fn routes_answer_503_until_broker_is_up_and_then_200() {
    // A port that was free a moment ago, for a broker that starts later.
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let url = format!("http://{address}");
    let follower = Follower::builder(&url).issuer("https://agentwrit.local").start_lazily().unwrap();
    let verifier = follower.verifier().build();
    let routes = Router::new()
        .route("/data", get(|| async { "data" }))
        .layer(RequireScope::new("read:data:*").verifier(verifier));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = format!("http://{}/data", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let call = async |token: &str| http.get(&service).bearer_auth(token).send().await.unwrap();

    let early = call("e30.e30.e30").await;
    assert_eq!(early.status(), 503);
    assert!(early.headers().contains_key("retry-after"), "{early:?}");

    let port = address.port().to_string();
    let broker = Broker::start_with(&[("AA_PORT", &port)]).await;
    assert_eq!(broker.url, url);
    timeout(Duration::from_secs(30), follower.ready()).await.unwrap();
    let client = Client::new(&url).unwrap();
    let app = client.admin(ADMIN_SECRET).unwrap().create_app(&NewApp::new("desk", ["read:data:*"]).unwrap()).await;
    let app = app.unwrap();
    let app = client.app(app.record.client_id, app.client_secret).unwrap();
    let agent = app.agent("desk", "task").scope(["read:data:*"]).unwrap().create().await.unwrap();
    assert_eq!(call(agent.token().expose()).await.status(), 200);
}
