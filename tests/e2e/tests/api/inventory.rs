//! `GET /v1/admin/agents`, `GET /v1/admin/tokens`, and the rotation of an app's secret.

use agentwrit_e2e::Broker;
use serde_json::{Value, json};

const AGENTS: &str = "/v1/admin/agents";
const TOKENS: &str = "/v1/admin/tokens";

fn members(page: &Value, list: &str, member: &str) -> Vec<String> {
    page[list].as_array().unwrap().iter().map(|entry| entry[member].as_str().unwrap_or("-").to_owned()).collect()
}

#[tokio::test]
async fn lists_agents_of_every_app_by_filter() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let ours = broker.enrol(&app_token, "task-1", json!({"allowed_scope": ["read:data:x"]})).await;
    let other = broker.enrol(&admin, "task-2", json!({"allowed_scope": ["read:data:y"]})).await;
    let revoked = broker.enrol(&admin, "task-2", json!({"allowed_scope": ["read:data:x"]})).await;
    broker.revoked(&admin, "agent", &revoked.id).await;

    let list = async |query: &str| broker.get(&format!("{AGENTS}{query}")).bearer(&admin).await.json();
    let live = list("").await;
    assert_eq!(members(&live, "agents", "agent_id"), [ours.id.clone(), other.id.clone()]);
    assert_eq!(members(&live, "agents", "app_id"), [app.app_id.as_str(), "-"]);
    let all = list("?state=all").await;
    assert_eq!((&all["total"], &all["agents"][2]["status"]), (&json!(3), &json!("revoked")));
    assert!(all["agents"][2]["revoked_at"].is_string());
    for (query, expected) in [
        ("?task_id=task-2&state=all".to_owned(), vec![&other.id, &revoked.id]),
        ("?orch_id=orch-1".into(), vec![&ours.id, &other.id]),
        ("?orch_id=orch".into(), vec![]),
        ("?scope=read:data:x&state=all".into(), vec![&ours.id, &revoked.id]),
        (format!("?app_id={}", app.app_id), vec![&ours.id]),
        (format!("?agent_id={}&state=all", revoked.id), vec![&revoked.id]),
        ("?limit=1&offset=1".into(), vec![&other.id]),
    ] {
        let page = list(&query).await;
        assert_eq!(members(&page, "agents", "agent_id").iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for query in ["?state=dead", "?scope=read", "?agent_id=x", "?sub=admin", "?cursor=x", "?limit=1001", "?task_id="] {
        broker.get(&format!("{AGENTS}{query}")).bearer(&admin).await.problem(400, "invalid_request");
    }
}

/// Returns the token of a list that has this value of a member.
fn token_with<'l>(list: &'l Value, member: &str, value: &Value) -> &'l Value {
    list["tokens"].as_array().unwrap().iter().find(|token| &token[member] == value).unwrap()
}

#[tokio::test]
async fn lists_tokens_without_tokens() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let delegator = broker.enrol(&admin, "task-1", json!({"allowed_scope": ["read:data:*"]})).await;
    let delegate = broker.enrol(&admin, "task-2", json!({"allowed_scope": ["read:data:x"]})).await;
    let delegation = json!({"delegate_to": delegate.id, "scope": ["read:data:x"]});
    let delegated = broker.post("/v1/delegate").bearer(&delegator.token).json(&delegation).await.json();
    let answer = broker.get(&format!("{TOKENS}?state=all")).bearer(&admin).await;
    let text = String::from_utf8(answer.body).unwrap();
    for token in [&admin, &delegator.token, &delegate.token, &delegated["access_token"].as_str().unwrap().to_owned()] {
        assert!(!text.contains(token.as_str()));
        let signature = token.rsplit('.').next().unwrap();
        assert!(!text.contains(signature));
    }

    let list = async |query: &str| broker.get(&format!("{TOKENS}{query}")).bearer(&admin).await.json();
    let held = list(&format!("?sub={}", delegate.id)).await;
    assert_eq!(held["total"], 2);
    // Of tokens of one second the order is that of their ids.
    let received = token_with(&held, "delegated_by", &json!(delegator.id));
    assert_eq!(received["scope"], json!(["read:data:x"]));
    assert_eq!((&received["task_id"], &received["state"]), (&json!("task-1"), &json!("live")));
    let from_it = list(&format!("?delegator={}", delegator.id)).await;
    assert_eq!(from_it["tokens"], json!([received]));
    let of_operator = list("?sub=admin").await;
    assert!(of_operator["tokens"][0]["scope"].as_array().unwrap().contains(&json!("admin:agents:*")));

    assert_eq!(broker.release(&delegator.token).await.status, 204);
    assert_eq!(list("?task_id=task-1").await["total"], 1, "the delegated one");
    let ended = list("?task_id=task-1&state=all").await;
    assert_eq!(ended["total"], 2);
    let released = token_with(&ended, "state", &json!("ended"));
    assert_eq!((&released["sub"], released["ended_at"].is_string()), (&json!(delegator.id), true));

    let mut seen = Vec::new();
    let mut query = "?state=all&limit=2".to_owned();
    loop {
        let page = list(&query).await;
        seen.extend(members(&page, "tokens", "jti"));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?state=all&limit=2&cursor={cursor}");
    }
    assert_eq!(seen, members(&list("?state=all").await, "tokens", "jti"));
    for query in ["?cursor=7", "?sub=web", "?delegator=admin", "?agent_id=admin", "?scope=*"] {
        broker.get(&format!("{TOKENS}{query}")).bearer(&admin).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn rejects_lists_without_operators_scope() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    for path in [AGENTS, TOKENS] {
        broker.get(path).await.problem(401, "unauthorized");
        broker.get(path).bearer(&app_token).await.problem(403, "insufficient_scope");
    }
}

#[tokio::test]
async fn rotates_secret_with_and_without_overlap() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let path = format!("/v1/admin/apps/{}/rotate-secret", app.app_id);
    let log_in = async |secret: &str| {
        let body = json!({"client_id": app.client_id, "client_secret": secret});
        broker.post("/v1/app/auth").json(&body).await.status
    };
    let rotated = broker.post(&path).bearer(&admin).await.json();
    let second = rotated["client_secret"].as_str().unwrap();
    assert!(rotated["former_secret_expires_at"].is_string());
    let shown = broker.get(&format!("/v1/admin/apps/{}", app.app_id)).bearer(&admin).await.json();
    assert_eq!(shown["former_secret_expires_at"], rotated["former_secret_expires_at"]);
    assert_eq!((log_in(&app.client_secret).await, log_in(second).await), (200, 200));
    let rotated = broker.post(&path).bearer(&admin).json(&json!({"overlap": 0})).await.json();
    assert_eq!(rotated.get("former_secret_expires_at"), None);
    let third = rotated["client_secret"].as_str().unwrap();
    assert_eq!((log_in(second).await, log_in(third).await), (401, 200));
    for overlap in [json!(-1), json!(604_801), json!("60"), json!(1.5)] {
        let body = json!({"overlap": overlap});
        broker.post(&path).bearer(&admin).json(&body).await.problem(400, "invalid_request");
    }
    let unknown = "/v1/admin/apps/app-other-0a1b2c/rotate-secret";
    broker.post(unknown).bearer(&admin).await.problem(404, "not_found");
}
