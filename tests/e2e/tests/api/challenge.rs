//! `GET /v1/challenge`

use std::collections::HashSet;

use agentwrit_e2e::Broker;
use serde_json::json;

#[tokio::test]
async fn issues_fresh_nonce() {
    let broker = Broker::start().await;
    let body = broker.get("/v1/challenge").await.expect(200, json!({"nonce": "$hex(64)", "expires_in": 30}));
    assert_ne!(body["nonce"].as_str().unwrap(), broker.nonce().await);
}

#[tokio::test]
async fn challenges_leave_store_unchanged() {
    let broker = Broker::start().await;
    let (rows, events) = (broker.stored_rows(), broker.audit_events().await);
    let mut nonces = HashSet::new();
    for _ in 0..100 {
        nonces.insert(broker.nonce().await);
    }
    assert_eq!(nonces.len(), 100);
    assert_eq!(broker.stored_rows(), rows);
    assert_eq!(broker.audit_events().await, events);
}
