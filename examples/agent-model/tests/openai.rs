//! The client against a scripted server.
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]

use std::time::Duration;

use agent_model::{
    InvalidArguments, Message, Model, ModelError, OpenAiClient, Planner, Reply, ToolCall, ToolSpec,
    test_server::{FakeOpenAi, Scripted},
};
use serde_json::json;

const KEY: &str = "sk-very-secret-0123456789";

fn tools() -> Vec<ToolSpec> {
    vec![ToolSpec::with_arguments("balance", "Returns a balance", &[("customer", "string", "the customer's id")])]
}

async fn server(script: impl IntoIterator<Item = Scripted>) -> (FakeOpenAi, OpenAiClient) {
    let server = FakeOpenAi::start(script).await.unwrap();
    let client = OpenAiClient::new(server.base_url(), KEY, "test-model").unwrap();
    (server, client)
}

async fn ask(client: &OpenAiClient) -> Result<Reply, ModelError> {
    client.complete(&[Message::User("hello".to_owned())], &tools()).await
}

#[tokio::test]
async fn sends_tool_results_and_receives_calls_then_text() {
    let call = ToolCall::new("call-7", "balance", json!({"customer": "C-1"}));
    let (server, client) =
        server([Scripted::Reply(Reply::calls(vec![call.clone()])), Scripted::Reply(Reply::text("12 euros"))]).await;
    let mut messages = vec![Message::System("be brief".to_owned()), Message::User("what do I owe?".to_owned())];

    let reply = client.complete(&messages, &tools()).await.unwrap();
    assert_eq!(reply, Reply::calls(vec![call]));
    messages.push(reply.into());
    messages.push(Message::Tool { call_id: "call-7".to_owned(), content: "1200".to_owned() });
    assert_eq!(client.complete(&messages, &[]).await, Ok(Reply::text("12 euros")));

    let [first, second] = server.requests().try_into().unwrap();
    assert_eq!(first.authorization.as_deref(), Some("Bearer sk-very-secret-0123456789"));
    let function = json!({"name": "balance", "description": "Returns a balance", "parameters": {
        "type": "object",
        "properties": {"customer": {"type": "string", "description": "the customer's id"}},
        "required": ["customer"],
    }});
    assert_eq!(first.body["tools"], json!([{"type": "function", "function": function}]));
    assert_eq!(first.body["model"], "test-model");
    assert_eq!(second.body.get("tools"), None);
    assert_eq!(
        second.body["messages"],
        json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "what do I owe?"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "call-7", "type": "function", "function":
                {"name": "balance", "arguments": "{\"customer\":\"C-1\"}"}}]},
            {"role": "tool", "tool_call_id": "call-7", "content": "1200"},
        ])
    );
}

#[tokio::test]
async fn keeps_arguments_that_are_no_object_as_text_and_resends_none() {
    let malformed = ["{\"customer\": ", "[1]", "\"C-1\"", "nonsense"];
    let calls = malformed.map(|text| ToolCall::new("c", "balance", json!(text)));
    let (server, client) =
        server([Scripted::Reply(Reply::calls(calls.to_vec())), Scripted::Reply(Reply::text("sorry"))]).await;

    let reply = ask(&client).await.unwrap();
    assert_eq!(reply.calls, calls);
    for call in &reply.calls {
        assert_eq!(call.text("customer"), Err(InvalidArguments::NoObject));
    }
    client.complete(&[reply.into()], &[]).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[1].body["messages"][0]["tool_calls"][0]["function"]["arguments"], "{}");
}

#[tokio::test]
async fn reads_calls_without_id_or_arguments() {
    let body = json!({"choices": [{"message": {"content": "", "tool_calls": [
        {"function": {"name": "balance"}},
        {"id": "", "function": {"name": "balance", "arguments": ""}},
        {"id": "x", "function": {"name": "balance", "arguments": {"customer": "C-1"}}},
    ]}}]});
    let (_server, client) = server([Scripted::body(body.to_string())]).await;
    let reply = ask(&client).await.unwrap();
    assert_eq!(
        reply,
        Reply::calls(vec![
            ToolCall::new("call-0", "balance", json!({})),
            ToolCall::new("call-1", "balance", json!({})),
            ToolCall::new("x", "balance", json!({"customer": "C-1"})),
        ])
    );
    assert_eq!(reply.calls[0].text("customer"), Err(InvalidArguments::NoText("customer")));
    assert_eq!(reply.calls[2].text("customer"), Ok("C-1"));
}

#[tokio::test]
async fn reports_status_and_retry_after() {
    let limited = Scripted::Raw { status: 429, body: String::new(), retry_after: Some(7) };
    let failed = Scripted::status(500, json!({"error": {"message": "out of memory"}}).to_string());
    let unnamed = Scripted::status(404, json!({"error": "no such\nmodel"}).to_string());
    let (_server, client) = server([limited, failed, unnamed, Scripted::status(302, "")]).await;
    let error = ask(&client).await.unwrap_err();
    assert_eq!(error, ModelError::RateLimited { retry_after: Some(Duration::from_secs(7)) });
    assert_eq!(error.to_string(), "the model's server limits requests; retry in 7 s");
    assert_eq!(ask(&client).await.unwrap_err().to_string(), "the model's server responded 500: out of memory");
    assert_eq!(ask(&client).await.unwrap_err().to_string(), "the model's server responded 404: no suchmodel");
    assert_eq!(ask(&client).await, Err(ModelError::Status { status: 302, message: None }));
}

