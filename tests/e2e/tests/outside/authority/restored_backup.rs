//! B3: after a restore, what was ended since the backup stays ended.

use agentwrit_e2e::{AppCredentials, Broker, Registration, payload};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

const SCOPES: [&str; 1] = ["read:data:x"];

/// A backup of the files, taken while the broker is stopped, and the broker that goes on.
async fn back_up(broker: Broker) -> (TempDir, Broker) {
    let (_, directory) = broker.terminate().await;
    let backup = tempfile::tempdir().unwrap();
    for file in ["data.db", "signing.key"] {
        std::fs::copy(directory.path().join(file), backup.path().join(file)).unwrap();
    }
    (backup, Broker::start_in(directory, &[]).await)
}

/// Restores the backup, marks it and starts on it. What `mark-restored` said comes with the broker.
async fn restored(broker: Broker, backup: TempDir) -> (Broker, String) {
    broker.terminate().await;
    let marked = Broker::run_in(backup.path(), &[], &["mark-restored"]).await;
    assert!(marked.status.success(), "{}", marked.output);
    (Broker::start_in(backup, &[]).await, marked.output)
}

async fn app_and_admin(broker: &Broker) -> (AppCredentials, String) {
    let admin = broker.admin_token().await;
    (broker.create_app(&admin, "desk", &SCOPES).await, admin)
}

fn login(app: &AppCredentials) -> Value {
    json!({"client_id": app.client_id, "client_secret": app.client_secret})
}

/// The operator's token from the second after the mark on.
async fn admin_after_mark(broker: &Broker) -> String {
    let token = broker.admin_token().await;
    assert!(broker.accepts(&token).await, "a login that succeeds gives a token that is valid");
    token
}

#[tokio::test]
async fn rejects_login_of_app_deregistered_after_the_backup_until_the_operator_resumes_apps() {
    let broker = Broker::start().await;
    let (app, _) = app_and_admin(&broker).await;
    let (backup, broker) = back_up(broker).await;
    let admin = broker.admin_token().await;
    let path = format!("/v1/admin/apps/{}", app.app_id);
    assert_eq!(broker.request(Method::DELETE, &path).bearer(&admin).await.status, 200);

    let (broker, said) = restored(broker, backup).await;
    broker.post("/v1/app/auth").json(&login(&app)).await.refused(401, "unauthorized", "invalid credentials");
    let admin = admin_after_mark(&broker).await;
    let events = broker.events(&admin, "event_type=app_suspended").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["resource"], app.app_id.as_str());
    let resumed = broker.awrit(&["app", "resume", "--all"]).await;
    assert_eq!((resumed.code, resumed.stdout.trim_end()), (0, format!("{} is active.", app.app_id).as_str()));
    assert_eq!(broker.post("/v1/app/auth").json(&login(&app)).await.status, 200);
    assert!(said.contains(&format!("apps suspended: 1\n  {}\n", app.app_id)), "{said}");
}

#[tokio::test]
async fn rejects_delegation_to_agent_that_was_registered_before_the_backup() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch = json!({"allowed_scope": SCOPES, "max_ttl": 600});
    let agent = broker.enrol(&admin, "task-1", launch.clone()).await;
    let (backup, broker) = back_up(broker).await;
    let admin = broker.admin_token().await;
    assert_eq!(broker.revoked(&admin, "agent", &agent.id).await, 1);

    let (broker, said) = restored(broker, backup).await;
    let admin = admin_after_mark(&broker).await;
    let fresh = broker.enrol(&admin, "task-2", launch).await;
    let handed = broker.delegate(&fresh.token, &agent, &SCOPES).await;
    handed.refused(404, "not_found", "delegate agent not found");
    assert!(!broker.accepts(&agent.token).await);
    assert!(said.contains("agents barred: 1\n"), "{said}");
}

#[tokio::test]
async fn rejects_launch_tokens_and_nonces_from_before_the_restore() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let body = json!({"agent_name": "a test", "allowed_scope": SCOPES, "ttl": 600, "single_use": false});
    let issued = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&body).await.json();
    let (backup, broker) = back_up(broker).await;
    let nonce = broker.nonce().await;
    let spent = Registration::new(issued["launch_token"].as_str().unwrap(), &nonce, &SCOPES);
    assert_eq!(broker.post("/v1/register").json(&spent.0).await.status, 200);

    let (broker, said) = restored(broker, backup).await;
    let again = broker.post("/v1/register").json(&spent.0).await;
    again.refused(401, "unauthorized", "launch token not found");
    let admin = admin_after_mark(&broker).await;
    let launch_token = broker.launch_token(&admin, &SCOPES).await;
    let replayed = spent.clone().with("launch_token", json!(launch_token));
    let answer = broker.post("/v1/register").json(&replayed.0).await;
    answer.refused(401, "unauthorized", "nonce not found or expired");
    let fresh = Registration::new(&launch_token, &broker.nonce().await, &SCOPES);
    let registered = broker.post("/v1/register").json(&fresh.0).await;
    assert_eq!(registered.status, 200);
    assert_eq!(payload(registered.json()["access_token"].as_str().unwrap())["task_id"], "task-1");
    assert!(said.contains("launch tokens deleted: 1\n"), "{said}");
}
