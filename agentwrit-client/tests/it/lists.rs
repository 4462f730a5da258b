//! Lists of the broker: requests and responses.

use agentwrit_client::{Admin, AgentStatus, App, AuditQuery, Client, ClientError, Page};
use agentwrit_verify::{
    AppId, Level, PathSegment, Subject, SubjectFilter, UnixTime,
    audit::{EventId, EventType, Outcome},
};
use serde_json::{Value, json};

use crate::broker::{FakeBroker, problem, token};

const ID: &str = "spiffe://agentwrit.local/agent/ward/visit-1/0123456789abcdef";

async fn broker() -> (FakeBroker, Admin, App) {
    let broker = FakeBroker::with_app().await;
    broker.on("POST /v1/admin/auth", 200, &token("admin-token", 300));
    let client = Client::new(&broker.url).unwrap();
    let admin = client.admin("admin-secret").unwrap();
    let app = client.app("id-1", "client-secret").unwrap();
    (broker, admin, app)
}

fn list(name: &str, entries: &Value) -> Value {
    json!({name: entries, "total": 7, "limit": 100, "offset": 0, "next_cursor": "c-2"})
}

fn event() -> Value {
    json!({
        "id": "evt-000007", "timestamp": "2026-11-21T08:00:00Z", "event_type": "token_issued", "agent_id": ID,
        "detail": "", "hash": "ab".repeat(32), "prev_hash": "00".repeat(32), "outcome": "success",
    })
}

fn time(text: &str) -> UnixTime {
    UnixTime::parse_rfc3339(text).unwrap()
}

#[tokio::test]
async fn lists_launch_tokens() {
    let (broker, admin, _) = broker().await;
    let full = json!({
        "launch_token_id": "lt-1", "agent_name": "the night nurse", "allowed_scope": ["read:data:x"], "max_ttl": 60,
        "single_use": true, "created_at": "2026-11-21T08:00:00Z", "expires_at": "2026-11-21T08:00:30Z",
        "created_by": "app:app-desk-0a1b2c", "app_id": "app-desk-0a1b2c", "orch_id": "ward", "task_id": "visit-1",
        "consumed_at": "2026-11-21T08:00:10Z",
    });
    let mut bare = full.clone();
    bare.as_object_mut().unwrap().retain(|name, _| !["app_id", "orch_id", "task_id", "consumed_at"].contains(&&**name));
    bare["created_by"] = json!("admin");
    broker.on("GET /v1/admin/launch-tokens", 200, &list("launch_tokens", &json!([full, bare])));

    let listed = admin.launch_tokens(&Page::default()).await.unwrap();
    assert_eq!((listed.total, listed.next_cursor.as_deref()), (7, Some("c-2")));
    let [app, operator] = listed.entries.as_slice() else { panic!("{listed:?}") };
    assert_eq!((app.launch_token_id.as_str(), app.agent_name.as_str()), ("lt-1", "the night nurse"));
    assert_eq!((app.allowed_scope.to_string().as_str(), app.max_ttl, app.single_use), ("read:data:x", 60, true));
    assert_eq!((app.created_at, app.expires_at), (time("2026-11-21T08:00:00Z"), time("2026-11-21T08:00:30Z")));
    assert_eq!(app.created_by.to_string(), "app:app-desk-0a1b2c");
    assert_eq!(app.app_id, Some(AppId::parse("app-desk-0a1b2c").unwrap()));
    let pinned = (app.orch_id.as_ref().map(PathSegment::as_str), app.task_id.as_ref().map(PathSegment::as_str));
    assert_eq!(pinned, (Some("ward"), Some("visit-1")));
    assert_eq!(app.consumed_at, Some(time("2026-11-21T08:00:10Z")));
    assert_eq!(
        (&operator.app_id, &operator.orch_id, &operator.task_id, operator.consumed_at),
        (&None, &None, &None, None)
    );
    assert_eq!(operator.created_by, Subject::Admin);
    let written = serde_json::to_value(operator).unwrap();
    assert_eq!(written, bare, "for scripts it is written as the broker says it");
}

#[tokio::test]
async fn lists_revocations() {
    let (broker, admin, _) = broker().await;
    let full = json!({
        "level": "agent", "target": ID, "revoked_at": "2026-11-21T08:00:00Z", "expires_at": "2026-11-22T08:00:00Z",
        "revoked_by": "admin", "reason": "a drill",
    });
    let mut bare = full.clone();
    bare.as_object_mut().unwrap().remove("reason");
    broker.on("GET /v1/admin/revocations", 200, &list("revocations", &json!([full, bare])));
    let listed = admin.revocations(&Page::default()).await.unwrap();
    let [first, second] = listed.entries.as_slice() else { panic!("{listed:?}") };
    assert_eq!((first.level, first.target.as_str(), first.revoked_by.as_str()), (Level::Agent, ID, "admin"));
    assert_eq!((first.revoked_at, first.expires_at), (time("2026-11-21T08:00:00Z"), time("2026-11-22T08:00:00Z")));
    assert_eq!((first.reason.as_deref(), second.reason.as_deref()), (Some("a drill"), None));
}

