//! B5: launch tokens die with the credential that asked for them.

use agentwrit_e2e::{Broker, Registration, jti};
use http::Method;
use serde_json::json;

const SCOPES: [&str; 1] = ["read:data:x"];

/// A launch token for any number of agents.
async fn mint(broker: &Broker, bearer: &str, path: &str) -> String {
    let body = json!({"agent_name": "a test", "allowed_scope": SCOPES, "ttl": 600, "single_use": false});
    let answer = broker.post(path).bearer(bearer).json(&body).await;
    assert_eq!(answer.status, 201);
    answer.json().get("launch_token").and_then(|token| token.as_str()).unwrap().to_owned()
}

async fn register(broker: &Broker, launch_token: &str) -> agentwrit_e2e::Response {
    let registration = Registration::new(launch_token, &broker.nonce().await, &SCOPES);
    broker.post("/v1/register").json(&registration.0).await
}

#[tokio::test]
async fn rejects_launch_token_after_its_app_was_revoked_at_agent_level() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &SCOPES).await;
    let other = broker.create_app(&admin, "other", &SCOPES).await;
    let launch_token = mint(&broker, &broker.app_token(&app).await, "/v1/app/launch-tokens").await;
    let of_other = mint(&broker, &broker.app_token(&other).await, "/v1/app/launch-tokens").await;
    assert_eq!(register(&broker, &launch_token).await.status, 200);

    assert_eq!(broker.revoked(&admin, "agent", &format!("app:{}", app.app_id)).await, 1);
    register(&broker, &launch_token).await.refused(401, "unauthorized", "launch token not found");
    assert_eq!(register(&broker, &of_other).await.status, 200);
    let events = broker.events(&admin, "event_type=token_revoked").await;
    let detail = events.last().unwrap()["detail"].as_str().unwrap();
    assert!(detail.contains("killed=1 launch_tokens_deleted=1"), "{detail}");
    // The app is not locked out.
    let again = mint(&broker, &broker.app_token(&app).await, "/v1/app/launch-tokens").await;
    assert_eq!(register(&broker, &again).await.status, 200);
}

#[tokio::test]
async fn rejects_launch_token_after_issuing_session_was_revoked() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &SCOPES).await;
    let (leaked, kept) = (broker.app_token(&app).await, broker.app_token(&app).await);
    let renewed = broker.renewed(&leaked).await;
    let by_leaked = mint(&broker, &renewed, "/v1/app/launch-tokens").await;
    let by_kept = mint(&broker, &kept, "/v1/app/launch-tokens").await;
    assert_eq!(broker.revoked(&admin, "token", &jti(&leaked)).await, 1);
    register(&broker, &by_leaked).await.refused(401, "unauthorized", "launch token not found");
    assert_eq!(register(&broker, &by_kept).await.status, 200);
}

#[tokio::test]
async fn accepts_launch_token_after_issuing_token_was_released_or_renewed() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &SCOPES).await;
    let token = broker.app_token(&app).await;
    let launch_token = mint(&broker, &token, "/v1/app/launch-tokens").await;
    let renewed = broker.renewed(&token).await;
    assert_eq!(broker.release(&renewed).await.status, 204);
    assert_eq!(register(&broker, &launch_token).await.status, 200);
}

#[tokio::test]
async fn rejects_operators_launch_tokens_after_admin_was_revoked() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &SCOPES).await;
    let launch_token = mint(&broker, &admin, "/v1/admin/launch-tokens").await;
    let of_app = mint(&broker, &broker.app_token(&app).await, "/v1/app/launch-tokens").await;
    broker.revoked(&admin, "agent", "admin").await;
    register(&broker, &launch_token).await.refused(401, "unauthorized", "launch token not found");
    assert_eq!(register(&broker, &of_app).await.status, 200);
}

#[tokio::test]
async fn rejects_launch_tokens_of_a_suspended_app_also_after_it_was_resumed() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &SCOPES).await;
    let launch_token = mint(&broker, &broker.app_token(&app).await, "/v1/app/launch-tokens").await;
    for action in ["suspend", "resume"] {
        let path = format!("/v1/admin/apps/{}/{action}", app.app_id);
        assert_eq!(broker.request(Method::POST, &path).bearer(&admin).await.status, 200);
        register(&broker, &launch_token).await.refused(401, "unauthorized", "launch token not found");
    }
}
