//! `GET /v1/revocations`: what resource servers follow.

use std::time::{Duration, Instant};

use agentwrit_e2e::{
    Agent, Broker, Response, jti, next_second, pattern, payload, protected_header, revocation_key, until_expired,
};
use serde_json::{Value, json};

const PATH: &str = "/v1/revocations";
const TYPE: &str = "agentwrit-revocations+jwt";
const ISSUER: &str = "https://agentwrit.local";

async fn enrol(broker: &Broker, admin: &str) -> Agent {
    broker.enrol(admin, "task-1", json!({"allowed_scope": ["read:data:*"]})).await
}

/// The payload of an answer, whose signature is checked.
async fn read(broker: &Broker, answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/jwt"));
    let payload = broker.open(std::str::from_utf8(&answer.body).unwrap(), TYPE).await;
    let issued_at = payload["iat"].as_u64().unwrap();
    let key_set = broker.get("/.well-known/jwks.json").await.json();
    let kids: Vec<&Value> = key_set["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    let shape = json!({
        "iss": ISSUER, "iat": "$uint", "exp": "$uint", "epoch": "$sentence", "from": "$uint", "to": "$uint",
        "ttl": "$uint", "entries": payload["entries"], "kids": kids, "active": kids[0],
    });
    pattern::compare(&shape, &payload).unwrap();
    assert!(payload["exp"].as_u64().unwrap() > issued_at);
    payload
}

async fn feed(broker: &Broker, query: &str) -> Value {
    read(broker, &broker.get(&format!("{PATH}{query}")).await).await
}

fn cursor(payload: &Value) -> u64 {
    payload["to"].as_u64().unwrap()
}

fn keys(payload: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    payload["entries"].as_array().unwrap().iter().map(|entry| (text(&entry[0]), text(&entry[1]))).collect()
}

fn key(letter: char, target: &str) -> (String, String) {
    (letter.to_string(), revocation_key(letter, ISSUER, target))
}

#[tokio::test]
async fn snapshot_has_revocations_in_force_as_digests_only() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let empty = feed(&broker, "").await;
    assert_eq!((&empty["from"], &empty["to"], &empty["entries"]), (&json!(0), &json!(0), &json!([])));

    let [a, b] = [enrol(&broker, &admin).await, enrol(&broker, &admin).await];
    let renewed = broker.renewed(&a.token).await;
    broker.release(&b.token).await;
    broker.revoked(&admin, "token", &jti(&renewed)).await;
    broker.revoked(&admin, "agent", &a.id).await;
    broker.revoked(&admin, "task", "task-1").await;
    broker.revoked(&admin, "chain", &a.id).await;

    let answer = broker.get(PATH).await;
    let snapshot = read(&broker, &answer).await;
    let expected = [
        key('t', &jti(&a.token)),
        key('t', &jti(&b.token)),
        key('t', &jti(&renewed)),
        key('s', &jti(&a.token)),
        key('a', &a.id),
        key('k', "task-1"),
        key('c', &a.id),
    ];
    assert_eq!(keys(&snapshot), expected);
    let last = payload(&renewed)["exp"].as_u64().unwrap();
    for entry in snapshot["entries"].as_array().unwrap() {
        let (revoked_at, expires_at) = (entry[2].as_u64().unwrap(), entry[3].as_u64().unwrap());
        assert!(revoked_at <= snapshot["iat"].as_u64().unwrap() && expires_at <= last, "{entry}");
    }
    assert_eq!((&snapshot["from"], &snapshot["epoch"]), (&json!(0), &empty["epoch"]));
    let clear = snapshot.to_string();
    for name in [jti(&a.token), a.id, "task-1".to_owned()] {
        assert!(!clear.contains(&name), "{clear}");
    }
}

#[tokio::test]
async fn delta_has_entries_after_cursor() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [a, b] = [enrol(&broker, &admin).await, enrol(&broker, &admin).await];
    broker.release(&a.token).await;
    let first = feed(&broker, "").await;
    let same = feed(&broker, &format!("?since={}", cursor(&first))).await;
    assert_eq!((&same["from"], &same["to"], &same["entries"]), (&first["to"], &first["to"], &json!([])));

    broker.release(&b.token).await;
    let answer = broker.get(&format!("{PATH}?since={}", cursor(&first))).await;
    assert_eq!((answer.header("etag"), answer.header("cache-control")), (None, Some("no-store")));
    let delta = read(&broker, &answer).await;
    assert_eq!((&delta["from"], &delta["epoch"]), (&first["to"], &first["epoch"]));
    assert!(cursor(&delta) > cursor(&first));
    assert_eq!(keys(&delta), [key('t', &jti(&b.token))]);
    assert_eq!(keys(&feed(&broker, "?since=0").await), [key('t', &jti(&a.token)), key('t', &jti(&b.token))]);
}

