//! `null` for an optional member is absence, as serialisers of many languages write it.

use agentwrit_e2e::{Broker, Registration};
use serde_json::{Value, json};

#[tokio::test]
async fn treats_null_for_optional_member_as_absence() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;

    let app = json!({"name": "front-desk", "scopes": ["read:data:*"], "token_ttl": null});
    let created = broker.post("/v1/admin/apps").bearer(&admin).json(&app).await;
    assert_eq!((created.status, &created.json()["token_ttl"]), (201, &json!(1800)));
    let path = format!("/v1/admin/apps/{}", created.json()["app_id"].as_str().unwrap());
    let change = |change: Value| broker.request(http::Method::PUT, &path).bearer(&admin).json(&change);
    let updated = change(json!({"scopes": null, "token_ttl": 600})).await;
    assert_eq!((updated.status, &updated.json()["scopes"]), (200, &json!(["read:data:*"])));
    let nothing = change(json!({"scopes": null, "token_ttl": null})).await;
    nothing.refused(400, "invalid_request", "scopes, token_ttl or sender_constrained: one of them is required");

    let launch = json!({
        "agent_name": "a", "allowed_scope": ["read:data:*"], "max_ttl": null, "single_use": null, "ttl": null,
        "orch_id": null, "task_id": null,
    });
    let issued = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&launch).await;
    assert_eq!((issued.status, &issued.json()["policy"]["max_ttl"]), (201, &json!(300)));
    let launch_token = issued.json()["launch_token"].as_str().unwrap().to_owned();
    let registration = Registration::new(&launch_token, &broker.nonce().await, &["read:data:*"]);
    let registered = broker.post("/v1/register").json(&registration.0).await.json();
    let delegate = broker.enrol(&admin, "two", json!({"allowed_scope": ["read:data:x"]})).await;

    let delegation = json!({"delegate_to": delegate.id, "scope": ["read:data:x"], "ttl": null});
    let token = registered["access_token"].as_str().unwrap();
    let delegated = broker.post("/v1/delegate").bearer(token).json(&delegation).await;
    assert_eq!((delegated.status, &delegated.json()["expires_in"]), (200, &json!(60)));

    let revocation = json!({"level": "agent", "target": delegate.id, "reason": null});
    assert_eq!(broker.post("/v1/revoke").bearer(&admin).json(&revocation).await.status, 200);
}

#[tokio::test]
async fn rejects_null_for_required_member_as_missing() {
    let broker = Broker::start().await;
    let missing = broker.post("/v1/token/validate").json(&json!({"token": null})).await;
    missing.refused(400, "invalid_request", "token: is required");
    let wrong_endpoint = json!({"secret": null, "client_id": "x", "client_secret": "y"});
    let hint = broker.post("/v1/admin/auth").json(&wrong_endpoint).await.refused(
        400,
        "invalid_request",
        "secret: is required",
    );
    assert!(hint.is_some());
}
