//! Errors when the other side is not a broker, or unreachable.

use std::time::Duration;

use agentwrit_client::{Client, ClientError};
use agentwrit_protocol::Problem;
use tokio::net::TcpListener;

use crate::broker::{FakeBroker, problem};

const HEALTH: &str = "GET /v1/health";

#[tokio::test]
async fn rejection_has_problem_and_retry_after() {
    let broker = FakeBroker::start().await;
    let body = problem(429, "rate_limited", "too many requests");
    broker.on_raw(HEALTH, 429, &[("retry-after", "7")], body.to_string());
    let error = Client::builder(&broker.url).retries(0).build().unwrap().health().await.unwrap_err();
    let expected: Problem = serde_json::from_value(body).unwrap();
    assert_eq!(
        error,
        ClientError::Rejected { status: 429, problem: Box::new(expected), retry_after: Some(Duration::from_secs(7)) }
    );
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn rejection_without_problem_is_about_blank() {
    for body in ["<html>bad gateway</html>", "", "[]", "null", "{}", "{\"status\":\"x\"}"] {
        let broker = FakeBroker::start().await;
        broker.on_raw(HEALTH, 502, &[("x-request-id", "from-the-proxy"), ("retry-after", "tomorrow")], body);
        let error = Client::new(&broker.url).unwrap().health().await.unwrap_err();
        assert_eq!(error.status(), Some(502), "{body:?}");
        assert_eq!(error.error_code(), None, "{body:?}");
        assert_eq!(error.hint(), None, "{body:?}");
        assert_eq!(error.request_id(), Some("from-the-proxy"), "{body:?}");
        assert_eq!(error.retry_after(), None, "{body:?}");
        assert_eq!(error.to_string(), "broker refused (502): Bad Gateway without a problem body", "{body:?}");
    }
}

#[tokio::test]
async fn does_not_follow_redirects() {
    let broker = FakeBroker::start().await;
    let target = format!("{}/v1/elsewhere", broker.url);
    broker.on_raw("POST /v1/token/validate", 307, &[("location", &target)], "");
    let error = Client::new(&broker.url).unwrap().validate("some-token").await.unwrap_err();
    assert!(matches!(error, ClientError::MalformedResponse { .. }), "{error:?}");
    assert_eq!(broker.request_lines(), ["POST /v1/token/validate"]);
}

#[tokio::test]
async fn distinguishes_malformed_responses_from_rejections() {
    let health = r#"{"status":"ok","version":"1","uptime":1,"db_connected":true,"audit_events_count":1"#;
    for body in [
        String::new(),
        "not json".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!("{health}}} trailing"),
        format!("{health},\"status\":\"ok\"}}"),
        format!("{health},\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
    ] {
        let broker = FakeBroker::start().await;
        broker.on_raw(HEALTH, 200, &[], body.clone());
        let error = Client::new(&broker.url).unwrap().health().await.unwrap_err();
        let ClientError::MalformedResponse { endpoint, .. } = &error else { panic!("{error:?}") };
        assert_eq!(endpoint, HEALTH);
    }
}

#[tokio::test]
async fn reads_response_up_to_limit() {
    let largest = 4 * 1024 * 1024;
    for (size, told) in [(largest + 1, true), (largest, false)] {
        let broker = FakeBroker::start().await;
        broker.on_raw(HEALTH, 200, &[], vec![b' '; size]);
        let error = Client::new(&broker.url).unwrap().health().await.unwrap_err().to_string();
        assert_eq!(error.contains("larger than 4194304 bytes"), told, "{error}");
    }
}

#[tokio::test]
async fn closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&url).unwrap().health().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.status(), None);
}

#[tokio::test]
async fn broken_connection_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    let error = Client::new(&url).unwrap().health().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn missing_response_is_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let after = Duration::from_millis(50);
    let client = Client::builder(url).timeout(after).connect_timeout(after).build().unwrap();
    assert_eq!(client.health().await.unwrap_err(), ClientError::Timeout { after });
    drop(listener);
}

#[test]
fn build_rejects_unusable_settings() {
    for (url, id, secret, field) in [
        ("http://127.0.0.1:1", "", "secret", "client id"),
        ("http://127.0.0.1:1", "id", "", "client secret"),
        ("127.0.0.1:1", "id", "secret", "broker URL"),
        ("file:///etc/passwd", "id", "secret", "broker URL"),
    ] {
        let error = Client::new(url).and_then(|client| client.app(id, secret)).unwrap_err();
        assert!(matches!(&error, ClientError::InvalidInput { field: named, .. } if *named == field), "{error:?}");
    }
}
