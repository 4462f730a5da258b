//! A broker that cannot reach the database vouches for nothing.

use std::time::Duration;

use agentwrit_e2e::Brokers;
use serde_json::json;

use crate::{SERVER, enrol, within};

#[tokio::test]
async fn broker_without_database_answers_503_and_never_from_memory() {
    let brokers = Brokers::start(&SERVER, 2).await;
    let admin = brokers.at(0).admin_token().await;
    let agent = enrol(brokers.at(0), &admin, "task-1").await;
    assert!(brokers.at(1).accepts(&agent.token).await);
    brokers.link(1).cut();
    assert_eq!(brokers.at(0).revoked(&admin, "agent", &agent.id).await, 1);

    let body = json!({"token": agent.token});
    brokers.at(1).post("/v1/token/validate").json(&body).await.problem(503, "unavailable");
    brokers.at(1).get("/v1/admin/revocations").bearer(&admin).await.problem(503, "unavailable");
    brokers.at(1).get("/v1/revocations").await.problem(503, "unavailable");
    brokers.at(1).post("/v1/token/renew").bearer(&agent.token).await.problem(503, "unavailable");
    assert_eq!(brokers.at(1).get("/v1/health").await.status, 503);

    brokers.link(1).restore();
    let healthy = async || brokers.at(1).get("/v1/health").await.status == 200;
    within(Duration::from_secs(5), "the broker is healthy again", healthy).await;
    assert!(!brokers.at(1).accepts(&agent.token).await);
}

#[tokio::test]
async fn broker_whose_packets_are_lost_refuses_feed_and_other_broker_goes_on() {
    let brokers = Brokers::start(&SERVER, 2).await;
    let admin = brokers.at(0).admin_token().await;
    enrol(brokers.at(1), &admin, "task-1").await;
    brokers.link(1).hold();
    let feed = brokers.at(1).get("/v1/revocations");
    let (feed, ()) = tokio::join!(feed, async {
        for _ in 0..5 {
            enrol(brokers.at(0), &admin, "task-2").await;
        }
    });
    feed.problem(503, "unavailable");
    brokers.link(1).restore();
    let healthy = async || brokers.at(1).get("/v1/health").await.status == 200;
    within(Duration::from_secs(10), "the broker is healthy again", healthy).await;
    enrol(brokers.at(1), &admin, "task-3").await;
}
