//! A language model by the real client, from a server that replays replies.

use std::{sync::Arc, time::Duration};

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
    assert_eq!(requests[0].body["tools"].as_array().unwrap().len(), 12);
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
async fn misbehaving_model_ends_encounter_with_its_defect_and_without_agent() {
    let other = FakeOpenAi::start([]).await.unwrap();
    let many = (0..500).map(|n| ToolCall::new(n.to_string(), "read_labs", json!({"patient_id": "P-1042"}))).collect();
    for (response, defect) in [
        (Scripted::body("junk"), "the model's response is not a chat completion: "),
        (Scripted::body("<!doctype html><title>Sign in</title>"), "the model's response is not a chat completion: "),
        (Scripted::body(r#"{"choices": []}"#), "the model's response is not a chat completion: it has no choice"),
        (calls(many), "the model's response is not a chat completion: it has more than 16 tool calls"),
        (Scripted::body("x".repeat(2 << 20)), "the model's response is larger than 1048576 bytes"),
        (Scripted::status(500, ""), "the model's server responded 500"),
        (Scripted::Redirect(other.base_url().to_owned()), "the model's server responded 307"),
        (Scripted::Hang, "the model's server did not respond within 0.2 s"),
    ] {
        let server = FakeOpenAi::start([response]).await.unwrap();
        let client = OpenAiClient::new(server.base_url(), "key-1", "test-model").unwrap();
        let page = Page::with(Arc::new(client.timeout(Duration::from_millis(200)))).await;
        let steps = page.ask("P-1042", "labs").await;
        let expected = ["patient_found", "broker_health", "model_started", "error", "complete"];
        assert_eq!(kinds(&steps).iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), expected, "{defect}");
        let title = steps[3]["title"].as_str().unwrap();
        assert!(title.starts_with(&format!("The encounter stopped: {defect}")), "{title}");
        page.scene.strike().await;
    }
    assert!(other.requests().is_empty(), "the key was sent to no other server");
}

#[tokio::test]
async fn unreachable_model_ends_encounter_with_its_reason() {
    let server = FakeOpenAi::start([]).await.unwrap();
    let client = OpenAiClient::new(server.base_url(), "key-1", "test-model").unwrap();
    drop(server);
    let page = Page::with(Arc::new(client)).await;
    let steps = page.ask("P-1042", "labs").await;
    let title = of_kind(&steps, "error")[0]["title"].as_str().unwrap();
    assert!(title.starts_with("The encounter stopped: the model's server cannot be reached: "), "{title}");
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
    let title = "The model asked for more than 10 rounds of tool calls";
    assert_eq!(of_kind(&steps, "error")[0]["title"], title);
    page.scene.strike().await;
}