#[tokio::test]
async fn lists_agents_of_app() {
    let (broker, _, app) = broker().await;
    let agent = json!({
        "agent_id": ID, "orch_id": "ward", "task_id": "visit-1", "scope": ["read:data:x"],
        "registered_at": "2026-11-21T08:00:00Z", "expires_at": "2026-11-21T08:05:00Z", "status": "active",
    });
    broker.on("GET /v1/app/agents?limit=2&offset=1&cursor=c%2F1+%26", 200, &list("agents", &json!([agent])));
    let page = Page { limit: Some(2), offset: Some(1), cursor: Some("c/1 &".to_owned()) };
    let listed = app.agents(&page).await.unwrap();
    let [agent] = listed.entries.as_slice() else { panic!("{listed:?}") };
    assert_eq!((agent.agent_id.as_str(), agent.status), (ID, Some(AgentStatus::Active)));
    assert_eq!((agent.orch_id.as_str(), agent.task_id.as_str()), ("ward", "visit-1"));
    assert_eq!(agent.scope.to_string(), "read:data:x");
    assert_eq!((agent.registered_at, agent.expires_at), (time("2026-11-21T08:00:00Z"), time("2026-11-21T08:05:00Z")));
}

#[tokio::test]
async fn sends_complete_encoded_audit_query() {
    let (broker, admin, app) = broker().await;
    let query = AuditQuery {
        agent_id: Some(SubjectFilter::parse(ID).unwrap()),
        task_id: Some(PathSegment::parse("visit-1").unwrap()),
        event_type: Some(EventType::TokenIssued),
        outcome: Some(Outcome::Success),
        since: Some(time("2026-11-21T08:00:00Z")),
        until: Some(time("2026-11-21T09:00:00Z")),
        page: Page { limit: Some(1000), offset: Some(3), cursor: None },
    };
    let sent = "agent_id=spiffe%3A%2F%2Fagentwrit.local%2Fagent%2Fward%2Fvisit-1%2F0123456789abcdef&task_id=visit-1\
                &event_type=token_issued&outcome=success&since=2026-11-21T08%3A00%3A00Z&until=2026-11-21T09%3A00%3A00Z\
                &limit=1000&offset=3";
    for path in ["/v1/audit/events", "/v1/app/audit/events"] {
        broker.on(&format!("GET {path}?{sent}"), 200, &list("events", &json!([event()])));
    }
    let listed = admin.audit_events(&query).await.unwrap();
    assert_eq!(listed, app.audit_events(&query).await.unwrap());
    let [event] = listed.entries.as_slice() else { panic!("{listed:?}") };
    assert_eq!((event.event_type, event.outcome), (EventType::TokenIssued, Outcome::Success));

    let all = json!({"events": [], "total": 0, "offset": 0, "limit": 100});
    broker.on("GET /v1/audit/events?cursor=7", 200, &all);
    broker.on("GET /v1/audit/events", 200, &all);
    let after = AuditQuery::default().after(EventId::parse("evt-000007").unwrap());
    let listed = admin.audit_events(&after).await.unwrap();
    assert_eq!((listed.entries.len(), listed.total, listed.next_cursor), (0, 0, None));
    admin.audit_events(&AuditQuery::default()).await.unwrap();
}

#[tokio::test]
async fn deletes_launch_token_by_valid_id_only() {
    let (broker, admin, _) = broker().await;
    broker.on_raw("DELETE /v1/admin/launch-tokens/lt-1", 204, &[], "");
    broker.on("DELETE /v1/admin/launch-tokens/lt-2", 404, &problem(404, "not_found", "no such launch token"));
    admin.delete_launch_token("lt-1").await.unwrap();
    assert_eq!(admin.delete_launch_token("lt-2").await.unwrap_err().error_code(), Some("not_found"));
    let before = broker.request_lines().len();
    for id in ["", "../apps/app-desk-0a1b2c", "lt-1?x", "lt-1#", "lt 1", "lt%2F1", "lt_1", "."] {
        let error = admin.delete_launch_token(id).await.unwrap_err();
        assert!(matches!(&error, ClientError::InvalidInput { field: "launch token id", .. }), "{error:?}");
    }
    assert_eq!(broker.request_lines().len(), before);
}

#[tokio::test]
async fn list_without_entries_is_malformed_response() {
    let (broker, admin, _) = broker().await;
    broker.on("GET /v1/admin/revocations", 200, &json!({"total": 0}));
    let error = admin.revocations(&Page::default()).await.unwrap_err();
    assert!(matches!(&error, ClientError::MalformedResponse { .. }), "{error:?}");
}
