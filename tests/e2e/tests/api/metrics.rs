//! `GET /v1/metrics`

use std::collections::BTreeMap;

use agentwrit_e2e::Broker;
use serde_json::json;

const PATH: &str = "/v1/metrics";

/// Each series with its value.
async fn scrape(broker: &Broker) -> BTreeMap<String, f64> {
    let answer = broker.get(PATH).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(answer.body).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn counts_operations() {
    let broker = Broker::start().await;
    let before = scrape(&broker).await;
    let admin = broker.admin_token().await;
    let launch = || json!({"allowed_scope": ["read:data:x", "read:data:y", "write:other:z"]});
    let a = broker.enrol(&admin, "task-1", launch()).await;
    broker.enrol(&admin, "task-1", launch()).await;
    broker.renewed(&a.token).await;
    broker.revoked(&admin, "task", "task-1").await;
    broker.post("/v1/admin/auth").json(&json!({"secret": "wrong"})).await.problem(401, "unauthorized");
    broker.post("/v1/register").json(&json!({})).await.problem(400, "invalid_request");
    let spoilt = broker.registration(&admin, &["read:data:x"]).await.with("nonce", json!("0".repeat(64)));
    broker.post("/v1/register").json(&spoilt.0).await.problem(401, "unauthorized");

    let after = scrape(&broker).await;
    let grew = |series: &str| {
        let value = after.get(series).unwrap_or_else(|| panic!("no {series} in {after:#?}"));
        value - before.get(series).copied().unwrap_or(0.0)
    };
    for (series, by) in [
        (r#"agentwrit_tokens_issued_total{scope="read:data"}"#, 3.0),
        (r#"agentwrit_tokens_issued_total{scope="write:other"}"#, 3.0),
        (r#"agentwrit_tokens_issued_total{scope="admin:launch-tokens"}"#, 1.0),
        (r#"agentwrit_tokens_revoked_total{level="task"}"#, 2.0),
        (r#"agentwrit_tokens_revoked_total{level="chain"}"#, 0.0),
        (r#"agentwrit_registrations_total{status="success"}"#, 2.0),
        (r#"agentwrit_registrations_total{status="failure"}"#, 1.0),
        (r#"agentwrit_admin_auth_total{status="success"}"#, 1.0),
        (r#"agentwrit_admin_auth_total{status="failure"}"#, 1.0),
        ("agentwrit_launch_tokens_created_total", 3.0),
        (r#"agentwrit_request_duration_seconds_count{endpoint="/v1/register"}"#, 4.0),
        (r#"agentwrit_audit_events_total{event_type="agent_registered"}"#, 2.0),
    ] {
        assert!((grew(series) - by).abs() < 0.5, "{series} grew by {} instead of {by}", grew(series));
    }
    for series in [
        "agentwrit_active_agents",
        "agentwrit_clock_skew_total",
        "agentwrit_audit_write_duration_seconds_count",
        "agentwrit_audit_events_loaded",
    ] {
        assert!(after.contains_key(series), "{series}");
    }
}

#[tokio::test]
async fn active_agents_gauge_follows_registrations_and_endings() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch = |ttl: u64| json!({"allowed_scope": ["read:data:x"], "max_ttl": ttl});
    broker.enrol(&admin, "task-1", launch(1)).await;
    let revoked = broker.enrol(&admin, "task-1", launch(300)).await;
    broker.enrol(&admin, "task-1", launch(300)).await;
    broker.revoked(&admin, "agent", &revoked.id).await;
    let mut seen = Vec::new();
    for _ in 0..40 {
        let active = scrape(&broker).await["agentwrit_active_agents"];
        seen.push(active);
        if (active - 1.0).abs() < 0.5 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    panic!("one of three agents is active, not {seen:?}");
}

#[tokio::test]
async fn reports_findings_of_start() {
    let broker = Broker::start().await;
    broker.admin_token().await;
    let events = broker.audit_events().await;
    let broker = Broker::start_in(broker.kill().await, &[]).await;
    let found = scrape(&broker).await["agentwrit_audit_events_loaded"];
    assert!((found - f64::from(u32::try_from(events).unwrap())).abs() < 0.5, "{found} of {events}");
    broker.admin_token().await;
    let writes = scrape(&broker).await["agentwrit_audit_write_duration_seconds_count"];
    assert!(writes >= 1.0, "{writes}");
}
