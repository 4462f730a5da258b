//! `awrit launch-token`.

use agentwrit_e2e::Broker;

const CREATE: [&str; 6] = ["launch-token", "create", "--name", "nightly", "--scopes", "read:data:a,read:data:b"];

#[tokio::test]
async fn creates_lists_and_deletes_launch_token() {
    let broker = Broker::start().await;
    broker.awrit(&["launch-token", "list"]).await.is(0, "There is no launch token.", "");
    let pinned = ["--max-ttl", "60", "--ttl", "600", "--orch-id", "reports", "--task-id", "nightly-7"];
    broker.awrit(&[&CREATE[..], &pinned].concat()).await.is(
        0,
        "\
launch_token  <hash>
launch_token_id  <launch token id>
allowed_scope  read:data:a read:data:b
max_ttl  60
expires_at  <time> (<when>)

The launch token is shown this once: the broker keeps a digest only.",
        "",
    );
    broker.awrit(&["launch-token", "list"]).await.is(
        0,
        "\
LAUNCH TOKEN ID  AGENT NAME  STATE  MAX TTL  BY  SCOPES
<launch token id>  nightly  expires <when>  60  admin  read:data:a read:data:b",
        "",
    );
    let listed = broker.awrit(&["launch-token", "list", "--json"]).await.json();
    assert_eq!(listed["launch_tokens"][0]["task_id"], "nightly-7");
    let id = listed["launch_tokens"][0]["launch_token_id"].as_str().unwrap();
    broker.awrit(&["launch-token", "delete", "--yes", id]).await.is(0, "Deleted <launch token id>.", "");
    broker.awrit(&["launch-token", "list"]).await.is(0, "There is no launch token.", "");
    let again = broker.awrit(&["launch-token", "delete", "--yes", id]).await;
    assert_eq!((again.code, again.stdout.as_str()), (1, ""));
    assert!(again.stderr.starts_with("awrit: broker refused (404): "), "{}", again.stderr);
}

#[tokio::test]
async fn continues_list_at_cursor() {
    let broker = Broker::start().await;
    for _ in 0..3 {
        assert_eq!(broker.awrit(&CREATE).await.code, 0);
    }
    let page = broker.awrit(&["launch-token", "list", "--limit", "2"]).await;
    assert_eq!(page.stdout.lines().count(), 5);
    let more = page.stdout.lines().last().unwrap();
    let cursor = more.strip_prefix("2 of 3; continue with --cursor ").unwrap();
    let rest = broker.awrit(&["launch-token", "list", "--cursor", cursor, "--json"]).await.json();
    assert_eq!(rest["launch_tokens"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn rejects_launch_token_id_with_path() {
    let broker = Broker::start().await;
    broker.awrit(&["launch-token", "delete", "--yes", "../apps"]).await.is(
        1,
        "",
        "awrit: invalid launch token id: letters, digits and `-` only",
    );
}
