//! `awrit audit events` and `awrit audit export`.

use std::time::Duration;

use agentwrit_e2e::{Broker, stable};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};

use crate::token::token;

#[tokio::test]
async fn lists_events_that_match_filters() {
    let broker = Broker::start().await;
    token(&broker).await;
    let list = async |arguments: &[&str]| broker.awrit(&[&["audit", "events"], arguments].concat()).await;
    list(&["--task-id", "t1", "--outcome", "success"]).await.is(
        0,
        "\
ID  TIME  TYPE  OUTCOME  SUBJECT  TASK  RESOURCE  DETAIL
evt-000002  <time>  launch_token_issued  success  admin  t1  launch token issued launch_token_id=<launch token id> agent_name=reports/t1 allowed_scope=read:data:sales max_ttl=300 sender_constrained=false from=127.0.0.1
evt-000003  <time>  agent_registered  success  spiffe://agentwrit.local/agent/reports/t1/<instance>  t1  agent registered scope=read:data:sales launch_token_id=<launch token id> from=127.0.0.1
evt-000004  <time>  token_issued  success  spiffe://agentwrit.local/agent/reports/t1/<instance>  t1  token issued scope=read:data:sales jti=<jti> expires_at=<time> from=127.0.0.1",
        "",
    );
    list(&["--event-type", "token_released"]).await.is(0, "No event matches.", "");
    list(&["--until", "2020-01-01T00:00:00Z"]).await.is(0, "No event matches.", "");
    let page = list(&["--limit", "1"]).await;
    assert!(page.stdout.ends_with("; continue with --cursor 1\n"), "{}", page.stdout);
    let json = list(&["--agent-id", "admin", "--json", "--since", "2020-01-01T00:00:00+02:00"]).await.json();
    let events = json["events"].as_array().unwrap();
    assert!(!events.is_empty() && events.iter().all(|event| event["agent_id"] == "admin"));
    assert_eq!(json["total"], events.len());
    for wrong in [&["--since", "yesterday"][..], &["--event-type", "x"], &["--agent-id", "x"], &["--outcome", "x"]] {
        assert_eq!(broker.awrit(&[&["audit", "events"], wrong].concat()).await.code, 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn follow_prints_new_events_as_they_are_recorded() {
    let broker = Broker::start().await;
    token(&broker).await;
    let follow = ["audit", "events", "--outcome", "success", "--follow"];
    let mut following = broker.awrit_command(&follow).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(Duration::from_secs(30), lines.next_line()).await.expect("another event");
        stable(&line.unwrap().unwrap())
    };
    for event in ["admin_auth", "launch_token_issued", "agent_registered", "token_issued"] {
        assert!(next().await.contains(event));
    }
    let revoke = ["revoke", "--yes", "--level", "task", "--target", "t1"];
    assert_eq!(broker.awrit(&revoke).await.code, 0);
    assert_eq!(
        next().await,
        "<time>  evt-000005  token_revoked  success  admin  t1  revoked level=task target=t1 killed=1 from=127.0.0.1"
    );
    following.kill().await.unwrap();
}

#[tokio::test]
async fn follow_prints_one_json_event_per_line() {
    let broker = Broker::start().await;
    token(&broker).await;
    let follow = ["audit", "events", "--follow", "--limit", "2", "--json"];
    let mut following = broker.awrit_command(&follow).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let event: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        assert!(event["id"].as_str().unwrap().starts_with("evt-"));
    }
    following.kill().await.unwrap();
}

#[tokio::test]
async fn exports_whole_trail_one_event_per_line() {
    let broker = Broker::start().await;
    token(&broker).await;
    let run = broker.awrit(&["audit", "export", "--no-session-cache"]).await;
    assert_eq!(run.code, 0);
    assert_eq!(stable(&run.stderr), "exported 5 events, the chain holds up to evt-000005 <hash>\n");
    let ids: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, ["evt-000001", "evt-000002", "evt-000003", "evt-000004", "evt-000005"]);

    let late = ["audit", "export", "--no-session-cache", "--after", "evt-000005", "--output", "late.jsonl"];
    broker.awrit(&late).await.is(0, "", "exported 1 event, the chain holds up to evt-000006 <hash>");
    let file = std::fs::read_to_string(broker.directory().join("late.jsonl")).unwrap();
    assert_eq!(file.lines().count(), 1);
    assert_eq!(broker.awrit(&["audit", "export", "--after", "6"]).await.code, 2);
}

#[tokio::test]
async fn failed_export_keeps_existing_file() {
    let broker = Broker::start().await;
    let file = broker.directory().join("trail.jsonl");
    std::fs::write(&file, "yesterday's").unwrap();
    let environment = [("AACTL_BROKER_URL", broker.url.as_str()), ("AACTL_ADMIN_SECRET", "wrong")];
    let export = ["audit", "export", "--yes", "--output", "trail.jsonl"];
    assert_eq!(agentwrit_e2e::awrit(broker.directory(), &environment, &export, "").await.code, 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "yesterday's");
}
