//! Administration: requests and responses.

use std::time::Duration;

use agentwrit_client::{Admin, AppStatus, AppUpdate, Client, ClientError, NewApp, NewLaunchToken};
use agentwrit_verify::{AppId, UnixTime};
use serde_json::{Value, json};

use crate::broker::{FakeBroker, problem, token};

const APP: &str = "/v1/admin/apps/app-invoice-desk-0a1b2c";

async fn broker() -> (FakeBroker, Admin) {
    let broker = FakeBroker::start().await;
    broker.on("POST /v1/admin/auth", 200, &token("admin-token", 300));
    let admin = Client::new(&broker.url).unwrap().admin("admin-secret").unwrap();
    (broker, admin)
}

fn record() -> Value {
    json!({
        "app_id": "app-invoice-desk-0a1b2c", "client_id": "id-0123456789ab", "name": "invoice-desk",
        "scopes": ["read:invoices:*"], "token_ttl": 1800, "status": "active",
        "created_at": "2026-11-21T08:00:00Z", "updated_at": "2026-11-21T08:00:01Z",
    })
}

fn id() -> AppId {
    AppId::parse("app-invoice-desk-0a1b2c").unwrap()
}

#[tokio::test]
async fn creates_app() {
    let (broker, admin) = broker().await;
    let mut response = record();
    response["client_secret"] = json!("f00d");
    broker.on("POST /v1/admin/apps", 201, &response);

    let app = NewApp::new("invoice-desk", ["read:invoices:*"]).unwrap().token_ttl(Duration::from_secs(1800)).unwrap();
    let created = admin.create_app(&app).await.unwrap();

    assert_eq!(
        broker.requests("POST /v1/admin/apps")[0].json(),
        json!({"name": "invoice-desk", "scopes": ["read:invoices:*"], "token_ttl": 1800})
    );
    assert_eq!(created.client_secret.expose(), "f00d");
    assert_eq!(created.record.app_id, id());
    assert_eq!(created.record.client_id, "id-0123456789ab");
    assert_eq!(created.record.created_at, UnixTime::parse_rfc3339("2026-11-21T08:00:00Z").ok());
}

#[tokio::test]
async fn omits_members_that_are_not_set() {
    let (broker, admin) = broker().await;
    broker.on("POST /v1/admin/apps", 409, &problem(409, "conflict", "an active app of that name exists"));
    let error = admin.create_app(&NewApp::new("invoice-desk", ["read:invoices:*"]).unwrap()).await.unwrap_err();
    assert_eq!(error.error_code(), Some("conflict"));
    assert_eq!(
        broker.requests("POST /v1/admin/apps")[0].json(),
        json!({"name": "invoice-desk", "scopes": ["read:invoices:*"]})
    );
}

#[tokio::test]
async fn lists_reads_changes_and_deregisters_apps() {
    let (broker, admin) = broker().await;
    broker.on("GET /v1/admin/apps", 200, &json!({"apps": [record()], "total": 1}));
    broker.on(&format!("GET {APP}"), 200, &record());
    broker.on(&format!("GET {APP}"), 404, &problem(404, "not_found", "no such app"));
    broker.on(&format!("PUT {APP}"), 200, &record());
    let gone = json!({"app_id": id(), "status": "inactive", "deregistered_at": "2026-11-21T09:00:00Z"});
    broker.on(&format!("DELETE {APP}"), 200, &gone);

    let apps = admin.apps().await.unwrap();
    assert_eq!(apps.len(), 1);
    assert_eq!(admin.app(&id()).await.unwrap().as_ref(), apps.first());
    assert_eq!(admin.app(&id()).await.unwrap(), None);
    let update = AppUpdate::default().scopes(["read:invoices:*"]).unwrap();
    assert_eq!(admin.update_app(&id(), &update).await.unwrap(), apps[0]);
    assert_eq!(broker.requests(&format!("PUT {APP}"))[0].json(), json!({"scopes": ["read:invoices:*"]}));
    let at = admin.delete_app(&id()).await.unwrap();
    assert_eq!(at.to_rfc3339(), "2026-11-21T09:00:00Z");
    assert_eq!(broker.count("POST /v1/admin/auth"), 1);
}

#[tokio::test]
async fn suspends_and_resumes_apps_without_body() {
    let (broker, admin) = broker().await;
    let with_status = |status: &str| {
        let mut app = record();
        app["status"] = json!(status);
        app
    };
    broker.on(&format!("POST {APP}/suspend"), 200, &with_status("suspended"));
    broker.on(&format!("POST {APP}/resume"), 200, &with_status("active"));
    assert_eq!(admin.suspend_app(&id()).await.unwrap().status, Some(AppStatus::Suspended));
    assert_eq!(admin.resume_app(&id()).await.unwrap().status, Some(AppStatus::Active));
    assert!(broker.requests(&format!("POST {APP}/suspend"))[0].body.is_empty());
}

#[tokio::test]
async fn issues_launch_tokens() {
    let (broker, admin) = broker().await;
    broker.on(
        "POST /v1/admin/launch-tokens",
        201,
        &json!({
            "launch_token": "cafe", "launch_token_id": "lt-1", "expires_at": "2026-11-21T08:00:30Z",
            "policy": {"allowed_scope": ["read:data:*"], "max_ttl": 60},
        }),
    );
    let request = NewLaunchToken::new("a reader", ["read:data:*"]).unwrap().reusable();
    let request = request.ttl(Duration::from_secs(30)).max_ttl(Duration::from_secs(120));
    let token = admin.create_launch_token(&request.pinned_to("orch", "task").unwrap()).await.unwrap();

    assert_eq!(
        broker.requests("POST /v1/admin/launch-tokens")[0].json(),
        json!({
            "agent_name": "a reader", "allowed_scope": ["read:data:*"], "max_ttl": 120, "single_use": false, "ttl": 30,
            "orch_id": "orch", "task_id": "task",
        })
    );
    assert_eq!(token.token().expose(), "cafe");
    assert_eq!(token.id(), Some("lt-1"));
    assert_eq!(token.max_ttl(), Duration::from_secs(60));
    assert_eq!(token.expires_at().to_rfc3339(), "2026-11-21T08:00:30Z");
    assert_eq!(token.allowed_scope().len(), 1);
}

#[tokio::test]
async fn rejects_invalid_input_before_sending() {
    for (error, field) in [
        (NewApp::new("a", ["nonsense"]).unwrap_err(), "scopes"),
        (NewApp::new("a", ["a:b:c"]).unwrap().token_ttl(Duration::ZERO).unwrap_err(), "token_ttl"),
        (AppUpdate::default().scopes(Vec::<String>::new()).unwrap_err(), "scopes"),
        (AppUpdate::default().token_ttl(Duration::ZERO).unwrap_err(), "token_ttl"),
        (NewLaunchToken::new("a", [""]).unwrap_err(), "allowed scope"),
        (NewLaunchToken::new("a", ["a:b:c"]).unwrap().pinned_to("a/b", "c").unwrap_err(), "orch_id"),
        (Client::new("http://127.0.0.1:1").unwrap().admin("").unwrap_err(), "admin secret"),
        (Client::new("not a url").unwrap_err(), "broker URL"),
    ] {
        assert!(matches!(&error, ClientError::InvalidInput { field: named, .. } if *named == field), "{error:?}");
    }
}
