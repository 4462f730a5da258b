//! Brokers and database servers that end, stop and come back.

use std::sync::Arc;

use agentwrit_e2e::{Broker, Brokers, assert_whole_chain, next_second, signal};
use postgres_server::{PostgresServer, Stop};
use serde_json::json;
use tokio::task::block_in_place;

use crate::{RECOVERY, SERVER, enrol, within};

#[tokio::test]
async fn other_brokers_go_on_within_two_seconds_when_one_is_killed_or_stopped() {
    let mut brokers = Brokers::start(&SERVER, 3).await;
    let admin = brokers.at(0).admin_token().await;
    brokers.kill(2).await;
    within(RECOVERY, "a registration", async || brokers.at(0).agent(&admin, &["read:data:x"]).await.0.len() > 1).await;
    signal(brokers.at(1), "STOP");
    let begun = tokio::time::Instant::now();
    enrol(brokers.at(0), &admin, "task-1").await;
    assert!(begun.elapsed() < RECOVERY * 2, "{:?}", begun.elapsed());
    signal(brokers.at(1), "CONT");
    brokers.start_one(2).await;
    for number in 0..3 {
        enrol(brokers.at(number), &admin, "task-2").await;
    }
    assert_whole_chain(&brokers.at(2).events(&admin, "").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancer_hides_end_of_one_broker_from_clients() {
    let mut brokers = Brokers::start(&SERVER, 3).await;
    let balancer = brokers.balancer().await;
    let admin = brokers.at(0).admin_token().await;
    let wire = agentwrit_e2e::Wire::to_url(&balancer.url);
    for round in 0..30 {
        if round == 10 {
            brokers.kill(1).await;
        }
        let launch = wire.launch_token(&admin, true).await.unwrap();
        let nonce = wire.nonce().await.unwrap();
        assert_eq!(wire.register(&launch, &nonce).await.unwrap().0, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_go_on_after_crash_of_database_with_everything_acknowledged() {
    let server = Arc::new(PostgresServer::start());
    let brokers = Brokers::start(&server, 2).await;
    let admin = brokers.at(0).admin_token().await;
    let agent = enrol(brokers.at(0), &admin, "task-1").await;
    let revoked = enrol(brokers.at(1), &admin, "task-1").await;
    assert_eq!(brokers.at(0).revoked(&admin, "agent", &revoked.id).await, 1);
    block_in_place(|| server.stop(Stop::Immediate));
    for number in 0..2 {
        assert_eq!(brokers.at(number).get("/v1/health").await.status, 503);
    }
    block_in_place(|| server.start_again());
    for number in 0..2 {
        let healthy = async || brokers.at(number).get("/v1/health").await.status == 200;
        within(RECOVERY * 2, "the broker is healthy again", healthy).await;
        assert!(brokers.at(number).accepts(&agent.token).await);
        assert!(!brokers.at(number).accepts(&revoked.token).await);
        enrol(brokers.at(number), &admin, "task-2").await;
    }
    assert_whole_chain(&brokers.at(1).events(&admin, "").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promotion_of_standby_without_last_commits_ends_every_token_and_is_recorded() {
    let server = Arc::new(PostgresServer::start());
    let mut brokers = Brokers::start(&server, 2).await;
    let admin = brokers.at(0).admin_token().await;
    let before = enrol(brokers.at(0), &admin, "task-1").await;
    let standby = block_in_place(|| {
        let standby = server.standby();
        standby.stop(Stop::Fast);
        standby
    });
    let lost = enrol(brokers.at(0), &admin, "task-2").await;
    assert_eq!(brokers.at(1).revoked(&admin, "agent", &before.id).await, 1);
    block_in_place(|| {
        server.stop(Stop::Immediate);
        standby.start_again();
        standby.promote();
    });
    for number in 0..2 {
        brokers.link(number).lead_to(standby.socket());
    }
    brokers.server = Arc::new(standby);
    for number in 0..2 {
        let healthy = async || brokers.at(number).get("/v1/health").await.status == 200;
        within(RECOVERY * 5, "the broker is healthy again", healthy).await;
        for token in [&before.token, &lost.token, &admin] {
            let rejects = async || rejects(brokers.at(number), token).await;
            within(RECOVERY, "the broker rejects what was issued before", rejects).await;
        }
    }
    next_second().await;
    let admin = brokers.at(0).admin_token().await;
    let events = brokers.at(1).events(&admin, "").await;
    assert_whole_chain(&events);
    assert_eq!(events.iter().filter(|event| event["event_type"] == "history_lost").count(), 1);
    let agent = enrol(brokers.at(1), &admin, "task-1").await;
    assert!(brokers.at(0).accepts(&agent.token).await);
}

/// Returns false while the broker reads the new log and answers 503. A broker that accepts the token fails the test.
async fn rejects(broker: &Broker, token: &str) -> bool {
    let response = broker.post("/v1/token/validate").json(&json!({"token": token})).await;
    assert!(response.status == 503 || response.json()["valid"] == false, "{response:?}");
    response.status == 200
}
