//! `GET /v1/admin/revocations`

use agentwrit_e2e::{Broker, jti, until_expired};
use serde_json::json;

const PATH: &str = "/v1/admin/revocations";

#[tokio::test]
async fn lists_revocations_with_actor_and_reason() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let empty = json!({"revocations": [], "total": 0, "limit": 100, "offset": 0});
    broker.get(PATH).bearer(&admin).await.expect(200, empty);

    let launch = || json!({"allowed_scope": ["read:data:x"]});
    let a = broker.enrol(&admin, "task-1", launch()).await;
    let b = broker.enrol(&admin, "task-1", launch()).await;
    let released = broker.enrol(&admin, "task-1", launch()).await;
    broker.release(&released.token).await;
    let a_token = broker.renewed(&a.token).await;
    broker.revoked(&admin, "token", &jti(&a_token)).await;
    let body = json!({"level": "agent", "target": b.id, "reason": "it asked for too much"});
    assert_eq!(broker.post("/v1/revoke").bearer(&admin).json(&body).await.status, 200);
    broker
        .revoke(&admin, "task", "task-2")
        .await
        .expect(200, json!({"revoked": false, "level": "task", "target": "task-2", "count": 0, "cursor": "$cursor"}));

    let entry = |level: &str, target: &str| {
        json!({
            "level": level, "target": target, "revoked_at": "$time", "expires_at": "$time", "revoked_by": "admin",
        })
    };
    let mut with_reason = entry("agent", &b.id);
    with_reason["reason"] = json!("it asked for too much");
    let listed = json!({
        "revocations": [entry("token", &jti(&a_token)), with_reason], "total": 2, "limit": 100, "offset": 0,
    });
    broker.get(PATH).bearer(&admin).await.expect(200, listed);
}

#[tokio::test]
async fn pages_stay_stable_while_revocations_are_added() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for number in 0..5 {
        let task = format!("task-{number}");
        broker.enrol(&admin, &task, json!({"allowed_scope": ["read:data:x"]})).await;
        broker.revoked(&admin, "task", &task).await;
    }
    let page = |query: &str| broker.get(&format!("{PATH}{query}")).bearer(&admin).into_future();
    let targets = |body: &serde_json::Value| -> Vec<String> {
        let entries = body["revocations"].as_array().unwrap();
        entries.iter().map(|entry| entry["target"].as_str().unwrap().to_owned()).collect()
    };
    let first = page("?limit=2").await.json();
    assert_eq!(targets(&first), ["task-0", "task-1"]);
    assert_eq!((&first["total"], &first["limit"], &first["offset"]), (&json!(5), &json!(2), &json!(0)));
    let second = page(&format!("?limit=2&cursor={}", first["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!(targets(&second), ["task-2", "task-3"]);
    let third = page(&format!("?limit=2&cursor={}", second["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((targets(&third), third.get("next_cursor")), (vec!["task-4".to_owned()], None));
    assert_eq!(targets(&page("?offset=3").await.json()), ["task-3", "task-4"]);
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?offset=-1", "?cursor=x", "?cursor=", "?level=task"] {
        page(query).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn omits_revocations_without_effect() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = broker.enrol(&admin, "task-1", json!({"allowed_scope": ["read:data:x"], "max_ttl": 5})).await;
    broker.revoked(&admin, "task", "task-1").await;
    assert_eq!(broker.get(PATH).bearer(&admin).await.json()["total"], 1);
    until_expired(&agent.token).await;
    let empty = json!({"revocations": [], "total": 0, "limit": 100, "offset": 0});
    broker.get(PATH).bearer(&admin).await.expect(200, empty);
    assert_eq!(broker.events(&admin, "event_type=token_revoked").await.len(), 1, "the trail remembers");
}

#[tokio::test]
async fn requires_operator() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    broker.get(PATH).bearer(&broker.app_token(&app).await).await.problem(403, "insufficient_scope");
    broker.get(PATH).await.problem(401, "unauthorized");
}
