//! Time until a revocation or a withdrawal is in force: from the broker's 200 to the first refusal.
//!
//! `cargo bench -p agentwrit-e2e --bench revocation`; an argument is a part of the names of the sections to run: `-- followers`.
//!
//! 1. `route`: one protected service, its own connection to the broker, 1,000 agents revoked one after the other. The
//!    revoking client repeats a request to the route until it is 401.
//! 2. `brokers`: the same with two brokers on PostgreSQL: revoked at one, refused at a route that follows the other. With
//!    the database's notifications, and without them, when the poll alone finds the commits of the other broker.
//! 3. `followers`, and `reports` for those that report: see [`followers`].
//! 4. `mirror`: the same number of followers behind Varnish with `deploy/proxies/feed.vcl`.
//!
//! The real broker in a process of its own, on loopback; its store is in `TMPDIR`.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
#![expect(clippy::print_stdout, reason = "its output is the point")]

mod followers;

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use agentwrit_e2e::{Broker, Brokers, jti};
use agentwrit_tower::RequireScope;
use agentwrit_verify::{Verifier, remote::Follower};
use axum::{Router, routing::get};
use postgres_server::PostgresServer;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const REVOCATIONS: usize = 1000;
const REVOCATIONS_OF_SEVERAL_BROKERS: usize = 300;
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    // cargo itself passes `--bench`.
    let wanted: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wants = |section: &str| wanted.is_empty() || wanted.iter().any(|part| section.contains(part.as_str()));
    println!("time from the broker's 200 to the first refusal, milliseconds    p50      p99      max");
    if wants("route") {
        let broker = start().await;
        let admin = broker.admin_token().await;
        report("401 at a protected route, 1,000 revocations", at_a_route(&broker, &broker, &admin, REVOCATIONS).await);
    }
    if wants("brokers") {
        for (notifies, name) in
            [(true, "of another broker, 300 revocations"), (false, "the same without notifications")]
        {
            report(name, at_another_broker(notifies).await);
        }
    }
    if wants("followers") {
        followers::measure().await;
    }
    if wants("reports") {
        followers::measure_reporting().await;
    }
    if wants("mirror") {
        followers::measure_behind_mirror().await;
    }
}

async fn start() -> Broker {
    Broker::start_with(&[("AA_LOG_LEVEL", "standard")]).await
}

/// The same, of a broker that local addresses other than 127.0.0.1 reach too.
async fn start_on_every_address() -> Broker {
    let mut broker = Broker::start_with(&[("AA_LOG_LEVEL", "standard"), ("AA_BIND_ADDRESS", "0.0.0.0")]).await;
    broker.url = broker.url.replace("0.0.0.0", "127.0.0.1");
    broker
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

/// Revokes a token; returns when the broker had answered, and its response.
async fn revoke(broker: &Broker, admin: &str, token: &str) -> (Instant, Value) {
    let request = json!({"level": "token", "target": jti(token)});
    let response = broker.post("/v1/revoke").bearer(admin).json(&request).await;
    let acknowledged = Instant::now();
    let response = response.json();
    assert_eq!(response.get("count"), Some(&json!(1)));
    (acknowledged, response)
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
        let (acknowledged, _) = revoke(revoking, admin, &token).await;
        while status(&token).await != 401 {
            assert!(acknowledged.elapsed() < PATIENCE, "still accepted");
        }
        times.push(acknowledged.elapsed());
    }
    service.abort();
    times
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1)).unwrap().as_secs_f64() * 1000.0;
    println!("{what:<60} {:>8.2} {:>8.2} {:>8.2}", at(50), at(99), at(100));
}
