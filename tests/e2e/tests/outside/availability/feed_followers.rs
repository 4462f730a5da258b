//! A renewal loop, or a long absence, leaves followers far behind: they catch up without a snapshot, and one can be loaded.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_e2e::{Broker, payload};
use agentwrit_verify::{Clock, SystemClock, remote::Follower};
use serde_json::Value;
use tempfile::TempDir;

const ENTRIES: u64 = 40_000;

/// A broker whose log has so many entries that are in force.
async fn broker_with_a_long_log() -> Broker {
    let (_, directory): (_, TempDir) = Broker::start().await.terminate().await;
    let now = SystemClock.now().seconds() * 1_000_000;
    let expires_at = now + 3600 * 1_000_000;
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ENTRIES}) \
         INSERT INTO revocations (level, target, revoked_at, expires_at, revoked_by, listed) \
         SELECT 'token', printf('%032x', i), {now}, {expires_at}, 'admin', 0 FROM n"
    );
    agentwrit_e2e::alter_database(directory.path(), &sql);
    Broker::start_in(directory, &[]).await
}

async fn ask(broker: &Broker, query: &str) -> Value {
    let answer = broker.get(&format!("/v1/revocations{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
    payload(std::str::from_utf8(&answer.body).unwrap())
}

#[tokio::test]
async fn follower_far_behind_gets_deltas() {
    let broker = broker_with_a_long_log().await;
    let (mut cursor, mut told, mut asked) = (10, 10, 0);
    while cursor < ENTRIES {
        let answer = ask(&broker, &format!("?since={cursor}&wait=20")).await;
        let (from, to) = (answer["from"].as_u64().unwrap(), answer["to"].as_u64().unwrap());
        assert!((1..=cursor).contains(&from), "{cursor} got an answer from {from}");
        assert!(to > cursor, "{cursor} got an answer to {to}");
        let entries = answer["entries"].as_array().unwrap().len() as u64;
        assert!(entries <= 4096, "{entries} entries");
        // A page of the store may begin before the cursor.
        told += entries - (cursor - from);
        (cursor, asked) = (to, asked + 1);
    }
    assert_eq!(told, ENTRIES);
    assert!(asked < 60, "{asked} answers");
}

#[tokio::test]
async fn follower_without_a_list_loads_the_whole_log() {
    let broker = broker_with_a_long_log().await;
    let follower = Follower::builder(&broker.url).issuer("https://agentwrit.local").start().await.unwrap();
    assert_eq!(follower.status().revocations.unwrap().entries as u64, ENTRIES);
}

/// Follows as a resource server does until `end`; its last cursor, and how often it was answered.
async fn follow(broker: Arc<Broker>, start: u64, end: Instant) -> (u64, u32) {
    let (mut cursor, mut answers) = (start, 0);
    while Instant::now() < end {
        let to = ask(&broker, &format!("?since={cursor}&wait=2")).await["to"].as_u64().unwrap();
        assert!(to >= cursor, "the log goes back from {cursor} to {to}");
        (cursor, answers) = (to, answers + 1);
    }
    (cursor, answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_a_busy_log_are_answered_in_rounds() {
    const FOLLOWERS: u32 = 40;
    let broker = Arc::new(Broker::start_with(&[("AA_SESSION_BUDGET", "off")]).await);
    let admin = broker.admin_token().await;
    let (first, _) = broker.agent(&admin, &["read:data:x"]).await;
    let mut token = broker.renewed(&first).await;
    let start = ask(&broker, "").await["to"].as_u64().unwrap();
    let begun = Instant::now();
    let end = begun + Duration::from_secs(3);
    let mut followers = tokio::task::JoinSet::new();
    for _ in 0..FOLLOWERS {
        followers.spawn(follow(Arc::clone(&broker), start, end));
    }
    while Instant::now() < end {
        token = broker.renewed(&token).await;
    }
    let followed = followers.join_all().await;
    let (took, total): (_, u32) = (begun.elapsed(), followed.iter().map(|(_, answers)| answers).sum());
    // Rounds of 40 followers are 20 ms apart, and each follower has one answer in a round.
    let rounds = u32::try_from(took.as_millis() / 20).unwrap() + 2;
    assert!(total <= FOLLOWERS * rounds, "{total} answers in {took:?}");
    let reached = ask(&broker, "").await["to"].as_u64().unwrap();
    assert!(followed.iter().all(|(cursor, _)| *cursor > start && *cursor <= reached), "{followed:?}");
}
