//! A suspended app is as good as inactive, until it is resumed.

use agentwrit_e2e::{Agent, AppCredentials, Broker};
use http::Method;
use serde_json::json;

const SCOPES: [&str; 1] = ["read:data:x"];

struct Desk {
    broker: Broker,
    admin: String,
    app: AppCredentials,
    app_token: String,
    agent: Agent,
}

async fn desk() -> Desk {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &SCOPES).await;
    let app_token = broker.app_token(&app).await;
    let agent = broker.enrol(&app_token, "task-1", json!({"allowed_scope": SCOPES, "max_ttl": 600})).await;
    Desk { broker, admin, app, app_token, agent }
}

impl Desk {
    async fn set(&self, action: &str, status: &str) {
        let path = format!("/v1/admin/apps/{}/{action}", self.app.app_id);
        let answer = self.broker.post(&path).bearer(&self.admin).await;
        assert_eq!((answer.status, answer.json().get("status")), (200, Some(&json!(status))), "{action}");
    }

    fn login(&self) -> serde_json::Value {
        json!({"client_id": self.app.client_id, "client_secret": self.app.client_secret})
    }
}

#[tokio::test]
async fn suspended_app_cannot_act_and_resumed_app_can() {
    let mut desk = desk().await;
    desk.set("suspend", "suspended").await;
    for after_a_crash in [false, true] {
        let Desk { broker, app_token, agent, .. } = &desk;
        broker.post("/v1/app/auth").json(&desk.login()).await.refused(401, "unauthorized", "invalid credentials");
        assert!(!broker.accepts(app_token).await, "{after_a_crash}");
        let request = json!({"agent_name": "a", "allowed_scope": SCOPES});
        broker.post("/v1/app/launch-tokens").bearer(app_token).json(&request).await.problem(401, "unauthorized");
        broker.renew(app_token).await.problem(401, "unauthorized");
        broker.renew(&agent.token).await.problem(403, "scope_violation");
        broker.delegate(&agent.token, agent, &SCOPES).await.problem(403, "scope_violation");
        assert!(broker.accepts(&agent.token).await, "agents keep what they have until it expires");
        desk.broker = Broker::start_in(desk.broker.kill().await, &[]).await;
    }
    desk.set("resume", "active").await;
    let app_token = desk.broker.app_token(&desk.app).await;
    assert!(desk.broker.accepts(&app_token).await);
    assert!(!desk.broker.accepts(&desk.app_token).await, "what was ended stays ended");
    desk.broker.renewed(&desk.agent.token).await;
    let events = desk.broker.events(&desk.admin, "").await;
    let of_app = |event_type: &str| {
        let resource = Some(desk.app.app_id.as_str());
        events.iter().filter(|e| e["event_type"] == event_type && e["resource"].as_str() == resource).count()
    };
    assert_eq!((of_app("app_suspended"), of_app("app_resumed")), (1, 1));
}

#[tokio::test]
async fn suspending_and_resuming_twice_changes_nothing_more() {
    let desk = desk().await;
    for (action, status) in [("suspend", "suspended"), ("resume", "active")] {
        desk.set(action, status).await;
        let events = desk.broker.audit_events().await;
        desk.set(action, status).await;
        assert_eq!(desk.broker.audit_events().await, events, "{action}");
    }
}

#[tokio::test]
async fn suspended_app_keeps_its_name_and_can_be_narrowed_and_deregistered() {
    let desk = desk().await;
    desk.set("suspend", "suspended").await;
    let path = format!("/v1/admin/apps/{}", desk.app.app_id);
    let same_name = json!({"name": "desk", "scopes": SCOPES});
    let taken = desk.broker.post("/v1/admin/apps").bearer(&desk.admin).json(&same_name).await;
    taken.problem(409, "conflict");
    let narrower = json!({"scopes": ["read:data:other"]});
    let after = desk.broker.request(Method::PUT, &path).bearer(&desk.admin).json(&narrower).await;
    assert_eq!(after.json()["status"], "suspended");
    let removed = desk.broker.request(Method::DELETE, &path).bearer(&desk.admin).await;
    assert_eq!(removed.json()["status"], "inactive");
    for action in ["suspend", "resume"] {
        let refused = desk.broker.post(&format!("{path}/{action}")).bearer(&desk.admin).await;
        refused.refused(404, "not_found", "no such app");
    }
}

#[tokio::test]
async fn suspending_requires_operator_scope() {
    let desk = desk().await;
    for action in ["suspend", "resume"] {
        let path = format!("/v1/admin/apps/{}/{action}", desk.app.app_id);
        desk.broker.post(&path).bearer(&desk.app_token).await.problem(403, "insufficient_scope");
        desk.broker.post(&path).await.problem(401, "unauthorized");
    }
}
