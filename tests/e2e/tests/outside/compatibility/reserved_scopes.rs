//! Scopes of the broker's own families, asked for where no ceiling covers them.

use agentwrit_e2e::Broker;
use serde_json::json;

#[tokio::test]
async fn rejects_reserved_scope_as_beyond_ceiling_on_app_path_and_as_invalid_elsewhere() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "front-desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    for scope in ["admin:revoke:*", "admin:audit:x", "app:launch-tokens:*"] {
        let launch = json!({"agent_name": "a", "allowed_scope": ["read:data:x", scope]});
        let answer = broker.post("/v1/app/launch-tokens").bearer(&app_token).json(&launch).await;
        answer.refused(403, "scope_violation", "requested scopes exceed app ceiling");
        assert_eq!(answer.header("www-authenticate"), None);

        let answer = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&launch).await;
        answer.refused_for(400, "invalid_request", scope);
        let ceiling = json!({"name": "back-office", "scopes": [scope]});
        broker.post("/v1/admin/apps").bearer(&admin).json(&ceiling).await.refused_for(400, "invalid_request", scope);
    }
    let events = broker.events(&admin, "event_type=scope_ceiling_exceeded").await;
    assert!(events.iter().any(|event| event["detail"].as_str().unwrap().contains("admin:revoke:*")), "{events:?}");
}
