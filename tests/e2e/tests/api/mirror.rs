//! Services that follow Varnish with `deploy/proxies/feed.vcl` in place of the broker.

use std::time::Duration;

use agentwrit_e2e::{Broker, Mirror, jti};
use agentwrit_verify::{Verifier, issue::SigningKey, remote::Follower, report::VerifierName};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

const FOLLOWERS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(20);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

/// Number of responses of the feed that the broker has sent.
async fn feed_responses(broker: &Broker) -> u64 {
    let metrics = String::from_utf8(broker.get("/v1/metrics").await.body).unwrap();
    let series = r#"agentwrit_request_duration_seconds_count{endpoint="/v1/revocations"} "#;
    metrics.lines().find_map(|line| line.strip_prefix(series)).map_or(0, |count| count.parse().unwrap())
}

/// Followers of the mirror that report to the broker, each with its verifier.
async fn followers(broker: &Broker, mirror: &Mirror, admin: &str) -> Vec<(Follower, Verifier)> {
    let key = SigningKey::from_seed(&[7; 32]).unwrap();
    let public_key = data_encoding::BASE64.encode(key.public_key().as_bytes());
    let enrolment = json!({"name": "records-api", "public_key": public_key});
    assert_eq!(broker.post("/v1/admin/verifiers").bearer(admin).json(&enrolment).await.status, 201);
    let mut followers = Vec::with_capacity(FOLLOWERS);
    for _ in 0..FOLLOWERS {
        let builder = Follower::builder(&mirror.url).issuer("https://agentwrit.local");
        let follower =
            builder.identity(VerifierName::parse("records-api").unwrap(), key.clone()).start().await.unwrap();
        let verifier = follower.verifier().build();
        followers.push((follower, verifier));
    }
    followers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_answers_mirror_once_for_all_its_followers() {
    let broker = Broker::start().await;
    let mirror = Mirror::start(&broker.url).await;
    let admin = broker.admin_token().await;
    let followers = followers(&broker, &mirror, &admin).await;
    for _ in 0..3 {
        let (token, _) = broker.agent(&admin, &["read:data:x"]).await;
        assert!(followers.iter().all(|(_, verifier)| verifier.verify(&token).is_ok()));
        let before = feed_responses(&broker).await;
        let revoked = broker.revoke(&admin, "token", &jti(&token)).await.json();
        until("each follower of the mirror applies the revocation", async || {
            followers.iter().all(|(_, verifier)| verifier.verify(&token).is_err())
        })
        .await;
        let responses = feed_responses(&broker).await - before;
        assert!((1..=8).contains(&responses), "{responses} responses for {FOLLOWERS} followers");

        let cursor = revoked.get("cursor").and_then(Value::as_str).unwrap();
        let path = format!("/v1/revocations/{cursor}/confirmation?wait=20");
        let confirmation = broker.get(&path).bearer(&admin).await.json();
        let of_all = (Some(&json!("confirmed")), Some(&json!(FOLLOWERS)));
        assert_eq!((confirmation.get("state"), confirmation.get("confirmed")), of_all, "{confirmation}");
    }
}

#[tokio::test]
async fn mirror_refuses_what_is_not_of_the_feed() {
    let broker = Broker::start().await;
    let mirror = Mirror::start(&broker.url).await;
    for path in ["/v1/revocations", "/v1/revocations?since=1&wait=0", "/.well-known/jwks.json"] {
        let direct = broker.get(path).await;
        let mirrored = mirror.request(Method::GET, path).await;
        assert_eq!((mirrored.status, mirrored.header("content-type")), (200, direct.header("content-type")), "{path}");
    }
    for path in ["/", "/v1/health", "/v1/metrics", "/v1/audit/events", "/v1/revocations/e.1/confirmation", "/console"] {
        assert_eq!(mirror.request(Method::GET, path).await.status, 404, "{path}");
    }
    for path in ["/v1/register", "/v1/revoke", "/v1/admin/auth", "/v1/revocations"] {
        assert_eq!(mirror.request(Method::POST, path).json(&json!({})).await.status, 405, "{path}");
    }
}

#[tokio::test]
async fn mirror_serves_nothing_old_when_broker_is_gone() {
    let broker = Broker::start().await;
    let mirror = Mirror::start(&broker.url).await;
    assert_eq!(mirror.request(Method::GET, "/v1/revocations").await.status, 200);
    let _ = broker.terminate().await;
    until("the mirror has no response left", async || {
        mirror.request(Method::GET, "/v1/revocations").await.status == 503
    })
    .await;
}
