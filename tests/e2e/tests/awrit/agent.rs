//! `awrit agent register`.

use agentwrit_e2e::Broker;

const AGENT: [&str; 8] =
    ["agent", "register", "--orch-id", "reports", "--task-id", "nightly-7", "--scopes", "read:data:sales"];

const REGISTERED: &str = "\
agent_id  spiffe://agentwrit.local/agent/reports/nightly-7/<instance>
scope  read:data:sales
expires_at  <time> (<when>)
access_token  <jwt>";

#[tokio::test]
async fn registers_agent_with_admin_secret_alone() {
    let broker = Broker::start().await;
    broker.awrit(&AGENT).await.is(0, REGISTERED, "");
    let short = broker.awrit(&[&AGENT[..], &["--max-ttl", "60", "--name", "by hand", "--json"]].concat()).await.json();
    assert!((50..=60).contains(&short["expires_in"].as_u64().unwrap()), "{short}");
    let token = short["access_token"].as_str().unwrap();
    assert_eq!(broker.awrit(&["token", "validate", token]).await.code, 0);
    let launch_tokens = broker.awrit(&["launch-token", "list", "--json"]).await.json();
    assert_eq!(launch_tokens["launch_tokens"][1]["agent_name"], "by hand");
    assert_eq!(launch_tokens["launch_tokens"][1]["task_id"], "nightly-7", "of use for this task only");
}

#[tokio::test]
async fn registers_agent_with_launch_token_and_no_secret() {
    let broker = Broker::start().await;
    let create = ["launch-token", "create", "--name", "n", "--scopes", "read:data:*", "--json"];
    let launch_token = broker.awrit(&create).await.json()["launch_token"].as_str().unwrap().to_owned();
    let environment = [("AACTL_BROKER_URL", broker.url.as_str())];
    let arguments = [&AGENT[..], &["--launch-token", "-"]].concat();
    let run = agentwrit_e2e::awrit(broker.directory(), &environment, &arguments, &format!("{launch_token}\n")).await;
    run.is(0, REGISTERED, "");
    let run = agentwrit_e2e::awrit(broker.directory(), &environment, &arguments, &launch_token).await;
    run.is(
        1,
        "",
        "\
awrit: broker refused (401): launch token already consumed
  request id: <instance> (the broker's log has more)",
    );
}
