//! A language model by the real client, from a server that replays replies.

use std::sync::Arc;

use agent_model::{
    OpenAiClient, Reply, ToolCall,
    test_server::{FakeOpenAi, Scripted},
};
use serde_json::json;

use crate::page::{Page, field, kinds, of_kind};

async fn page(script: Vec<Scripted>) -> (Page, FakeOpenAi) {
    let server = FakeOpenAi::start(script).await.unwrap();
    let client = OpenAiClient::new(server.base_url(), "key-1", "test-model").unwrap();
    (Page::with(Arc::new(client)).await, server)
}

fn calls(calls: Vec<ToolCall>) -> Scripted {
    Scripted::Reply(Reply::calls(calls))
}

#[tokio::test]
async fn model_chooses_tools_and_gets_refusals_back() {
    let script = vec![
        calls(vec![
            ToolCall::new("a", "read_labs", json!({"patient_id": "P-1042"})),
            ToolCall::new("b", "read_labs", json!({"patient_id": "P-2077"})),
        ]),
        Scripted::Reply(Reply::text("Done, <b>in part</b>.")),
    ];
    let (page, server) = page(script).await;
    let setup = page.get("/api/setup").await.json();
    assert_eq!(setup["is_language_model"], true);
    let steps = page.ask("P-1042", "compare").await;
    assert_eq!(of_kind(&steps, "tool_allowed").len(), 1);
    assert_eq!(of_kind(&steps, "tool_refused")[0]["rule"]["needed"], "read:labs:P-2077");
    assert_eq!(field(of_kind(&steps, "answer")[0], "text"), "Done, <b>in part</b>.");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body["tools"].as_array().unwrap().len(), 11);
    let messages = requests[1].body["messages"].as_array().unwrap();
    let refusal = messages.last().unwrap()["content"].as_str().unwrap();
    assert!(refusal.contains(r#""status":403"#) && refusal.contains("read:labs:P-2077"), "{refusal}");
    page.scene.strike().await;
}

#[tokio::test]
async fn call_that_fits_no_tool_creates_no_agent() {
    let script = vec![
        calls(vec![
            ToolCall::new("a", "delete_patient", json!({"patient_id": "P-1042"})),
            ToolCall::new("b", "read_labs", json!({"patient": "P-1042"})),
            ToolCall::new("c", "read_labs", json!("{")),
            ToolCall::new("d", "read_chart", json!({"patient_id": ".."})),
        ]),
        Scripted::Reply(Reply::text("Nothing was possible.")),
    ];
    let (page, _server) = page(script).await;
    let steps = page.ask("P-1042", "delete").await;
    assert_eq!(of_kind(&steps, "error").len(), 4);
    assert!(of_kind(&steps, "agent_created").is_empty());
    page.scene.strike().await;
}

#[tokio::test]
async fn failing_model_ends_encounter_and_releases_agents() {
    let script = vec![
        calls(vec![ToolCall::new("a", "read_labs", json!({"patient_id": "P-1042"}))]),
        Scripted::status(500, "overloaded"),
    ];
    let (page, _server) = page(script).await;
    let steps = page.ask("P-1042", "labs").await;
    let last: Vec<_> = kinds(&steps).into_iter().rev().take(6).map(|(kind, _)| kind).collect();
    assert_eq!(last, ["complete", "token_ended", "released", "token_ended", "renewed", "error"]);
    page.scene.strike().await;
}

#[tokio::test]
async fn model_that_never_stops_is_stopped_after_ten_rounds() {
    let endless = calls(vec![ToolCall::new("a", "read_labs", json!({"patient_id": "P-1042"}))]);
    let (page, server) = page(vec![endless; 20]).await;
    let steps = page.ask("P-1042", "labs").await;
    assert_eq!(server.requests().len(), 10);
    assert_eq!(of_kind(&steps, "tool_allowed").len(), 10);
    assert!(of_kind(&steps, "answer").is_empty());
    page.scene.strike().await;
}
