//! `awrit agent list`, `awrit agent show`, `awrit token list` and `awrit app rotate-secret`.

use agentwrit_e2e::Broker;
use serde_json::json;

const AGENT: &str = "spiffe://agentwrit.local/agent/orch-1/task-1/<instance>";

#[tokio::test]
async fn lists_and_shows_agents_with_their_tokens() {
    let broker = Broker::start().await;
    broker.awrit(&["agent", "list"]).await.is(0, "No agent matches.", "");
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let agent = broker.enrol(&app_token, "task-1", json!({"allowed_scope": ["read:data:x"]})).await;
    let delegate = broker.enrol(&admin, "task-2", json!({"allowed_scope": ["read:data:x"]})).await;
    let delegation = json!({"delegate_to": delegate.id, "scope": ["read:data:x"]});
    assert_eq!(broker.post("/v1/delegate").bearer(&agent.token).json(&delegation).await.status, 200);

    broker.awrit(&["agent", "list", "--app-id", &app.app_id]).await.is(
        0,
        &format!(
            "AGENT  APP  STATUS  REGISTERED  EXPIRES  SCOPES\n{AGENT}  app-desk-<suffix>  active  <when>  <when>  read:data:x"
        ),
        "",
    );
    let paged = broker.awrit(&["agent", "list", "--scope", "read:data:x", "--limit", "1"]).await;
    assert!(paged.stdout.contains("1 of 2; continue with --cursor"), "{}", paged.stdout);

    broker.awrit(&["agent", "show", &agent.id]).await.is(
        0,
        &format!(
            "\
agent_id  {AGENT}
app_id  app-desk-<suffix>
status  active
scope  read:data:x
registered_at  <time> (<when>)
expires_at  <time> (<when>)

Tokens:
JTI  STATE  ISSUED  EXPIRES  SUBJECT  DELEGATED BY  SCOPES
<jti>  live  <when>  <when>  {AGENT}  -  read:data:x

Delegated from it:
JTI  STATE  ISSUED  EXPIRES  SUBJECT  DELEGATED BY  SCOPES
<jti>  live  <when>  <when>  spiffe://agentwrit.local/agent/orch-1/task-2/<instance>  {AGENT}  read:data:x"
        ),
        "",
    );
    let shown = broker.awrit(&["agent", "show", &agent.id, "--json"]).await.json();
    assert_eq!(shown["delegated"][0]["delegator_sid"], shown["tokens"][0]["sid"]);
    let unknown = "spiffe://agentwrit.local/agent/orch/task/0123456789abcdef";
    let run = broker.awrit(&["agent", "show", unknown]).await;
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("there is no agent"), "{}", run.stderr);
    assert_eq!(broker.awrit(&["agent", "show", "task-1"]).await.code, 2);
}

#[tokio::test]
async fn lists_tokens_by_task_and_state() {
    let broker = Broker::start().await;
    broker.awrit(&["token", "list", "--task-id", "task-1"]).await.is(0, "No token matches.", "");
    let admin = broker.admin_token().await;
    let agent = broker.enrol(&admin, "task-1", json!({"allowed_scope": ["read:data:x"]})).await;
    assert_eq!(broker.release(&agent.token).await.status, 204);
    broker.awrit(&["token", "list", "--task-id", "task-1"]).await.is(0, "No token matches.", "");
    broker.awrit(&["token", "list", "--sub", &agent.id, "--all"]).await.is(
        0,
        &format!(
            "JTI  STATE  ISSUED  EXPIRES  SUBJECT  DELEGATED BY  SCOPES\n<jti>  ended  <when>  <when>  {AGENT}  -  read:data:x"
        ),
        "",
    );
}

#[tokio::test]
async fn rotates_secret_of_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "invoice-desk", &["read:data:*"]).await;
    broker.awrit(&["app", "rotate-secret", &app.app_id]).await.is(
        0,
        "\
app_id  app-invoice-desk-<suffix>
client_id  <client id>
client_secret  <hash>
former_secret_expires_at  <time>

The client secret is shown this once: the broker keeps a digest only.",
        "",
    );
    assert_eq!(broker.awrit(&["app", "rotate-secret", &app.app_id, "--overlap", "0"]).await.code, 2, "needs --yes");
    let rotate = ["app", "rotate-secret", &app.app_id, "--overlap", "0", "--yes", "--json"];
    let rotated = broker.awrit(&rotate).await.json();
    let log_in = async |secret: &str| {
        let body = json!({"client_id": app.client_id, "client_secret": secret});
        broker.post("/v1/app/auth").json(&body).await.status
    };
    assert_eq!(
        (log_in(&app.client_secret).await, log_in(rotated["client_secret"].as_str().unwrap()).await),
        (401, 200)
    );
}
