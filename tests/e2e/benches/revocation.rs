//! How soon a revocation is in force: from the broker's 200 to the first refusal.
//!
//! `cargo bench -p agentwrit-e2e --bench revocation`
//!
//! 1. At a protected route: one service, its own connection to the broker, 1,000 agents revoked one after the other.
//!    The revoking client repeats a request to the route until it is 401.
//! 2. The same with two brokers on PostgreSQL: revoked at one, refused at a route that follows the other. With the
//!    database's notifications, and without them, when the poll alone finds the commits of the other broker.
//! 3. At 200 verifiers, each following the broker by itself, 50 revocations: one thread looks at all of them in turn.
//!
//! The real broker in a process of its own, on loopback; its store is in `TMPDIR`.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
#![expect(clippy::print_stdout, reason = "its output is the point")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_e2e::{Broker, Brokers, jti};
use agentwrit_tower::RequireScope;
use agentwrit_verify::{Verifier, remote::Follower};
use axum::{Router, routing::get};
use postgres_server::PostgresServer;
use serde_json::json;
use tokio::net::TcpListener;

const REVOCATIONS: usize = 1000;
const REVOCATIONS_OF_SEVERAL_BROKERS: usize = 300;
const VERIFIERS: usize = 200;
const ROUNDS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let broker = Broker::start_with(&[("AA_LOG_LEVEL", "standard")]).await;
    let admin = broker.admin_token().await;
    println!("time from the broker's 200 to the first refusal, milliseconds    p50      p99      max");
    report("401 at a protected route, 1,000 revocations", at_a_route(&broker, &broker, &admin, REVOCATIONS).await);
    for (notifies, name) in [(true, "of another broker, 300 revocations"), (false, "the same without notifications")] {
        report(name, at_another_broker(notifies).await);
    }
    let (first, last) = at_many_verifiers(&broker, &admin).await;
    report("200 verifiers, 50 revocations: each verifier", first);
    report("200 verifiers, 50 revocations: the last of the 200", last);
}

async fn follow(broker: &Broker) -> (Follower, Verifier) {
    let follower = Follower::builder(&broker.url).issuer("https://agentwrit.local").start().await.unwrap();
    let verifier = follower.verifier().build();
    (follower, verifier)
}

async fn tokens(broker: &Broker, admin: &str, count: usize) -> Vec<String> {
    let mut tokens = Vec::with_capacity(count);
    for _ in 0..count {
        tokens.push(broker.agent(admin, &["read:data:x"]).await.0);
    }
    tokens
}

/// When the broker had answered.
async fn revoke(broker: &Broker, admin: &str, token: &str) -> Instant {
    let request = json!({"level": "token", "target": jti(token)});
    let answer = broker.post("/v1/revoke").bearer(admin).json(&request).await;
    let acknowledged = Instant::now();
    assert_eq!(answer.json().get("count"), Some(&json!(1)));
    acknowledged
}

/// Revokes at one broker of two, and asks a service that follows the other.
async fn at_another_broker(notifies: bool) -> Vec<Duration> {
    let mut brokers = Brokers::prepare(&Arc::new(PostgresServer::start()), 2, &[("AA_LOG_LEVEL", "standard")]).await;
    if !notifies {
        brokers.link(1).mute_notifications();
    }
    for number in 0..2 {
        brokers.start_one(number).await;
    }
    let (revoking, followed) = (brokers.at(0), brokers.at(1));
    let admin = revoking.admin_token().await;
    at_a_route(revoking, followed, &admin, REVOCATIONS_OF_SEVERAL_BROKERS).await
}

async fn at_a_route(revoking: &Broker, followed: &Broker, admin: &str, count: usize) -> Vec<Duration> {
    let (_follower, verifier) = follow(followed).await;
    let routes = Router::new().route("/", get(|| async {})).layer(RequireScope::new("read:data:x").verifier(verifier));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let service = tokio::spawn(async move { axum::serve(listener, routes).await });
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let status = async |token: &str| http.get(&url).bearer_auth(token).send().await.unwrap().status().as_u16();

    let mut times = Vec::with_capacity(count);
    for token in tokens(revoking, admin, count).await {
        assert_eq!(status(&token).await, 200);
        let acknowledged = revoke(revoking, admin, &token).await;
        while status(&token).await != 401 {
            assert!(acknowledged.elapsed() < PATIENCE, "still accepted");
        }
        times.push(acknowledged.elapsed());
    }
    service.abort();
    times
}

/// Of each verifier, and of the last one in each round.
async fn at_many_verifiers(broker: &Broker, admin: &str) -> (Vec<Duration>, Vec<Duration>) {
    let mut followers = Vec::with_capacity(VERIFIERS);
    for _ in 0..VERIFIERS {
        followers.push(follow(broker).await);
    }
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for token in tokens(broker, admin, ROUNDS).await {
        let verifiers: Vec<Verifier> = followers.iter().map(|(_, verifier)| verifier.clone()).collect();
        assert!(verifiers.iter().all(|verifier| verifier.verify(&token).is_ok()));
        let acknowledged = revoke(broker, admin, &token).await;
        let watching = tokio::task::spawn_blocking(move || watch(verifiers, &token, acknowledged));
        let times = watching.await.unwrap();
        last.push(times.iter().copied().max().unwrap());
        each.extend(times);
    }
    (each, last)
}

/// When each of the verifiers refuses the token.
fn watch(mut verifiers: Vec<Verifier>, token: &str, acknowledged: Instant) -> Vec<Duration> {
    let mut times = Vec::with_capacity(verifiers.len());
    while !verifiers.is_empty() {
        verifiers.retain(|verifier| {
            let accepted = verifier.verify(token).is_ok();
            if !accepted {
                times.push(acknowledged.elapsed());
            }
            accepted
        });
        assert!(acknowledged.elapsed() < PATIENCE, "{} still accept", verifiers.len());
        // Two processors for everyone here: looking must not keep the news from coming.
        std::thread::sleep(Duration::from_micros(100));
    }
    times
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1)).unwrap().as_secs_f64() * 1000.0;
    println!("{what:<60} {:>8.2} {:>8.2} {:>8.2}", at(50), at(99), at(100));
}
