//! Requests that are sent again, and those that never are.

use std::time::Duration;

use agentwrit_client::{Agent, Client, ClientBuilder, ClientError, Registration, RevocationTarget, Secret};
use agentwrit_verify::PathSegment;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use crate::broker::{FakeBroker, problem, token};

const ID: &str = "spiffe://agentwrit.local/agent/ward/visit-1/0123456789abcdef";
const CHALLENGE: &str = "GET /v1/challenge";
const REGISTER: &str = "POST /v1/register";
const RENEW: &str = "POST /v1/token/renew";
const RELEASE: &str = "POST /v1/token/release";
const REVOKE: &str = "POST /v1/revoke";
const VALIDATE: &str = "POST /v1/token/validate";

fn unavailable() -> Value {
    problem(503, "unavailable", "the store cannot take the write")
}

fn patient(url: &str) -> ClientBuilder {
    Client::builder(url).timeout(Duration::from_secs(60))
}

async fn agent(broker: &FakeBroker) -> Agent {
    broker.on(CHALLENGE, 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker.on(REGISTER, 200, &json!({"agent_id": ID, "access_token": "first", "expires_in": 300}));
    let registration = Registration::new("ward", "visit-1", ["read:records:P-1"]).unwrap();
    let client = patient(&broker.url).build().unwrap();
    client.register(&Secret::from("launch-token"), &registration).await.unwrap()
}

#[tokio::test]
async fn retries_requests_that_broker_declined() {
    for (status, code) in [(503, "unavailable"), (429, "rate_limited")] {
        let broker = FakeBroker::start().await;
        broker.on(REGISTER, status, &problem(status, code, "not now"));
        broker.on(RENEW, status, &problem(status, code, "not now"));
        broker.on(RENEW, status, &problem(status, code, "not now"));
        broker.on(RENEW, 200, &token("second", 300));
        let agent = agent(&broker).await;
        agent.renew().await.unwrap();
        assert_eq!((broker.count(REGISTER), broker.count(RENEW)), (2, 3), "{code}");
        assert_eq!(agent.token().expose(), "second");
    }
}

#[tokio::test]
async fn stops_after_maximum_of_retries() {
    let broker = FakeBroker::start().await;
    broker.on(VALIDATE, 503, &unavailable());
    for (retries, sent) in [(None, 3), (Some(1), 2), (Some(0), 1)] {
        let before = broker.count(VALIDATE);
        let builder = patient(&broker.url);
        let client = retries.map_or(builder.clone(), |most| builder.retries(most)).build().unwrap();
        let error = client.validate("some-token").await.unwrap_err();
        assert_eq!(error.error_code(), Some("unavailable"));
        assert_eq!(broker.count(VALIDATE) - before, sent, "{retries:?}");
    }
}

#[tokio::test]
async fn returns_at_once_when_delay_exceeds_timeout() {
    let broker = FakeBroker::start().await;
    let body = problem(429, "rate_limited", "too many requests").to_string();
    broker.on_raw(VALIDATE, 429, &[("retry-after", "60")], body);
    let error = patient(&broker.url).build().unwrap().validate("some-token").await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(broker.count(VALIDATE), 1);
}

#[tokio::test]
async fn does_not_retry_rejections_and_500() {
    for (status, code) in [(400, "invalid_request"), (401, "unauthorized"), (403, "x"), (404, "not_found"), (500, "x")]
    {
        let broker = FakeBroker::start().await;
        broker.on(VALIDATE, status, &problem(status, code, "no"));
        let error = patient(&broker.url).build().unwrap().validate("some-token").await.unwrap_err();
        assert_eq!((error.status(), broker.count(VALIDATE)), (Some(status), 1));
    }
}

/// The broker itself cannot know whether its commit took place.
#[tokio::test]
async fn retries_only_idempotent_requests_after_unknown_outcome() {
    let broker = FakeBroker::start().await;
    let agent = agent(&broker).await;
    let unknown = problem(503, "outcome_unknown", "the outcome of the request is not known");
    broker.on(RENEW, 503, &unknown);
    broker.on(RELEASE, 503, &unknown);
    broker.on_raw(RELEASE, 204, &[], "");
    assert_eq!(agent.renew().await.unwrap_err().error_code(), Some("outcome_unknown"));
    agent.release().await.unwrap();
    assert_eq!((broker.count(RENEW), broker.count(RELEASE)), (1, 2));
}

/// A gateway cannot know whether the broker processed the request.
#[tokio::test]
async fn retries_only_idempotent_requests_after_gateway_error() {
    for status in [502, 503, 504] {
        let broker = FakeBroker::start().await;
        let agent = agent(&broker).await;
        for (line, body) in [(RENEW, ""), (RELEASE, "<html>"), (VALIDATE, r#"{"error_code":"something_else"}"#)] {
            broker.on_raw(line, status, &[], body);
        }
        broker.on_raw(RELEASE, 204, &[], "");
        assert_eq!(agent.renew().await.unwrap_err().status(), Some(status));
        agent.release().await.unwrap();
        let client = patient(&broker.url).build().unwrap();
        assert_eq!(client.validate("some-token").await.unwrap_err().status(), Some(status));
        assert_eq!((broker.count(RENEW), broker.count(RELEASE), broker.count(VALIDATE)), (1, 2, 3), "{status}");
    }
    let broker = FakeBroker::start().await;
    broker.on_raw(VALIDATE, 429, &[], "slow down");
    assert_eq!(patient(&broker.url).build().unwrap().validate("x").await.unwrap_err().status(), Some(429));
    assert_eq!(broker.count(VALIDATE), 1);
}

#[tokio::test]
async fn retries_revocation() {
    let broker = FakeBroker::start().await;
    broker.on("POST /v1/admin/auth", 200, &token("admin-token", 300));
    broker.on_raw(REVOKE, 504, &[], "");
    broker.on(REVOKE, 200, &json!({"revoked": true, "level": "task", "target": "t", "count": 1}));
    let admin = patient(&broker.url).build().unwrap().admin("admin-secret").unwrap();
    let target = RevocationTarget::Task(PathSegment::parse("t").unwrap());
    let revoked = admin.revoke(&target, Some("a drill")).await.unwrap();
    assert_eq!((revoked.revoked, revoked.count, broker.count(REVOKE)), (true, 1, 2));
    let body = json!({"level": "task", "target": "t", "reason": "a drill"});
    assert_eq!(broker.requests(REVOKE)[1].json(), body);
}

#[tokio::test]
async fn does_not_retry_health() {
    let health =
        json!({"status": "unavailable", "version": "1", "uptime": 1, "db_connected": false, "audit_events_count": 1});
    let broker = FakeBroker::start().await;
    broker.on("GET /v1/health", 503, &health);
    assert!(!patient(&broker.url).build().unwrap().health().await.unwrap().is_ok());
    assert_eq!(broker.count("GET /v1/health"), 1);
}

/// Accepts connections, reads a request, closes, and counts.
async fn hangs_up() -> (String, tokio::task::JoinHandle<()>, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = std::sync::Arc::clone(&seen);
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    });
    (url, server, seen)
}

