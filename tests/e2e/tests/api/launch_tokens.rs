//! `POST /v1/admin/launch-tokens` and `POST /v1/app/launch-tokens`

use agentwrit_e2e::{Broker, Field, Registration};
use serde_json::{Value, json};

const ADMIN: &str = "/v1/admin/launch-tokens";
const APP: &str = "/v1/app/launch-tokens";

fn request() -> Value {
    json!({"agent_name": "reader", "allowed_scope": ["read:data:x"]})
}

fn answer(scopes: &[&str], max_ttl: u64) -> Value {
    json!({
        "launch_token": "$hex(64)", "launch_token_id": "$sentence", "expires_at": "$time",
        "policy": {"allowed_scope": scopes, "max_ttl": max_ttl},
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut body = request();
    body[field] = value;
    body
}

#[tokio::test]
async fn issues_launch_tokens_for_operator() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issued = broker.post(ADMIN).bearer(&admin).json(&request()).await.expect(201, answer(&["read:data:x"], 300));
    let launch_token = issued["launch_token"].as_str().unwrap();
    assert!(!issued["launch_token_id"].as_str().unwrap().contains(launch_token));
    assert!(!broker.files_hold(launch_token.as_bytes()), "a digest is kept, not the launch token");

    let all = json!({
        "agent_name": "orchestrator/reader", "allowed_scope": ["read:data:*", "write:data:y", "read:data:*"],
        "max_ttl": 60, "single_use": false, "ttl": 3600, "orch_id": "orch-1", "task_id": "task-1",
    });
    let wide = ["read:data:*", "write:data:y"];
    broker.post(ADMIN).bearer(&admin).json(&all).await.expect(201, answer(&wide, 60));
}

#[tokio::test]
async fn issues_launch_tokens_within_ceiling_of_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*", "write:data:x"]).await;
    let token = broker.app_token(&app).await;
    for scopes in [vec!["read:data:x"], vec!["read:data:*"], vec!["write:data:x", "read:data:y"]] {
        let body = with("allowed_scope", json!(scopes));
        broker.post(APP).bearer(&token).json(&body).await.expect(201, answer(&scopes, 300));
    }
    let rows = broker.stored_rows();
    for scopes in [
        vec!["write:data:*"],
        vec!["write:data:y"],
        vec!["read:other:x"],
        vec!["Read:data:x"],
        vec!["read:data:x", "delete:data:x"],
    ] {
        let answer = broker.post(APP).bearer(&token).json(&with("allowed_scope", json!(scopes))).await;
        answer.refused(403, "scope_violation", "requested scopes exceed app ceiling");
        assert_eq!(answer.header("www-authenticate"), None, "another token would not help");
    }
    assert_eq!(broker.stored_rows(), rows, "nothing was stored");
}

#[tokio::test]
async fn rejects_caller_of_other_path() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let (agent, _) = broker.agent(&admin, &["read:data:x"]).await;
    for (path, token, scope) in [
        (ADMIN, &app_token, "admin:launch-tokens:*"),
        (APP, &admin, "app:launch-tokens:*"),
        (ADMIN, &agent, "admin:launch-tokens:*"),
        (APP, &agent, "app:launch-tokens:*"),
    ] {
        let answer = broker.post(path).bearer(token).json(&request()).await;
        answer.problem(403, "insufficient_scope");
        let challenge = format!(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="{scope}""#);
        assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
    }
    for path in [ADMIN, APP] {
        let answer = broker.post(path).json(&request()).await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="agentwrit""#));
    }
}

#[tokio::test]
async fn checks_each_member_on_both_paths() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let valid = json!({
        "agent_name": "reader", "allowed_scope": ["read:data:x"], "max_ttl": 300, "single_use": true, "ttl": 30,
        "orch_id": "orch-1", "task_id": "task-1",
    });
    let fields = [
        Field::Text("agent_name"),
        Field::Scopes("allowed_scope"),
        Field::OptionalNumber("max_ttl"),
        Field::OptionalFlag("single_use"),
        Field::OptionalNumber("ttl"),
        Field::OptionalSegment("orch_id"),
        Field::OptionalSegment("task_id"),
    ];
    let rows = broker.stored_rows();
    for (path, token) in [(ADMIN, &admin), (APP, &app_token)] {
        for broken in fields.iter().flat_map(|field| field.broken(&valid)) {
            let answer = broker.post(path).bearer(token).json(&broken.body).await;
            let reserved = |scope: &Value| {
                scope.as_str().is_some_and(|scope| scope.starts_with("admin:") || scope.starts_with("app:"))
            };
            if path == APP && broken.body["allowed_scope"].as_array().is_some_and(|scopes| scopes.iter().any(reserved))
            {
                answer.refused(403, "scope_violation", "requested scopes exceed app ceiling");
                continue;
            }
            assert_eq!(answer.status, 400, "{}", broken.why);
            answer.refused_for(400, "invalid_request", broken.field);
        }
        for (field, values) in [("ttl", [0, -1, 3601, i64::MAX]), ("max_ttl", [0, -1, 86401, i64::MAX])] {
            for value in values {
                let answer = broker.post(path).bearer(token).json(&with(field, json!(value))).await;
                answer.refused_for(400, "invalid_ttl", field);
            }
        }
    }
    assert_eq!(broker.stored_rows(), rows, "nothing was stored");
    for (path, token) in [(ADMIN, &admin), (APP, &app_token)] {
        assert_eq!(broker.post(path).bearer(token).json(&valid).await.status, 201);
    }
}

#[tokio::test]
async fn accepts_values_at_their_limits() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    // Name that the Python SDK sends: orchestration and task at their longest.
    let name = format!("{}/{}", "o".repeat(128), "t".repeat(128));
    for (field, value) in [
        ("agent_name", json!(name)),
        ("ttl", json!(1)),
        ("ttl", json!(3600)),
        ("max_ttl", json!(1)),
        ("max_ttl", json!(86400)),
        ("orch_id", json!("o".repeat(128))),
        ("task_id", json!("..._-")),
        ("allowed_scope", json!((0..64).map(|i| format!("read:data:{i}")).collect::<Vec<_>>())),
    ] {
        let answer = broker.post(ADMIN).bearer(&admin).json(&with(field, value)).await;
        assert_eq!(answer.status, 201, "{field}: {}", String::from_utf8_lossy(&answer.body));
    }
}

#[tokio::test]
async fn configuration_defaults_and_clamps_max_ttl() {
    let broker = Broker::start_with(&[("AA_DEFAULT_TTL", "120"), ("AA_MAX_TTL", "600")]).await;
    let admin = broker.admin_token().await;
    for (body, granted) in [(request(), 120), (with("max_ttl", json!(600)), 600), (with("max_ttl", json!(601)), 600)] {
        broker.post(ADMIN).bearer(&admin).json(&body).await.expect(201, answer(&["read:data:x"], granted));
    }
}

#[tokio::test]
async fn keeps_unconsumed_launch_tokens_across_restart() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let body = with("ttl", json!(3600));
    let issued = broker.post(ADMIN).bearer(&admin).json(&body).await.json();
    let (stopped, directory) = broker.terminate().await;
    assert!(stopped.status.success(), "{}", stopped.output);

    let broker = Broker::start_in(directory, &[]).await;
    let launch_token = issued["launch_token"].as_str().unwrap();
    let registration = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);
    assert_eq!(broker.post("/v1/register").json(&registration.0).await.status, 200);
}
