//! The feed of all brokers is one.

use std::time::Duration;

use agentwrit_e2e::{Brokers, clock_offset};
use agentwrit_verify::remote::Follower;

use crate::{SERVER, enrol, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_that_meets_another_broker_at_each_request_rejects_no_response() {
    let mut brokers = Brokers::prepare(&SERVER, 3, &[]).await;
    for (number, seconds) in [(0, 30), (1, 0), (2, -30)] {
        let variables = clock_offset(seconds);
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        brokers.set(number, &variables);
        brokers.start_one(number).await;
    }
    let balancer = brokers.balancer().await;
    let admin = brokers.at(0).admin_token().await;
    let follower = Follower::builder(&balancer.url).issuer("https://agentwrit.local").start().await.unwrap();
    let verifier = follower.verifier().build();
    for round in 0..60 {
        let agent = enrol(brokers.at(round % 3), &admin, "task-1").await;
        assert!(verifier.verify(&agent.token).is_ok(), "{:?}", verifier.verify(&agent.token));
        brokers.at((round / 3) % 3).revoked(&admin, "agent", &agent.id).await;
        within(Duration::from_secs(2), "it is revoked", async || verifier.verify(&agent.token).is_err()).await;
    }
    let counters = follower.status().counters;
    assert_eq!((counters.responses_rejected, counters.resyncs), (0, 0), "{counters:?}");
    assert!(counters.responses_applied >= 60, "{counters:?}");
    for number in 0..3 {
        let metrics = String::from_utf8(brokers.at(number).get("/v1/metrics").await.body).unwrap();
        let served = metrics.lines().any(|line| line.contains("/v1/revocations") && line.contains("_count"));
        assert!(served, "broker {number} was never met:\n{metrics}");
    }
}
