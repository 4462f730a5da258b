//! `awrit app`.

use agentwrit_e2e::Broker;

#[tokio::test]
async fn registers_lists_updates_and_removes_app() {
    let broker = Broker::start().await;
    broker.awrit(&["app", "list"]).await.is(0, "There is no app: `awrit app register` registers one.", "");

    let register = ["app", "register", "--name", "invoice-desk", "--scopes", "read:invoices:*,write:reminders:*"];
    broker.awrit(&register).await.is(
        0,
        "\
app_id  app-invoice-desk-<suffix>
client_id  <client id>
client_secret  <hash>
name  invoice-desk
status  active
scopes  read:invoices:* write:reminders:*
token_ttl  1800
created_at  <time>
updated_at  <time>

The client secret is shown this once: the broker keeps a digest only.",
        "",
    );
    broker.awrit(&["app", "list"]).await.is(
        0,
        "\
APP ID  NAME  STATUS  CLIENT ID  TTL  CREATED  SCOPES
app-invoice-desk-<suffix>  invoice-desk  active  <client id>  1800  <time>  read:invoices:* write:reminders:*",
        "",
    );

    let listed = broker.awrit(&["app", "list", "--json"]).await.json();
    assert_eq!(listed["total"], 1);
    let id = listed["apps"][0]["app_id"].as_str().unwrap();
    assert_eq!(broker.awrit(&["app", "get", id, "--json"]).await.json(), listed["apps"][0]);

    let update = ["app", "update", "--id", id, "--scopes", "read:invoices:*", "--token-ttl", "60"];
    broker.awrit(&update).await.is(
        0,
        "\
app_id  app-invoice-desk-<suffix>
client_id  <client id>
name  invoice-desk
status  active
scopes  read:invoices:*
token_ttl  60
created_at  <time>
updated_at  <time>",
        "",
    );
    broker.awrit(&["app", "remove", "--id", id, "--yes"]).await.is(
        0,
        "app-invoice-desk-<suffix> was deregistered at <time>. Its agents keep their tokens until they expire.",
        "",
    );
    let listed = broker.awrit(&["app", "list", "--json"]).await.json();
    assert_eq!(listed["apps"][0]["status"], "inactive");
}

#[tokio::test]
async fn suspends_app_and_resumes_one_or_all() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let mut ids = Vec::new();
    for name in ["desk", "front"] {
        let app = broker.create_app(&admin, name, &["read:data:*"]).await;
        broker.awrit(&["app", "suspend", &app.app_id, "--yes"]).await.is(
            0,
            &format!("app-{name}-<suffix> is suspended. Its agents keep their tokens until they expire."),
            "",
        );
        ids.push(app.app_id);
    }
    let statuses = async || {
        let listed = broker.awrit(&["app", "list", "--json"]).await.json();
        let apps = listed["apps"].as_array().unwrap().iter();
        apps.map(|app| app["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(statuses().await, ["suspended", "suspended"]);
    broker.awrit(&["app", "resume", &ids[1]]).await.is(0, "app-front-<suffix> is active.", "");
    assert_eq!(statuses().await, ["suspended", "active"]);
    broker.awrit(&["app", "resume", "--all"]).await.is(0, "app-desk-<suffix> is active.", "");
    broker.awrit(&["app", "resume", "--all"]).await.is(0, "No app is suspended.", "");
    assert_eq!(statuses().await, ["active", "active"]);
    assert_eq!(broker.awrit(&["app", "resume"]).await.code, 2, "neither an id nor --all");
    assert_eq!(broker.awrit(&["app", "resume", &ids[0], "--all"]).await.code, 2, "both");
}

#[tokio::test]
async fn secret_of_new_app_authenticates() {
    let broker = Broker::start().await;
    let register = ["app", "register", "--name", "desk", "--scopes", "read:data:*", "--token-ttl", "120", "--json"];
    let app = broker.awrit(&register).await.json();
    assert_eq!(app["token_ttl"], 120);
    let credentials = serde_json::json!({ "client_id": app["client_id"], "client_secret": app["client_secret"] });
    let answer = broker.post("/v1/app/auth").json(&credentials).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn reports_reason_when_app_command_fails() {
    let broker = Broker::start().await;
    let register = ["app", "register", "--name", "desk", "--scopes", "read:data:*"];
    assert_eq!(broker.awrit(&register).await.code, 0);
    broker.awrit(&register).await.is(
        1,
        "",
        "\
awrit: broker refused (409): an active app of that name exists
  hint: choose another name, or deregister the app that has it
  request id: <instance> (the broker's log has more)",
    );
    broker.awrit(&["app", "register", "--name", "desk", "--scopes", "read:data"]).await.is(
        1,
        "",
        "awrit: invalid scopes: scope 1: a scope is `action:resource:identifier`, three parts, not 2",
    );
    broker.awrit(&["app", "get", "app-other-0a1b2c"]).await.is(
        1,
        "",
        "awrit: there is no app `app-other-<suffix>`\n  hint: `awrit app list` shows them all",
    );
    let usage = broker.awrit(&["app", "get", "desk"]).await;
    assert_eq!(usage.code, 2);
    assert!(usage.stderr.contains("an app id is `app-<name>-<6 hex>`; `awrit app list` shows them all"));
    assert_eq!(broker.awrit(&["app", "update", "--id", "app-desk-0a1b2c"]).await.code, 2, "nothing to change");
}
