//! Tokens and revocations of one broker count at every other broker at once.

use std::time::Duration;

use agentwrit_e2e::{Brokers, jti};
use agentwrit_tower::RequireScope;
use agentwrit_verify::remote::Follower;
use axum::{Router, routing::get};
use http::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{SERVER, enrol, within};

const ROUNDS: usize = 20;

#[tokio::test]
async fn token_revoked_at_one_broker_is_rejected_at_every_other_one_at_once() {
    let brokers = Brokers::start(&SERVER, 3).await;
    let admin = brokers.at(0).admin_token().await;
    for round in 0..ROUNDS {
        let [here, there, third] = [0, 1, 2].map(|offset| brokers.at((round + offset) % 3));
        let [by_token, by_agent, released, renewed] = [
            enrol(here, &admin, "one").await,
            enrol(there, &admin, "two").await,
            enrol(third, &admin, "three").await,
            enrol(here, &admin, "four").await,
        ];
        for agent in [&by_token, &by_agent, &released, &renewed] {
            assert!(there.accepts(&agent.token).await);
        }
        assert_eq!(here.revoked(&admin, "token", &jti(&by_token.token)).await, 1);
        assert!(!there.accepts(&by_token.token).await);
        assert_eq!(there.revoked(&admin, "agent", &by_agent.id).await, 1);
        assert!(!third.accepts(&by_agent.token).await);
        assert_eq!(third.release(&released.token).await.status, 204);
        assert!(!here.accepts(&released.token).await);
        here.renewed(&renewed.token).await;
        assert!(!there.accepts(&renewed.token).await);
    }
}

#[tokio::test]
async fn session_is_used_at_each_broker_in_turn() {
    let brokers = Brokers::start(&SERVER, 3).await;
    let [first, second, third] = [0, 1, 2].map(|number| brokers.at(number));
    let admin = first.admin_token().await;
    let app = second.create_app(&admin, "shop", &["read:data:*"]).await;
    let app_token = third.app_token(&app).await;
    let agent = first.enrol(&app_token, "task-1", json!({"allowed_scope": ["read:data:*"]})).await;
    let delegate = second.enrol(&app_token, "task-2", json!({"allowed_scope": ["read:data:x"]})).await;
    let renewed = third.renewed(&agent.token).await;
    let delegated = second.delegated(&renewed, &delegate, &["read:data:x"]).await;
    for broker in [first, second, third] {
        assert!(broker.accepts(&renewed).await && broker.accepts(&delegated).await);
        assert_eq!(broker.post("/v1/token/validate").json(&json!({"token": delegated})).await.json()["valid"], true);
    }
    assert_eq!(third.revoked(&admin, "chain", &agent.id).await, 2);
    for broker in [first, second, third] {
        assert!(!broker.accepts(&renewed).await && !broker.accepts(&delegated).await);
    }
    let deregistered = first.request(Method::DELETE, &format!("/v1/admin/apps/{}", app.app_id)).bearer(&admin);
    assert_eq!(deregistered.await.status, 200);
    let login = json!({"client_id": app.client_id, "client_secret": app.client_secret});
    assert_eq!(second.post("/v1/app/auth").json(&login).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn route_that_follows_one_broker_rejects_token_revoked_at_another() {
    let brokers = Brokers::start(&SERVER, 2).await;
    let admin = brokers.at(0).admin_token().await;
    let follower = Follower::builder(&brokers.at(1).url).issuer("https://agentwrit.local").start().await.unwrap();
    let url = serve(&follower).await;
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let call = async |token: &str| http.get(&url).bearer_auth(token).send().await.unwrap().status().as_u16();
    for _ in 0..ROUNDS {
        let agent = enrol(brokers.at(0), &admin, "task-1").await;
        assert_eq!(call(&agent.token).await, 200);
        assert_eq!(brokers.at(0).revoked(&admin, "agent", &agent.id).await, 1);
        within(Duration::from_secs(2), "the route rejects it", async || call(&agent.token).await == 401).await;
    }
}

/// Serves a route that requires `read:data:*`, and returns its address.
async fn serve(follower: &Follower) -> String {
    let layer = RequireScope::new("read:data:*").verifier(follower.verifier().build());
    let routes = Router::new().route("/data", get(|| async { "data" })).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/data", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}
