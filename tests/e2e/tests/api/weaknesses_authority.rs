//! Authority that was never granted (issue 3, "exact weaknesses").

use agentwrit_e2e::{Agent, AppCredentials, Broker, Registration};
use http::Method;
use serde_json::{Value, json};

const RESERVED: [&str; 5] =
    ["app:launch-tokens:*", "app:agents:*", "app:x:y", "admin:launch-tokens:*", "admin:revoke:*"];

struct Desk {
    broker: Broker,
    admin: String,
    app: AppCredentials,
    app_token: String,
    agent: Agent,
}

/// An operator, an app with the ceiling `read:data:*` and `write:data:*`, and an agent of its with both.
async fn desk() -> Desk {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*", "write:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let launch = json!({"allowed_scope": ["read:data:*", "write:data:*"]});
    let agent = broker.enrol(&app_token, "task-1", launch).await;
    Desk { broker, admin, app, app_token, agent }
}

impl Desk {
    async fn change(&self, method: Method, body: Value) -> u16 {
        let path = format!("/v1/admin/apps/{}", self.app.app_id);
        self.broker.request(method, &path).bearer(&self.admin).json(&body).await.status
    }

    async fn launch(&self, token: &str, path: &str, scope: &str) -> u16 {
        let body = json!({"agent_name": "a", "allowed_scope": [scope]});
        self.broker.post(path).bearer(token).json(&body).await.status
    }
}

#[tokio::test]
async fn rejects_delegation_of_app_scopes_to_agent() {
    let desk = desk().await;
    for scope in RESERVED {
        for token in [&desk.app_token, &desk.agent.token] {
            let answer = desk.broker.delegate(token, &desk.agent, &[scope]).await;
            assert!(matches!(answer.status, 400 | 403), "{scope}: {}", answer.status);
        }
    }
    desk.broker.delegate(&desk.app_token, &desk.agent, &["read:data:x"]).await.problem(403, "insufficient_scope");
}

#[tokio::test]
async fn rejects_broker_scopes_for_agents_on_every_path() {
    let desk = desk().await;
    for scope in RESERVED {
        assert_eq!(desk.change(Method::PUT, json!({"scopes": ["read:data:*", scope]})).await, 400, "ceiling");
        assert_eq!(desk.launch(&desk.admin, "/v1/admin/launch-tokens", scope).await, 400, "launch token");
        assert_eq!(desk.launch(&desk.app_token, "/v1/app/launch-tokens", scope).await, 403, "app's launch token");
        let registration = desk.broker.registration(&desk.admin, &["read:data:x"]).await;
        let registration = registration.with("requested_scope", json!(["read:data:x", scope]));
        assert_eq!(desk.broker.post("/v1/register").json(&registration.0).await.status, 400, "registration");
    }
}

#[tokio::test]
async fn rejects_launch_tokens_by_agents() {
    let desk = desk().await;
    for path in ["/v1/admin/launch-tokens", "/v1/app/launch-tokens"] {
        assert_eq!(desk.launch(&desk.agent.token, path, "read:data:x").await, 403);
    }
}

#[tokio::test]
async fn rejects_delegation_of_admin_token() {
    let desk = desk().await;
    for scopes in [&["read:data:x"][..], &["admin:launch-tokens:*"], &["admin:revoke:*"]] {
        let answer = desk.broker.delegate(&desk.admin, &desk.agent, scopes).await;
        assert!(matches!(answer.status, 400 | 403), "{scopes:?}: {}", answer.status);
    }
}

#[tokio::test]
async fn rejects_every_operation_of_deregistered_app() {
    let desk = desk().await;
    let request = json!({"agent_name": "a", "allowed_scope": ["read:data:x"], "ttl": 600});
    let unused = desk.broker.post("/v1/app/launch-tokens").bearer(&desk.app_token).json(&request).await.json();
    let other_login = desk.broker.app_token(&desk.app).await;
    let renewed = desk.broker.renewed(&other_login).await;
    assert_eq!(desk.change(Method::DELETE, json!({})).await, 200);

    let Desk { mut broker, app, app_token, agent, .. } = desk;
    for after_a_crash in [false, true] {
        for token in [&app_token, &other_login, &renewed] {
            assert!(!broker.accepts(token).await, "{after_a_crash}");
            broker.post("/v1/app/launch-tokens").bearer(token).json(&request).await.problem(401, "unauthorized");
            broker.renew(token).await.problem(401, "unauthorized");
            broker.get("/v1/app/agents").bearer(token).await.problem(401, "unauthorized");
        }
        let launch_token = unused["launch_token"].as_str().unwrap();
        let registration = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);
        let answer = broker.post("/v1/register").json(&registration.0).await;
        answer.refused(401, "unauthorized", "launch token not found");
        let login = json!({"client_id": app.client_id, "client_secret": app.client_secret});
        broker.post("/v1/app/auth").json(&login).await.refused(401, "unauthorized", "invalid credentials");
        broker.renew(&agent.token).await.problem(403, "scope_violation");
        assert!(broker.accepts(&agent.token).await, "agents keep what they have until it expires");
        broker = Broker::start_in(broker.kill().await, &[]).await;
    }
}

