//! The operator's panels: live tokens of the desk's agents, revocation during a run, audit trail.

use std::sync::Arc;

use agent_model::{
    OpenAiClient, Reply, ToolCall,
    test_server::{FakeOpenAi, Scripted},
};
use demo_common::broker::{AppCredentials, BrokerAccess, DEFAULT_ISSUER, OwnBroker, connect};
use serde_json::{Value, json};
use support_tickets::desk::{APP, RunningBroker};

use crate::running::{Running, assert_ends, of_type, refused};

const NO_KNOWLEDGE: &str = r#"{"priority": "P3", "category": "billing", "needs_knowledge": false}"#;

async fn get(desk: &Running, path: &str) -> (u16, Value) {
    let response = desk.http.get(format!("{}{path}", desk.url)).send().await.unwrap();
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn revocation_ends_run_whose_model_still_works() {
    let balance = ToolCall::new("a", "account_balance", json!({"customer_id": "C-2041"}));
    let script = [Reply::text(NO_KNOWLEDGE), Reply::calls(vec![balance])].map(Scripted::Reply);
    let server = FakeOpenAi::start_held(script).await.unwrap();
    let model = Arc::new(OpenAiClient::new(server.base_url(), "key-1", "test-model").unwrap());
    let desk = Running::with_model(model).await;
    let mut events = desk.open(&json!({"ticket": "refund"})).await;
    let task = events.next().await.unwrap().unwrap()["task"].clone();
    server.release();
    let created = events.until(|event| event["type"] == "agent_created" && event["role"] == "response").await.unwrap();
    events.until(|event| event["type"] == "validated").await.unwrap();

    let observer = desk.desk.app().agent("test", task.as_str().unwrap()).scope(["read:kb:*"]).unwrap();
    let observer = observer.create().await.unwrap();
    let (_, overview) = get(&desk, "/api/operator").await;
    let tokens = overview["tokens"].as_array().unwrap();
    // Tokens of the same second have no order.
    let own = [created.last().unwrap()["agent_id"].clone(), json!(observer.id().to_string())];
    assert!(own.iter().all(|agent| tokens.iter().any(|token| token["sub"] == *agent)), "{tokens:?}");
    assert_eq!(tokens.len(), 2, "the triage agent is released");
    assert!(tokens.iter().all(|token| token["task_id"] == task), "{tokens:?}");
    assert_eq!((&overview["health"]["status"], &overview["has_more"]), (&json!("ok"), &json!(false)));
    assert_eq!(overview["app"]["scopes"].as_array().unwrap().len(), APP.ceiling.len());

    let mut revocation = json!({"level": "task", "target": task, "reason": "drill", "dry_run": true});
    let preview = desk.post_to("/api/revocations", &revocation).await;
    assert_eq!(preview, (200, json!({"known": true, "dry_run": true, "tokens": 2, "agents": 2, "tasks": 1})));
    assert_eq!(get(&desk, "/api/operator").await.1["tokens"], overview["tokens"], "nothing is revoked yet");
    revocation["dry_run"] = json!(false);
    let (status, revoked) = desk.post_to("/api/revocations", &revocation).await;
    assert_eq!((status, &revoked["tokens"]), (200, &json!(2)));
    // The service has the revocation some milliseconds later.
    let knowledge = format!("{}/knowledge?q=refund", desk.desk.service_url());
    let probe = || desk.http.get(&knowledge).header("authorization", observer.authorization()).send();
    while probe().await.unwrap().status() != 401 {}

    server.release();
    let rest = events.rest().await.unwrap();
    assert_eq!(refused(&rest).len(), 1, "{rest:?}");
    assert!(refused(&rest)[0].starts_with("account_balance | ticket service | 401 "), "{rest:?}");
    assert_eq!(of_type(&rest, "failed")[0]["error"], "the response token was revoked or has expired: the run stops");
    assert_eq!(of_type(&rest, "ended").last().unwrap()["how"], "revoked");
    let last = rest.last().unwrap();
    assert_eq!((&last["outcome"], &last["tokens"], &last["rejected"]), (&json!("token_ended"), &json!(2), &json!(2)));
    assert_eq!(get(&desk, "/api/operator").await.1["tokens"], json!([]));
}

#[tokio::test]
async fn revocation_ends_wait_for_expiry() {
    let desk = Running::start().await;
    let mut events = desk.open(&json!({"ticket": "expiry"})).await;
    let first = events.until(|event| event["type"] == "waiting").await.unwrap();
    let agent = &of_type(&first, "agent_created")[0]["agent_id"];
    let revocation = json!({"level": "agent", "target": agent});
    assert_eq!(desk.post_to("/api/revocations", &revocation).await.0, 200);
    let rest = events.rest().await.unwrap();
    assert_eq!(of_type(&rest, "ended")[0]["how"], "revoked");
    assert!(of_type(&rest, "reply").is_empty());
    assert_ends(&rest, "token_ended", 1);
}

#[tokio::test]
async fn audit_is_whole_trail_from_first_event() {
    let desk = Running::start().await;
    desk.run(&json!({"ticket": "unknown-sender"})).await;
    let (_, audit) = get(&desk, "/api/audit").await;
    let events = audit["events"].as_array().unwrap();
    assert_eq!((&events[0]["id"], &audit["total"]), (&json!("evt-000001"), &json!(events.len())));
    for pair in events.windows(2) {
        assert_eq!(pair[1]["prev_hash"], pair[0]["hash"]);
    }
    let registered = events.iter().filter(|event| event["event_type"] == "agent_registered").count();
    assert_eq!(registered, 1);
}

#[tokio::test]
async fn has_no_operators_power_without_operators_secret_and_lists_no_other_apps_tokens() {
    let broker = OwnBroker::start("test").await.unwrap();
    let registered = connect(&broker.access(), &APP).await.unwrap();
    let admin = registered.admin.clone().unwrap();
    let own = admin.create_app(&agentwrit_client::NewApp::new("own", APP.ceiling.iter().copied()).unwrap()).await;
    let own = own.unwrap();
    let credentials = AppCredentials { client_id: own.record.client_id.clone(), client_secret: own.client_secret };
    let access = BrokerAccess { credentials: Some(credentials), ..broker.access() };
    let without = BrokerAccess { admin_secret: None, ..access.clone() };
    let other = registered.app.agent("other", "task").scope(["read:kb:*"]).unwrap().create().await.unwrap();

    let app = connect(&without, &APP).await.unwrap();
    let desk = Running::at(RunningBroker { app, issuer: DEFAULT_ISSUER.to_owned() }).await;
    for path in ["/api/operator", "/api/audit"] {
        let (status, body) = get(&desk, path).await;
        assert_eq!(status, 403, "{path}");
        assert!(body["error"].as_str().unwrap().contains("AGENTWRIT_ADMIN_SECRET"), "{body}");
    }
    let revocation = json!({"level": "agent", "target": other.id().to_string()});
    assert_eq!(desk.post_to("/api/revocations", &revocation).await.0, 403);

    let app = connect(&access, &APP).await.unwrap();
    let desk = Running::at(RunningBroker { app, issuer: DEFAULT_ISSUER.to_owned() }).await;
    assert_eq!(get(&desk, "/api/operator").await.1["tokens"], json!([]), "the token is another app's");
    admin.delete_app(&own.record.app_id).await.unwrap();
    let (_, overview) = get(&desk, "/api/operator").await;
    assert_eq!((&overview["tokens"], overview["app"]["status"].as_str()), (&json!([]), Some("inactive")));
    broker.stop().await;
}

#[tokio::test]
async fn rejects_malformed_revocations_and_those_of_other_sites() {
    let desk = Running::start().await;
    for (body, status) in [
        (json!({"level": "session", "target": "x"}), 400),
        (json!({"level": "agent", "target": "<img src=x>"}), 400),
        (json!({"level": "task", "target": "t", "reason": "x".repeat(513)}), 400),
        (json!({"level": "task", "target": "t", "all": true}), 400),
        (json!({"level": "task", "target": "unknown"}), 200),
    ] {
        assert_eq!(desk.post_to("/api/revocations", &body).await.0, status, "{body}");
    }
    let body = json!({"level": "task", "target": "t"}).to_string();
    for path in ["/api/revocations", "/runs"] {
        for origin in ["http://evil.example", "null", "http://localhost:1"] {
            let request = desk.http.post(format!("{}{path}", desk.url)).header("content-type", "application/json");
            let response = request.header("origin", origin).body(body.clone()).send().await.unwrap();
            assert_eq!(response.status(), 403, "{path} {origin}");
        }
    }
}
