//! `awrit revocations`.

use agentwrit_e2e::Broker;

use crate::token::token;

#[tokio::test]
async fn lists_revocation_with_its_reason() {
    let broker = Broker::start().await;
    broker.awrit(&["revocations", "list"]).await.is(0, "Nothing is revoked.", "");
    token(&broker).await;
    let revoke = ["--yes", "revoke", "--level", "task", "--target", "t1", "--reason", "seen in a \u{1b}[31mlog"];
    assert_eq!(broker.awrit(&revoke).await.code, 0);
    broker.awrit(&["revocations", "list"]).await.is(
        0,
        "\
LEVEL  TARGET  REVOKED  EXPIRES  BY  REASON
task  t1  <when>  <when>  admin  seen in a \\u{1b}[31mlog",
        "",
    );
    let listed = broker.awrit(&["revocations", "list", "--json"]).await.json();
    assert_eq!(listed["revocations"][0]["reason"], "seen in a \u{1b}[31mlog");
}

#[tokio::test]
async fn exports_snapshot_or_reports_missing_directory() {
    let broker = Broker::start().await;
    let printed = broker.awrit(&["revocations", "export"]).await;
    assert_eq!(printed.code, 0);
    assert_eq!(printed.stdout.trim().split('.').count(), 3, "a compact JWS");
    broker.awrit(&["revocations", "export", "-o", "feed.jwt"]).await.is(0, "", "");
    let file = std::fs::read_to_string(broker.directory().join("feed.jwt")).unwrap();
    assert_eq!(file.trim().split('.').count(), 3);
    broker.awrit(&["revocations", "export", "-o", "no/such/directory/feed.jwt"]).await.is(
        1,
        "",
        "awrit: `no/such/directory/feed.jwt`: there is no such directory",
    );
}
