//! Many rotations while agents send requests to services that follow the broker through an HTTP cache.
//!
//! 1. A rotation prepares a key, waits until each instance has reported that it has it, and activates it with `force`: the
//!    rest of `AA_KEY_PREPARE_FOR` is for verifiers that do not report, and there are none. The former key is withdrawn, when
//!    each agent has replaced its token: it would be kept for an hour, and a key set holds 64 keys.
//! 2. So a token that an agent uses is good at every moment: each response but 200 is an error.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agentwrit_e2e::{Broker, ProtectedService};
use agentwrit_verify::{issue::SigningKey, remote::Follower, report::VerifierName};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{cache::Cache, keys::kid, site::Site};

/// Rotations in every run; `AGENTWRIT_ROTATIONS` sets another number. Each takes a second: instances report once a second.
const ROTATIONS: u64 = 25;
const AGENTS: usize = 4;
/// Rotations after which a new instance of a verifier starts.
const START_INTERVAL: u64 = 5;

/// State that the agents share.
struct Traffic {
    /// Number of the latest rotation, whose key signs.
    generation: watch::Sender<u64>,
    requests: AtomicU64,
}

/// Sends requests to the services, and replaces the token after each rotation. Returns the responses other than 200.
async fn run_agent(
    broker: Arc<Site>,
    services: Arc<Vec<ProtectedService>>,
    traffic: Arc<Traffic>,
    replaced: watch::Sender<u64>,
    number: usize,
) -> Vec<String> {
    let mut generation = traffic.generation.subscribe();
    let mut token = broker.agent(&format!("agent-{number}")).await.token;
    let mut refused = Vec::new();
    for request in number.. {
        let service = &services[request % services.len()];
        let status = service.status_for(&token).await;
        traffic.requests.fetch_add(1, Ordering::Relaxed);
        if status != 200 {
            refused.push(format!("{status} of {} to a token of {}", service.name, kid(&token)));
        }
        let latest = *generation.borrow_and_update();
        if latest == u64::MAX {
            break;
        }
        if latest != *replaced.borrow() {
            token = broker.broker(0).renewed(&token).await;
            // The renewal ended the former token, and no request with it is under way.
            replaced.send_replace(latest);
        }
    }
    refused
}

async fn change(broker: &Broker, admin: &str, path: &str, body: Value) -> Value {
    let response = broker.post(path).bearer(admin).json(&body).await;
    assert!(matches!(response.status, 200 | 201), "{path}: {}", String::from_utf8_lossy(&response.body));
    response.json()
}

/// Waits until each instance has the keys that are published.
async fn until_each_instance_has_keys(broker: &Broker, admin: &str, instances: usize) {
    let begun = Instant::now();
    loop {
        let list = broker.get("/v1/admin/verifiers").bearer(admin).await.json();
        let verifiers = list["verifiers"].as_array().unwrap().iter();
        let all: Vec<&Value> = verifiers.flat_map(|verifier| verifier["instances"].as_array().unwrap()).collect();
        if all.len() >= instances && all.iter().all(|instance| instance["has_current_keys"] == true) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "an instance lacks a key: {list}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Starts an instance behind the cache, whose key set may be old, and leaves again.
async fn start_instance(site: &Site, url: &str, token: &str) {
    let pem = std::fs::read(site.directory.path().join("records-api.pem")).unwrap();
    let name = VerifierName::parse("records-api").unwrap();
    let key = SigningKey::from_pkcs8_pem(&pem).unwrap();
    let follower = Follower::builder(url).issuer("https://agentwrit.local").identity(name, key).start().await.unwrap();
    let verified = follower.verifier().build().verify(token).map(drop);
    assert_eq!(verified, Ok(()), "a new instance");
    follower.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_refuse_no_good_token_behind_http_cache() {
    let rotations = env::var("AGENTWRIT_ROTATIONS").map_or(ROTATIONS, |number| number.parse().unwrap());
    let site = Arc::new(Site::one(&[]).await);
    let (cache, url) = Cache::start(site.url()).await;
    let mut services = Vec::new();
    for name in ["records-api", "payments-api"] {
        site.enrol_verifier(name, &["--max-bound", "30"]).await;
        let key = site.directory.path().join(format!("{name}.pem"));
        services.push(ProtectedService::start(&url, name, &key, &[]).await);
    }
    let (services, broker) = (Arc::new(services), site.broker(0));
    let traffic = Arc::new(Traffic { generation: watch::Sender::new(0), requests: AtomicU64::new(0) });
    let (mut agents, mut replaced) = (JoinSet::new(), Vec::new());
    for number in 0..AGENTS {
        let (sender, receiver) = watch::channel(0);
        replaced.push(receiver);
        agents.spawn(run_agent(Arc::clone(&site), Arc::clone(&services), Arc::clone(&traffic), sender, number));
    }
    let begun = Instant::now();
    for rotation in 1..=rotations {
        // The operator's token is signed by a key as well.
        let admin = broker.admin_token().await;
        let former = kid(&admin);
        let prepared = change(broker, &admin, "/v1/admin/keys", json!({})).await;
        let next = prepared["kid"].as_str().unwrap();
        until_each_instance_has_keys(broker, &admin, services.len()).await;
        change(broker, &admin, &format!("/v1/admin/keys/{next}/activate"), json!({"force": true})).await;
        traffic.generation.send_replace(rotation);
        for agent in &mut replaced {
            agent.wait_for(|replaced| *replaced == rotation).await.unwrap();
        }
        let admin = broker.admin_token().await;
        assert_eq!(kid(&admin), next);
        // Followers bypass the cache and so replace its key set; a client that does not bypass it gets that.
        let held = reqwest::get(format!("{url}/.well-known/jwks.json")).await.unwrap().text().await.unwrap();
        assert!(held.contains(next), "the cache holds the key that signs: {held}");
        change(broker, &admin, &format!("/v1/admin/keys/{former}/withdraw"), json!({})).await;
        if rotation % START_INTERVAL == 0 {
            start_instance(&site, &url, &site.agent("new-instance").await.token).await;
        }
    }
    let took = begun.elapsed();
    traffic.generation.send_replace(u64::MAX);
    let refused = agents.join_all().await.concat();
    let requests = traffic.requests.load(Ordering::Relaxed);
    assert!(refused.is_empty(), "{} of {requests} refused: {:?}", refused.len(), refused.first_chunk::<5>());
    assert!(requests > rotations, "{requests} requests");
    assert_eq!(cache.hits(), rotations, "the cache responds to clients that do not bypass it");
    println!("{rotations} rotations in {took:?}: {requests} requests, none refused; {} cache hits", cache.hits());
}
