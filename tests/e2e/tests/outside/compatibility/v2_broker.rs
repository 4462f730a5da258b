//! `agentwrit-client` and `awrit` against an AgentWrit v2 broker (C21): its answers lack what this project adds, and a
//! secret that was received is always shown.

use std::{path::Path, time::Duration};

use agentwrit_client::{
    Admin, AppUpdate, AuditQuery, Client, ClientError, NewApp, NewLaunchToken, RevocationTarget, Validation,
};
use agentwrit_e2e::{Run, awrit};
use agentwrit_verify::{AgentId, AppId, PathSegment};
use axum::{
    Json, Router,
    extract::Path as Segment,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const AGENT: &str = "spiffe://agentwrit.local/agent/billing/invoice-1/0123456789abcdef";
const OTHER: &str = "spiffe://agentwrit.local/agent/billing/invoice-1/fedcba9876543210";
const APP: &str = "app-desk-0a1b2c";

/// The claims of a v2 token: no `sid`.
fn claims() -> Value {
    json!({
        "iss": "agentauth", "sub": AGENT, "aud": [], "exp": 4_000_000_300_u64, "nbf": 4_000_000_000_u64,
        "iat": 4_000_000_000_u64, "jti": "00112233445566778899aabbccddeeff", "scope": ["read:data:x"],
        "task_id": "invoice-1", "orch_id": "billing",
    })
}

fn token() -> String {
    let [header, payload] = [json!({ "alg": "EdDSA", "typ": "JWT" }), claims()]
        .map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    format!("{header}.{payload}.{}", BASE64URL_NOPAD.encode(&[7; 64]))
}

fn app() -> Value {
    json!({ "app_id": APP, "client_id": "de-0123456789ab", "name": "desk", "scopes": ["read:data:*"] })
}

fn with(mut object: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// Response of v2 to a call: contract §4 without the members marked ★.
fn routes() -> Router {
    let event = json!({
        "id": "evt-000001", "timestamp": "2026-11-21T08:00:00.000001Z", "event_type": "admin_auth", "agent_id": "admin",
        "detail": "admin authenticated", "outcome": "success", "hash": "ab".repeat(32), "prev_hash": "00".repeat(32),
    });
    let launch_token = json!({
        "launch_token": "cd".repeat(32), "expires_at": "2096-11-21T08:00:00Z",
        "policy": { "allowed_scope": ["read:data:x"], "max_ttl": 300 },
    });
    let fixed = |status: u16, body: Value| {
        let status = StatusCode::from_u16(status).unwrap();
        move || {
            let body = body.clone();
            async move { (status, Json(body)) }
        }
    };
    let auth = json!({ "access_token": token(), "expires_in": 300 });
    let chain = json!([{ "agent": AGENT, "scope": ["read:data:x"], "delegated_at": "2026-11-21T08:00:00Z", "signature": "ab" }]);
    Router::new()
        .route(
            "/v1/health",
            get(fixed(200, json!({ "status": "ok", "version": "2.0.0", "uptime": 7, "db_connected": true, "audit_events_count": 1 }))),
        )
        .route("/v1/challenge", get(fixed(200, json!({ "nonce": "ab".repeat(32), "expires_in": 30 }))))
        .route("/v1/token/validate", post(fixed(200, json!({ "valid": true, "claims": claims() }))))
        .route("/v1/admin/auth", post(fixed(200, auth.clone())))
        .route("/v1/app/auth", post(fixed(200, with(auth, &json!({ "scopes": ["app:launch-tokens:*"] })))))
        .route(
            "/v1/register",
            post(fixed(200, json!({ "agent_id": AGENT, "access_token": token(), "expires_in": 300 }))),
        )
        .route("/v1/token/renew", post(fixed(200, json!({ "access_token": token(), "expires_in": 300 }))))
        .route("/v1/token/release", post(|| async { StatusCode::NO_CONTENT }))
        .route(
            "/v1/delegate",
            post(fixed(200, json!({ "access_token": token(), "expires_in": 60, "delegation_chain": chain }))),
        )
        .route("/v1/admin/launch-tokens", post(fixed(201, launch_token.clone())))
        .route("/v1/app/launch-tokens", post(fixed(201, launch_token)))
        .route(
            "/v1/admin/apps",
            get(fixed(200, json!({ "apps": [app()], "total": 1 })))
                .post(fixed(201, with(app(), &json!({ "client_secret": "f00d" })))),
        )
        .route(
            "/v1/admin/apps/{id}",
            get(fixed(200, app())).put(fixed(200, app())).delete(|Segment(id): Segment<String>| async move {
                Json(json!({ "app_id": id, "status": "inactive", "deregistered_at": "2026-11-21T08:00:00Z" }))
            }),
        )
        .route(
            "/v1/revoke",
            post(fixed(200, json!({ "revoked": true, "level": "task", "target": "invoice-1", "count": 1 }))),
        )
        .route(
            "/v1/audit/events",
            get(fixed(200, json!({ "events": [event], "total": 1, "offset": 0, "limit": 100 }))),
        )
        .fallback(|| async { StatusCode::NOT_FOUND.into_response() })
}

async fn serve(routes: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

fn admin(url: &str) -> Admin {
    Client::new(url).unwrap().admin("admin-secret").unwrap()
}

#[tokio::test]
async fn operator_calls_work_with_v2_broker() {
    let url = serve(routes()).await;
    let (admin, id) = (admin(&url), AppId::parse(APP).unwrap());
    let created = admin.create_app(&NewApp::new("desk", ["read:data:*"]).unwrap()).await.unwrap();
    assert_eq!(created.client_secret.expose(), "f00d");
    assert_eq!((created.record.created_at, created.record.token_ttl, created.record.status), (None, None, None));
    assert_eq!(admin.apps().await.unwrap().len(), 1);
    assert_eq!(admin.app(&id).await.unwrap().unwrap().client_id, "de-0123456789ab");
    let update = AppUpdate::default().scopes(["read:data:x"]).unwrap();
    assert_eq!(admin.update_app(&id, &update).await.unwrap().updated_at, None);
    admin.delete_app(&id).await.unwrap();
    let request = NewLaunchToken::new("desk", ["read:data:x"]).unwrap();
    let launch_token = admin.create_launch_token(&request).await.unwrap();
    assert_eq!((launch_token.id(), launch_token.token().expose().len()), (None, 64));
    let task = RevocationTarget::Task(PathSegment::parse("invoice-1").unwrap());
    assert!(admin.revoke(&task, None).await.unwrap().revoked);
    assert_eq!(admin.audit_events(&AuditQuery::default()).await.unwrap().next_cursor, None);
}

#[tokio::test]
async fn app_and_agent_calls_work_with_v2_broker() {
    let url = serve(routes()).await;
    let client = Client::new(&url).unwrap();
    assert!(client.health().await.unwrap().is_ok());
    let validation = client.validate("token").await.unwrap();
    assert!(validation.is_valid(), "{validation:?}");
    let Validation::ValidWithOtherClaims { claims } = validation else { panic!("{validation:?}") };
    assert_eq!(claims["sub"], AGENT);

    let app = client.app("de-0123456789ab", "f00d").unwrap();
    let agent = app.agent("billing", "invoice-1").scope(["read:data:x"]).unwrap().create().await.unwrap();
    agent.renew().await.unwrap();
    let delegated = agent.delegate(&AgentId::parse(OTHER).unwrap(), ["read:data:x"], Duration::from_secs(60)).await;
    let delegated = delegated.unwrap();
    assert_eq!((delegated.token().expose(), delegated.chain().len()), (token().as_str(), 0));
    agent.release().await.unwrap();
}

async fn run(directory: &Path, url: &str, arguments: &[&str]) -> Run {
    let operator = [("AACTL_BROKER_URL", url), ("AACTL_ADMIN_SECRET", "admin-secret")];
    awrit(directory, &operator, arguments, "").await
}

#[tokio::test]
async fn awrit_commands_work_with_v2_broker() {
    let url = serve(routes()).await;
    let directory = tempfile::tempdir().unwrap();
    let token = token();
    let register = ["agent", "register", "--orch-id", "billing", "--task-id", "invoice-1", "--scopes", "read:data:x"];
    for (arguments, shown) in [
        (&["health"][..], "2.0.0"),
        (&["app", "register", "--name", "desk", "--scopes", "read:data:*"], "f00d"),
        (&["app", "list"], APP),
        (&["app", "get", APP], "de-0123456789ab"),
        (&["app", "update", "--id", APP, "--scopes", "read:data:x"], "de-0123456789ab"),
        (&["app", "remove", "--id", APP, "--yes"], APP),
        (&["launch-token", "create", "--name", "desk", "--scopes", "read:data:x"], "cdcdcdcd"),
        (&register, &token),
        (&["revoke", "--level", "task", "--target", "invoice-1", "--yes"], "invoice-1"),
        (&["audit", "events"], "admin_auth"),
        (&["token", "validate", &token], AGENT),
        (&["token", "release", "--token", &token], ""),
    ] {
        for json in [false, true] {
            let arguments = [arguments, if json { &["--json"][..] } else { &[] }].concat();
            let run = run(directory.path(), &url, &arguments).await;
            assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
            assert!(run.stdout.contains(shown), "{arguments:?}: {}", run.stdout);
        }
    }
    for arguments in [&["launch-token", "list"][..], &["revocations", "list"], &["keys", "export"]] {
        let run = run(directory.path(), &url, arguments).await;
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(run.stderr.contains("there is no such endpoint"), "{arguments:?}: {}", run.stderr);
    }
}

/// A v2 broker that answers one call like this.
async fn answers(path: &'static str, body: String) -> String {
    let own = Router::new().route(path, post(move || async move { (StatusCode::CREATED, body) }));
    let rest = routes();
    serve(own.fallback_service(rest)).await
}

#[tokio::test]
async fn shows_secret_of_malformed_response() {
    let directory = tempfile::tempdir().unwrap();
    let register = ["app", "register", "--name", "desk", "--scopes", "read:data:*"];
    for answer in [
        r#"{"client_secret":"f00d"}"#,
        r#"{"app_id":7,"client_id":null,"client_secret":"f00d","created_at":"yesterday"}"#,
        r#"{"app_id":"app-desk-0a1b2c","client_secret":"f00d","client_secret":"f00d"}"#,
        r#"{"client_secret":"f00d","app_id":"app-de"#,
    ] {
        let url = answers("/v1/admin/apps", answer.to_owned()).await;
        let error = admin(&url).create_app(&NewApp::new("desk", ["read:data:*"]).unwrap()).await.unwrap_err();
        assert!(matches!(error, ClientError::MalformedResponse { .. }), "{error:?}");
        assert_eq!(error.received_secret().unwrap().secret.expose(), "f00d");
        assert!(!format!("{error} {error:?}").contains("f00d"), "{error:?}");

        let run = run(directory.path(), &url, &register).await;
        assert_eq!((run.code, run.stdout.trim_end()), (1, r#"{"client_secret":"f00d"}"#), "{}", run.stderr);
        assert!(run.stderr.contains("malformed response"), "{}", run.stderr);
    }
}

#[tokio::test]
async fn omits_malformed_optional_members() {
    let odd =
        json!({ "client_secret": "f00d", "token_ttl": "half an hour", "status": 1, "created_at": 7, "updated_at": {} });
    let url = answers("/v1/admin/apps", with(app(), &odd).to_string()).await;
    let directory = tempfile::tempdir().unwrap();
    let run =
        run(directory.path(), &url, &["app", "register", "--name", "desk", "--scopes", "read:data:*", "--json"]).await;
    let shown = with(app(), &json!({ "client_secret": "f00d" }));
    assert_eq!(run.json(), shown);
}

#[tokio::test]
async fn shows_launch_and_access_tokens_of_malformed_responses() {
    let directory = tempfile::tempdir().unwrap();
    let url = answers("/v1/admin/launch-tokens", r#"{"launch_token":"cafe","expires_at":"soon"}"#.to_owned()).await;
    let launch =
        run(directory.path(), &url, &["launch-token", "create", "--name", "desk", "--scopes", "read:data:x"]).await;
    assert_eq!((launch.code, launch.stdout.trim_end()), (1, r#"{"launch_token":"cafe"}"#), "{}", launch.stderr);

    let url = answers("/v1/register", r#"{"access_token":"opaque","agent_id":"malformed"}"#.to_owned()).await;
    let register = ["agent", "register", "--orch-id", "billing", "--task-id", "invoice-1", "--scopes", "read:data:x"];
    let registered = run(directory.path(), &url, &register).await;
    assert_eq!(
        (registered.code, registered.stdout.trim_end()),
        (1, r#"{"access_token":"opaque"}"#),
        "{}",
        registered.stderr
    );
}