#[tokio::test]
async fn retries_only_idempotent_requests_after_broken_connection() {
    use std::sync::atomic::Ordering;
    let (url, server, seen) = hangs_up().await;
    let client = patient(&url).build().unwrap();
    let app = client.app("id-1", "client-secret").unwrap();
    let request = agentwrit_client::NewLaunchToken::new("a", ["read:data:x"]).unwrap();
    let error = app.create_launch_token(&request).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert_eq!(seen.swap(0, Ordering::Relaxed), 1, "an authentication that may have happened");
    let error = client.validate("some-token").await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    server.abort();
}

/// Any request that arrives while the broker starts is served after a retry.
#[tokio::test]
async fn retries_requests_that_were_never_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = patient(&format!("http://{address}")).retries(100).build().unwrap();
    let app = client.app("id-1", "client-secret").unwrap();
    let request = agentwrit_client::NewLaunchToken::new("a", ["read:data:x"]).unwrap();
    let asked = tokio::spawn(async move { app.create_launch_token(&request).await });
    tokio::task::yield_now().await;
    let broker = FakeBroker::start_at(address).await;
    broker.on("POST /v1/app/auth", 401, &problem(401, "unauthorized", "invalid credentials"));
    assert_eq!(asked.await.unwrap().unwrap_err().status(), Some(401));
    assert_eq!(broker.count("POST /v1/app/auth"), 1);
}

#[tokio::test]
async fn timeout_covers_all_attempts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let after = Duration::from_millis(200);
    let client = Client::builder(url).timeout(after).retries(1000).build().unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(client.validate("some-token").await.unwrap_err(), ClientError::Timeout { after });
    assert!(begun.elapsed() >= after, "{:?}", begun.elapsed());
    drop(listener);
}
