//! `awrit revoke`.

use agentwrit_e2e::Broker;
use serde_json::json;

#[tokio::test]
async fn revokes_at_each_level_and_counts_tokens() {
    let broker = Broker::start().await;
    for (level, task) in [("token", "t-1"), ("agent", "t-2"), ("task", "t-3"), ("chain", "t-4")] {
        let register = ["agent", "register", "--orch-id", "o", "--task-id", task, "--scopes", "read:data:x", "--json"];
        let token = broker.awrit(&register).await.json()["access_token"].as_str().unwrap().to_owned();
        let claims = broker.awrit(&["token", "inspect", &token, "--json"]).await.json()["claims"].clone();
        let target = match level {
            "token" => claims["jti"].as_str().unwrap(),
            "task" => task,
            _ => claims["sub"].as_str().unwrap(),
        };
        let revoke = ["revoke", "--yes", "--level", level, "--target", target];
        let target_text = agentwrit_e2e::stable(target);
        broker.awrit(&revoke).await.is(0, &format!("Revoked {level} {target_text}. This ended 1 active token."), "");
        broker.awrit(&revoke).await.is(0, &format!("Revoked {level} {target_text}. It had no active token."), "");
        assert_eq!(broker.awrit(&["token", "validate", &token]).await.code, 3, "{level}");
    }
}

#[tokio::test]
async fn rejects_unknown_or_malformed_target() {
    let broker = Broker::start().await;
    let run = broker.awrit(&["revoke", "--yes", "--level", "task", "--target", "no-such-task"]).await;
    run.is(3, "", "awrit: nothing was revoked: the broker knows no task `no-such-task`");
    let run = broker.awrit(&["revoke", "--yes", "--level", "task", "--target", "no-such-task", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let cursor = &json["cursor"];
    assert!(cursor.is_string());
    assert_eq!(
        json,
        json!({ "revoked": false, "level": "task", "target": "no-such-task", "count": 0, "cursor": cursor })
    );
    assert_eq!(run.code, 3);
    broker.awrit(&["revoke", "--yes", "--level", "token", "--target", "xyz"]).await.is(
        2,
        "",
        "awrit: --target `xyz`: a token id is 32 lower-case hexadecimal characters, as in `<jti>`",
    );
    assert_eq!(broker.awrit(&["revoke", "--yes", "--level", "world", "--target", "x"]).await.code, 2);
}
