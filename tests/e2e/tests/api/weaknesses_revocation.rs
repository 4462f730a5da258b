//! The dead that come back, and the living that are locked out (issue 3, "exact weaknesses"). What each level kills in
//! full: `revoke`.

use agentwrit_e2e::{Agent, Broker, hold_write_lock, jti, next_second};
use serde_json::json;

async fn enrol(broker: &Broker, admin: &str, task: &str) -> Agent {
    broker.enrol(admin, task, json!({"allowed_scope": ["read:data:*"]})).await
}

#[tokio::test]
async fn revoking_middle_of_chain_ends_its_last_token() {
    for level in ["agent", "token"] {
        let broker = Broker::start().await;
        let admin = broker.admin_token().await;
        let [a, b, c] = [
            enrol(&broker, &admin, "task-a").await,
            enrol(&broker, &admin, "task-b").await,
            enrol(&broker, &admin, "task-c").await,
        ];
        let to_b = broker.delegated(&a.token, &b, &["read:data:*"]).await;
        let to_c = broker.delegated(&to_b, &c, &["read:data:x"]).await;
        let renewed = broker.renewed(&to_c).await;
        let target = if level == "agent" { b.id.clone() } else { jti(&to_b) };
        assert!(broker.revoked(&admin, level, &target).await >= 2);
        assert!(!broker.accepts(&renewed).await, "{level}");
        broker.renew(&renewed).await.problem(401, "unauthorized");
        assert!(broker.accepts(&a.token).await && broker.accepts(&c.token).await);
    }
}

#[tokio::test]
async fn revoking_leaked_token_ends_its_renewals() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let leaked = enrol(&broker, &admin, "task-1").await;
    let stolen = broker.renewed(&broker.renewed(&leaked.token).await).await;
    // It is dead itself: revoking it still matters.
    assert_eq!(broker.revoked(&admin, "token", &jti(&leaked.token)).await, 1);
    assert!(!broker.accepts(&stolen).await);
    broker.renew(&stolen).await.refused(401, "unauthorized", "token renewal failed");
}

#[tokio::test]
async fn revoked_operator_and_task_get_new_tokens_later() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let old = enrol(&broker, &admin, "task-1").await;
    assert_eq!(broker.revoked(&admin, "task", "task-1").await, 1);
    assert_eq!(broker.revoked(&admin, "agent", "admin").await, 1);
    next_second().await;
    let broker = Broker::start_in(broker.kill().await, &[]).await;
    let admin = broker.admin_token().await;
    let new = enrol(&broker, &admin, "task-1").await;
    assert!(broker.accepts(&admin).await && broker.accepts(&new.token).await && !broker.accepts(&old.token).await);
}

#[tokio::test]
async fn mistyped_target_is_not_reported_as_success() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin, "task-1").await;
    for (level, target) in [("agent", agent.id.replace("task-1", "task-l")), ("task", "task-l".into())] {
        let nothing = json!({"revoked": false, "level": level, "target": target, "count": 0, "cursor": "$cursor"});
        broker.revoke(&admin, level, &target).await.expect(200, nothing);
    }
    assert!(broker.accepts(&agent.token).await);
    assert_eq!(broker.get("/v1/admin/revocations").bearer(&admin).await.json()["total"], 0);
}

#[tokio::test]
async fn failed_write_is_not_reported_as_success() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin, "task-1").await;
    let launch_token = broker.launch_token(&admin, &["read:data:x"]).await;
    let nonce = broker.nonce().await;
    let registration = agentwrit_e2e::Registration::new(&launch_token, &nonce, &["read:data:x"]);
    let rows = broker.stored_rows();
    let lock = hold_write_lock(broker.directory());
    let post = |path: &str, body: serde_json::Value| broker.post(path).bearer(&admin).json(&body).into_future();
    let answers = tokio::join!(
        post("/v1/revoke", json!({"level": "agent", "target": agent.id})),
        broker.renew(&agent.token),
        broker.release(&agent.token),
        broker.delegate(&agent.token, &agent, &["read:data:x"]),
        post("/v1/register", registration.0.clone()),
        post("/v1/admin/apps", json!({"name": "desk", "scopes": ["read:data:*"]})),
    );
    let answers: [agentwrit_e2e::Response; 6] = answers.into();
    for answer in answers {
        answer.problem(503, "unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(broker.stored_rows(), rows, "nothing was done");
    assert!(broker.accepts(&agent.token).await, "nor in memory");
    drop(lock);
    assert_eq!(broker.revoked(&admin, "agent", &agent.id).await, 1, "it recovers by itself");
    assert!(!broker.accepts(&agent.token).await);
    assert_eq!(broker.post("/v1/register").json(&registration.0).await.status, 200, "nothing was consumed");
}

#[tokio::test]
async fn use_of_revoked_token_is_recorded_with_its_subject() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin, "task-1").await;
    broker.revoked(&admin, "token", &jti(&agent.token)).await;
    for path in ["/v1/token/renew", "/v1/delegate", "/v1/revoke"] {
        broker.post(path).bearer(&agent.token).await.problem(401, "unauthorized");
    }
    for path in ["/v1/audit/events", "/v1/app/agents"] {
        broker.get(path).bearer(&agent.token).await.problem(401, "unauthorized");
    }
    let events = broker.events(&admin, "event_type=token_revoked_access").await;
    assert!(!events.is_empty());
    for event in &events {
        assert_eq!((&event["agent_id"], &event["outcome"]), (&json!(agent.id), &json!("denied")));
        assert!(event["detail"].as_str().unwrap().contains("from=127.0.0.1"), "{event}");
    }
    assert_eq!(broker.events(&admin, "event_type=token_auth_failed").await.len(), 0);
}