#[tokio::test]
async fn answers_unserved_cursor_with_snapshot_and_malformed_cursor_with_400() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin).await;
    broker.release(&agent.token).await;
    let next = cursor(&feed(&broker, "").await) + 1;
    let (next, largest, larger) = (next.to_string(), u64::MAX.to_string(), "9".repeat(40));
    for since in [next.as_str(), "4611686018427387904", &largest, &larger] {
        for wait in ["", "&wait=25"] {
            let started = Instant::now();
            let snapshot = feed(&broker, &format!("?since={since}{wait}")).await;
            assert_eq!((&snapshot["from"], keys(&snapshot).len()), (&json!(0), 1), "{since}");
            assert!(started.elapsed() < Duration::from_secs(10), "there is nothing to wait for");
        }
    }
    for query in [
        "?since=",
        "?since=-1",
        "?since=x",
        "?since=1.5",
        "?since=0x10",
        "?since=%201",
        "?since=+1",
        "?since=1&since=1",
        "?since=1&wait=",
        "?since=1&wait=26",
        "?since=1&wait=-1",
        "?since=1&wait=x",
        "?wait=1.0",
    ] {
        broker.get(&format!("{PATH}{query}")).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn snapshot_has_etag() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [a, b] = [enrol(&broker, &admin).await, enrol(&broker, &admin).await];
    broker.release(&a.token).await;
    let first = broker.get(PATH).await;
    let tag = first.header("etag").expect("an ETag").to_owned();
    for value in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let again = broker.get(PATH).header("if-none-match", &value).await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag.as_str())), "{value}");
    }
    let other = broker.get(PATH).header("if-none-match", "\"other\"").await;
    assert_eq!((other.status, other.header("etag")), (200, Some(tag.as_str())));
    assert_eq!(other.header("cache-control"), Some("no-cache"), "only to be used after asking");
    let delta =
        broker.get(&format!("{PATH}?since={}", cursor(&payload_of(&first)))).header("if-none-match", &tag).await;
    assert_eq!(delta.status, 200, "a delta is no snapshot");

    broker.release(&b.token).await;
    let newer = broker.get(PATH).header("if-none-match", &tag).await;
    assert_eq!(newer.status, 200);
    assert_ne!(newer.header("etag"), Some(tag.as_str()));
}

fn payload_of(answer: &Response) -> Value {
    payload(std::str::from_utf8(&answer.body).unwrap())
}

#[tokio::test]
async fn long_poll_ends_with_next_revocation() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin).await;
    // Also while the log is still empty: a new broker must not be polled busily.
    let mut since = 0;
    for revoke in [true, false] {
        let waiting = tokio::spawn(broker.get(&format!("{PATH}?since={since}&wait=25")).into_future());
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(!waiting.is_finished(), "there is nothing newer than {since} yet");
        let started = Instant::now();
        if revoke {
            broker.revoked(&admin, "task", "task-1").await;
        } else {
            broker.release(&admin).await;
        }
        let answer = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it wakes").unwrap();
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        let delta = read(&broker, &answer).await;
        assert_eq!((&delta["from"], keys(&delta).len()), (&json!(since), 1));
        since = cursor(&delta);
    }
    assert!(!broker.accepts(&agent.token).await);
}

#[tokio::test]
async fn revocation_ends_all_long_polls() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [a, b] = [enrol(&broker, &admin).await, enrol(&broker, &admin).await];
    broker.release(&a.token).await;
    let since = cursor(&feed(&broker, "").await);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..100 {
        waiting.spawn(broker.get(&format!("{PATH}?since={since}&wait=25")).into_future());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    broker.release(&b.token).await;
    let answers = tokio::time::timeout(Duration::from_secs(15), waiting.join_all()).await.expect("all wake");
    for answer in answers {
        assert_eq!(keys(&payload_of(&answer)), [key('t', &jti(&b.token))]);
    }
}

