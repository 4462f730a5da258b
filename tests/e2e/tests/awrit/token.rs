//! `awrit token validate` and `awrit token release`.

use agentwrit_e2e::Broker;

pub(crate) async fn token(broker: &Broker) -> String {
    let register =
        ["agent", "register", "--orch-id", "reports", "--task-id", "t1", "--scopes", "read:data:sales", "--json"];
    broker.awrit(&register).await.json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn validates_token_until_its_release() {
    let broker = Broker::start().await;
    let token = token(&broker).await;
    broker.awrit(&["token", "validate", &token]).await.is(
        0,
        "\
valid

subject  spiffe://agentwrit.local/agent/reports/t1/<instance>
orchestration  reports
task  t1
scopes  read:data:sales
issuer  https://agentwrit.local
issued  <time> (<when>)
expires  <time> (<when>)
jti  <jti>
session  <jti>",
        "",
    );
    broker.awrit_with(&["token", "release", "--token", "-"], &token).await.is(0, "Released.", "");
    broker.awrit(&["token", "release", &token]).await.is(0, "Released.", "");
    broker.awrit_with(&["token", "validate", "-"], &token).await.is(
        3,
        "invalid",
        "awrit: token is invalid or expired (the broker does not say why; `awrit token inspect` does)",
    );
    let run = broker.awrit(&["token", "validate", &token, "--json"]).await;
    assert_eq!(run.code, 3);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json, serde_json::json!({ "valid": false, "error": "token is invalid or expired" }));
}

#[tokio::test]
async fn reports_error_when_releasing_malformed_token() {
    let broker = Broker::start().await;
    broker.awrit(&["token", "release", "--token", "nonsense"]).await.is(
        1,
        "",
        "\
awrit: broker refused (401): token verification failed
  request id: <instance> (the broker's log has more)",
    );
    broker.awrit(&["token", "release", "--token", "a\nb"]).await.is(
        1,
        "",
        "awrit: invalid token: does not fit into a header",
    );
}
