//! Steps of an encounter in progress.

use std::{sync::Arc, time::Duration};

use agent_model::{
    OpenAiClient, Reply, ToolCall,
    test_server::{FakeOpenAi, Scripted},
};
use demo_common::testing::{EventReader, ServedPages};
use medassist::scene::Scene;
use serde_json::{Value, json};

use crate::page::routes_of;

/// Timeout for the whole encounter.
const TIMEOUT: Duration = Duration::from_secs(60);

fn kinds(steps: &[Value]) -> Vec<&str> {
    steps.iter().filter_map(|step| step["kind"].as_str()).collect()
}

#[tokio::test]
async fn steps_arrive_while_model_has_not_replied() {
    let call = ToolCall::new("a", "read_labs", json!({"patient_id": "P-1042"}));
    let script = [Scripted::Reply(Reply::calls(vec![call])), Scripted::Reply(Reply::text("Done."))];
    let server = FakeOpenAi::start_held(script).await.unwrap();
    let model = Arc::new(OpenAiClient::new(server.base_url(), "key-1", "test-model").unwrap());
    let scene = Scene::set().await.unwrap();
    let pages = ServedPages::start(routes_of(&scene, model)).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap();
    let request = client.post(format!("{}/api/encounters", pages.url())).header("content-type", "application/json");
    let body = json!({"patient_id": "P-1042", "request": "labs"}).to_string();
    let mut steps = EventReader::new(request.body(body).send().await.unwrap());

    // The model's server holds its first response: nothing after these steps can have happened.
    let first = steps.until(|step| step["kind"] == "model_started").await.unwrap();
    assert_eq!(kinds(&first), ["patient_found", "broker_health", "model_started"]);
    server.release();
    let second = steps.until(|step| step["kind"] == "tool_allowed").await.unwrap();
    assert_eq!(kinds(&second), ["agent_created", "token_validated", "tool_allowed"]);
    server.release();
    let rest = steps.rest().await.unwrap();
    assert_eq!(kinds(&rest), ["answer", "renewed", "token_ended", "released", "token_ended", "complete"]);
    assert_eq!(server.requests().len(), 2);
    scene.strike().await;
}