#[tokio::test]
async fn long_poll_without_news_ends_with_fresh_empty_delta() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin).await;
    broker.release(&agent.token).await;
    let first = feed(&broker, "").await;
    let started = Instant::now();
    let later = feed(&broker, &format!("?since={}&wait=2", cursor(&first))).await;
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1900) && took < Duration::from_secs(12), "{took:?}");
    assert_eq!((&later["from"], &later["to"], &later["entries"]), (&first["to"], &first["to"], &json!([])));
    assert!(later["iat"].as_u64().unwrap() > first["iat"].as_u64().unwrap(), "the freshness is that of the end");
}

#[tokio::test]
async fn long_poll_ends_at_shutdown() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin).await;
    broker.release(&agent.token).await;
    let since = cursor(&feed(&broker, "").await);
    let waiting = tokio::spawn(broker.get(&format!("{PATH}?since={since}&wait=25")).into_future());
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (stopped, _directory) = broker.terminate().await;
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.output);
    assert!(!stopped.output.contains("still running at the end of the grace time"), "{}", stopped.output);
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, &payload_of(&answer)["entries"]), (200, &json!([])), "a waiting request is answered");
}

#[tokio::test]
async fn omits_expired_entries() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch = |ttl: u64| json!({"allowed_scope": ["read:data:*"], "max_ttl": ttl});
    let short = broker.enrol(&admin, "short", launch(5)).await;
    let long = broker.enrol(&admin, "long", launch(300)).await;
    broker.release(&long.token).await;
    broker.revoked(&admin, "agent", &short.id).await;
    let before = feed(&broker, "").await;
    assert_eq!(keys(&before), [key('t', &jti(&long.token)), key('a', &short.id)]);

    until_expired(&short.token).await;
    let after = feed(&broker, "").await;
    assert_eq!(keys(&after), [key('t', &jti(&long.token))]);
    assert_eq!(after["to"], before["to"], "the cursor stays");
    assert_eq!(keys(&feed(&broker, "?since=1").await), [], "also from a delta");
}

#[tokio::test]
async fn keeps_cursor_and_epoch_across_crash() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [a, b] = [enrol(&broker, &admin).await, enrol(&broker, &admin).await];
    broker.release(&a.token).await;
    let before = feed(&broker, "").await;
    let broker = Broker::start_in(broker.kill().await, &[]).await;
    let after = feed(&broker, "").await;
    for member in ["epoch", "to", "entries"] {
        assert_eq!(after[member], before[member]);
    }
    broker.release(&b.token).await;
    let delta = feed(&broker, &format!("?since={}", cursor(&before))).await;
    assert_eq!(keys(&delta), [key('t', &jti(&b.token))]);
}

#[tokio::test]
async fn restored_store_begins_new_epoch_and_keeps_lost_revocations_in_force() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [a, b] = [enrol(&broker, &admin).await, enrol(&broker, &admin).await];
    broker.release(&a.token).await;
    let before = feed(&broker, "").await;
    let (_, directory) = broker.terminate().await;
    let marked = Broker::run_in(directory.path(), &[], &["mark-restored"]).await;
    assert!(marked.status.success(), "{}", marked.output);

    let broker = Broker::start_in(directory, &[]).await;
    assert!(!broker.accepts(&b.token).await && !broker.accepts(&admin).await);
    let snapshot = feed(&broker, "").await;
    assert_ne!(snapshot["epoch"], before["epoch"]);
    let issuer =
        snapshot["entries"].as_array().unwrap().iter().find(|entry| entry[0] == "i").expect("an issuer's mark");
    assert_eq!(issuer[1], "");
    next_second().await;
    let admin = broker.admin_token().await;
    assert!(broker.accepts(&enrol(&broker, &admin).await.token).await, "life goes on");
}

#[tokio::test]
async fn rejects_feed_response_as_token_and_token_as_feed_response() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let document = String::from_utf8(broker.get(PATH).await.body).unwrap();
    assert_eq!(protected_header(&document)["typ"], TYPE);
    assert_eq!(protected_header(&admin)["typ"], "JWT");
    assert!(!broker.accepts(&document).await);
    assert_eq!(protected_header(&document)["kid"], protected_header(&admin)["kid"], "the active key signs both");
}