#[tokio::test]
async fn app_with_reused_name_inherits_nothing() {
    let desk = desk().await;
    assert_eq!(desk.change(Method::DELETE, json!({})).await, 200);
    let heir = desk.broker.create_app(&desk.admin, "desk", &["read:data:*", "write:data:*"]).await;
    assert_ne!(heir.app_id, desk.app.app_id);
    assert!(!desk.broker.accepts(&desk.app_token).await);
    desk.broker.renew(&desk.agent.token).await.problem(403, "scope_violation");
    let agents = desk.broker.get("/v1/app/agents").bearer(&desk.broker.app_token(&heir).await).await;
    assert_eq!(agents.json()["total"], 0);
}

#[tokio::test]
async fn applies_narrowed_ceiling_to_existing_agents() {
    let desk = desk().await;
    let broker = &desk.broker;
    let launch = || json!({"allowed_scope": ["read:data:*", "write:data:*"]});
    let delegate = broker.enrol(&desk.app_token, "task-2", launch()).await;
    let handed = broker.delegated(&desk.agent.token, &delegate, &["write:data:x"]).await;
    let request = json!({"agent_name": "a", "allowed_scope": ["write:data:x"], "ttl": 600});
    let wide = broker.post("/v1/app/launch-tokens").bearer(&desk.app_token).json(&request).await.json();

    assert_eq!(desk.change(Method::PUT, json!({"scopes": ["read:data:*"]})).await, 200);
    broker.renew(&desk.agent.token).await.problem(403, "scope_violation");
    broker.renew(&handed).await.problem(403, "scope_violation");
    let write = &["write:data:x"];
    broker.delegate(&desk.agent.token, &delegate, write).await.problem(403, "scope_violation");
    broker.delegate(&handed, &desk.agent, write).await.problem(403, "scope_violation");
    let registration = Registration::new(wide["launch_token"].as_str().unwrap(), &broker.nonce().await, write);
    broker.post("/v1/register").json(&registration.0).await.problem(403, "scope_violation");
    let answer = broker.post("/v1/app/launch-tokens").bearer(&desk.app_token).json(&request).await;
    answer.problem(403, "scope_violation");
}

#[tokio::test]
async fn rejects_renewal_of_operator_token() {
    let desk = desk().await;
    desk.broker.renew(&desk.admin).await.problem(403, "insufficient_scope");
    let events = desk.broker.events(&desk.admin, "event_type=token_renewal_failed").await;
    assert_eq!((events.len(), &events[0]["agent_id"]), (1, &json!("admin")));
}

#[tokio::test]
async fn rejects_two_scopes_in_one_string() {
    let desk = desk().await;
    for text in [
        "read:data:x admin:revoke:*",
        "read:data:x\tadmin:revoke:*",
        "read:data:x\nadmin:revoke:*",
        "read:data:x\u{a0}admin:revoke:*",
        "read:data:x,admin:revoke:*",
        "read:data:x:admin:revoke:*",
    ] {
        let desk = &desk;
        assert_eq!(desk.change(Method::PUT, json!({"scopes": ["read:data:*", text]})).await, 400, "{text:?}");
        assert_eq!(desk.launch(&desk.admin, "/v1/admin/launch-tokens", text).await, 400, "{text:?}");
        let registration = desk.broker.registration(&desk.admin, &["read:data:*"]).await;
        let registration = registration.with("requested_scope", json!([text]));
        assert_eq!(desk.broker.post("/v1/register").json(&registration.0).await.status, 400, "{text:?}");
        assert_eq!(desk.broker.delegate(&desk.agent.token, &desk.agent, &[text]).await.status, 400, "{text:?}");
    }
}
