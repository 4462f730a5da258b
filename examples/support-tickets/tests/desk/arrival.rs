//! Events of a run in progress.

use std::sync::Arc;

use agent_model::{
    OpenAiClient, Reply, ToolCall,
    test_server::{FakeOpenAi, Scripted},
};
use serde_json::{Value, json};

use crate::running::{Running, assert_ends};

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

#[tokio::test]
async fn events_arrive_while_model_has_not_replied() {
    let triage = r#"{"priority": "P3", "category": "billing", "needs_knowledge": false}"#;
    let call = ToolCall::new("a", "customer_profile", json!({"customer_id": "C-2041"}));
    let script = [Reply::text(triage), Reply::calls(vec![call]), Reply::text("Done.")].map(Scripted::Reply);
    let server = FakeOpenAi::start_held(script).await.unwrap();
    let model = Arc::new(OpenAiClient::new(server.base_url(), "key-1", "test-model").unwrap());
    let desk = Running::with_model(model).await;
    let mut events = desk.open(&json!({"ticket": "refund"})).await;

    // The model's server holds its first response: nothing after these events can have happened.
    let first = events.until(|event| event["tool"] == "read_ticket").await.unwrap();
    assert_eq!(types(&first), ["started", "agent_created", "validated", "allowed"]);
    server.release();
    let second = events.until(|event| event["type"] == "validated").await.unwrap();
    assert_eq!(types(&second), ["triaged", "allowed", "gate", "ended", "agent_created", "validated"]);
    server.release();
    let third = events.until(|event| event["type"] == "allowed").await.unwrap();
    assert_eq!(types(&third), ["tool_called", "allowed"]);
    server.release();
    assert_ends(&events.rest().await.unwrap(), "answered", 2);
    assert_eq!(server.requests().len(), 3);
}
