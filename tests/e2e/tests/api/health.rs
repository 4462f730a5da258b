//! `GET /v1/health`

use agentwrit_e2e::Broker;
use serde_json::json;

#[tokio::test]
async fn reports_new_broker_as_healthy() {
    let broker = Broker::start().await;
    let body = broker.get("/v1/health").await.expect(
        200,
        json!({
            "status": "ok", "version": env!("CARGO_PKG_VERSION"), "uptime": "$uint", "db_connected": true,
            "audit_events_count": "$uint",
        }),
    );
    assert!(body["uptime"].as_u64().unwrap() < 60, "{body}");
}

#[tokio::test]
async fn reports_event_count() {
    let broker = Broker::start().await;
    let before = broker.audit_events().await;
    broker.admin_token().await;
    assert!(broker.audit_events().await > before);
    let counted = broker.audit_events().await;
    assert_eq!(broker.audit_events().await, counted, "asking writes nothing");
}