#[tokio::test]
async fn follows_no_redirect_so_that_key_stays_at_configured_server() {
    let other = FakeOpenAi::start([Scripted::Reply(Reply::text("I have your key"))]).await.unwrap();
    let to = format!("{}/chat/completions", other.base_url());
    let (_server, client) = server([Scripted::Redirect(to)]).await;
    assert_eq!(ask(&client).await, Err(ModelError::Status { status: 307, message: None }));
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn gives_up_when_server_hangs() {
    let (server, client) = server([Scripted::Hang]).await;
    let client = client.timeout(Duration::from_millis(100));
    assert_eq!(ask(&client).await, Err(ModelError::Timeout(Duration::from_millis(100))));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn rejects_responses_beyond_its_limits() {
    let calls = |count| (0..count).map(|n| ToolCall::new(n.to_string(), "balance", json!({}))).collect();
    let (_server, client) = server([
        Scripted::Reply(Reply::text("x".repeat(1 << 20))),
        Scripted::Reply(Reply::calls(calls(17))),
        Scripted::Reply(Reply::calls(calls(16))),
    ])
    .await;
    assert_eq!(ask(&client).await, Err(ModelError::TooLarge { limit: 1 << 20 }));
    assert_eq!(ask(&client).await, Err(ModelError::Malformed("it has more than 16 tool calls".to_owned())));
    assert_eq!(ask(&client).await.unwrap().calls.len(), 16);
}

#[tokio::test]
async fn rejects_bodies_that_are_no_completion() {
    let bodies = ["", "<html>", "[]", "{}", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":7}}]}"#];
    let (_server, client) = server(bodies.map(Scripted::body)).await;
    for body in bodies {
        assert!(matches!(ask(&client).await, Err(ModelError::Malformed(_))), "{body}");
    }
}

#[tokio::test]
async fn shows_key_in_no_error_and_no_debug() {
    let echo = json!({"error": {"message": format!("your key {KEY} is bad")}}).to_string();
    let (server, client) = server([Scripted::status(401, &*echo), Scripted::status(400, &*echo)]).await;
    let mut shown = vec![format!("{client:?}"), client.description().to_string()];
    assert_eq!(ask(&client).await, Err(ModelError::Status { status: 401, message: None }));
    let error = ask(&client).await.unwrap_err();
    assert_eq!(error.to_string(), "the model's server responded 400: your key [API key] is bad");
    shown.push(format!("{error:?}"));
    drop(server);
    let base = "http://user:sk-very-secret@127.0.0.1:1/v1";
    let unreachable = OpenAiClient::new(base, KEY, "m").unwrap();
    shown.push(format!("{:?} {unreachable:?}", ask(&unreachable).await.unwrap_err()));
    shown.push(format!("{:?}", OpenAiClient::new(base, &format!("{KEY}\n\u{1}"), "m").unwrap_err()));
    for text in shown {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn reads_settings_together_or_not_at_all() {
    let with = |settings: &[(&str, &str)]| {
        OpenAiClient::from_settings(|name| {
            settings.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        })
    };
    let (url, key, model) = (("LLM_BASE_URL", "http://[::1]:9/v1/"), ("LLM_API_KEY", KEY), ("LLM_MODEL", "m"));
    assert!(with(&[]).unwrap().is_none());
    assert!(with(&[model]).unwrap().is_none());
    assert!(with(&[("LLM_BASE_URL", " "), ("LLM_API_KEY", "")]).unwrap().is_none());
    assert_eq!(with(&[url, model]).unwrap_err().to_string(), "LLM_API_KEY is missing beside LLM_BASE_URL");
    assert_eq!(with(&[key, model]).unwrap_err().to_string(), "LLM_BASE_URL is missing beside LLM_API_KEY");
    assert_eq!(with(&[url, key]).unwrap_err().to_string(), "LLM_MODEL is missing beside LLM_BASE_URL");
    for wrong in ["nonsense", "ftp://x", "file:///etc"] {
        let error = with(&[("LLM_BASE_URL", wrong), key, model]).unwrap_err();
        assert_eq!(error.to_string(), "LLM_BASE_URL must be an http or https URL");
    }
    let client = with(&[url, key, model]).unwrap().unwrap();
    assert_eq!(client.description().to_string(), "Language model m at http://[::1]:9");
}

#[tokio::test]
async fn planner_replies_from_conversation_and_says_that_it_is_none() {
    let planner = Planner::new("a planner", |messages: &[Message], tools: &[ToolSpec]| {
        Reply::text(format!("{} messages, {} tools", messages.len(), tools.len()))
    });
    assert_eq!(planner.complete(&[], &tools()).await, Ok(Reply::text("0 messages, 1 tools")));
    assert!(!planner.description().is_language_model());
    assert_eq!(planner.description().to_string(), "No language model in use: a planner chooses the tools");
}
