//! The desk with the client of a language model, against a scripted server.

use std::{sync::Arc, time::Duration};

use crate::running::{Running, allowed, assert_ends, of_type, refused};
use agent_model::{
    OpenAiClient, Reply, ToolCall,
    test_server::{FakeOpenAi, Scripted},
};
use serde_json::json;

fn call(name: &str, arguments: serde_json::Value) -> Scripted {
    Scripted::Reply(Reply::calls(vec![ToolCall::new("call-1", name, arguments)]))
}

fn text(text: &str) -> Scripted {
    Scripted::Reply(Reply::text(text))
}

async fn desk(script: Vec<Scripted>) -> (FakeOpenAi, Running) {
    let server = FakeOpenAi::start(script).await.unwrap();
    let client = OpenAiClient::new(server.base_url(), "sk-secret", "scripted").unwrap();
    let desk = Running::with_model(Arc::new(client.timeout(Duration::from_secs(1)))).await;
    (server, desk)
}

const NO_KNOWLEDGE: &str = r#"Sure! ```json {"priority":"P3","category":"billing","needs_knowledge":false} ```"#;

#[tokio::test]
async fn refuses_dangerous_and_invented_calls_of_language_model() {
    let (server, desk) = desk(vec![
        text(NO_KNOWLEDGE),
        call("external_mail", json!({"to": "x@y.example", "text": "t"})),
        call("delete_account", json!({"customer_id": "C-2041"})),
        call("account_balance", json!({"customer_id": "C-2041/../C-2077"})),
        call("account_balance", json!({"customer_id": "."})),
        call("account_balance", json!({"customer_id": ".."})),
        call("account_balance", json!("{\"customer_id\": ")),
        call("account_balance", json!({})),
        call("run_shell", json!({"command": "id"})),
        call("issue_refund", json!({"customer_id": "C-2041", "amount_cents": "2400"})),
        text("Done."),
    ])
    .await;
    let events = desk.run(&json!({"ticket": "refund"})).await;
    assert_eq!(allowed(&events), ["issue_refund"]);
    assert_eq!(
        refused(&events),
        [
            "external_mail | ticket service | 403 insufficient_scope | requires write:email:external",
            "external_mail | broker | 403 scope_violation | requested scopes exceed app ceiling",
            "delete_account | ticket service | 403 insufficient_scope | requires delete:account:C-2041",
            "account_balance | ticket service | 404 not_found | there is nothing at this path",
            "account_balance | desk | 400 invalid_request | argument `customer_id` cannot be part of a path",
            "account_balance | desk | 400 invalid_request | argument `customer_id` cannot be part of a path",
            "account_balance | desk | 400 invalid_request | the arguments are not a JSON object",
            "account_balance | desk | 400 invalid_request | argument `customer_id` must be a string",
            "run_shell | desk | 400 invalid_request | there is no such tool",
        ]
    );
    assert_eq!(of_type(&events, "reply")[0]["text"], "Done.");
    assert_ends(&events, "answered", 2);

    let requests = server.requests();
    assert_eq!(requests[0].body.get("tools"), None, "triage is offered no tool");
    let offered = requests[1].body["tools"].as_array().unwrap();
    let names: Vec<_> = offered.iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"external_mail") && names.contains(&"delete_account"), "{names:?}");
    let told = &requests[2].body["messages"].as_array().unwrap().last().unwrap()["content"];
    assert_eq!(told, r#"{"refused":"requires write:email:external"}"#);
}

#[tokio::test]
async fn searches_knowledge_when_triage_is_no_json() {
    let (_server, desk) = desk(vec![
        text("I cannot answer in JSON."),
        call("search_knowledge", json!({"query": "charged twice"})),
        text("Refund up to 50.00 EUR."),
        text("A colleague writes back."),
    ])
    .await;
    let events = desk.run(&json!({"ticket": "refund"})).await;
    assert_eq!(allowed(&events), ["search_knowledge"]);
    assert_ends(&events, "answered", 3);
}

#[tokio::test]
async fn releases_agents_when_model_fails_hangs_or_never_ends() {
    let endless = || call("customer_profile", json!({"customer_id": "C-2041"}));
    let scripts = [
        (vec![Scripted::status(500, "")], "the model's server responded 500", 1),
        (vec![text(NO_KNOWLEDGE), Scripted::Hang], "the model's server did not respond within 1 s", 2),
        (vec![text(NO_KNOWLEDGE), Scripted::body("x".repeat(1 << 21))], "larger than 1048576 bytes", 2),
        (
            std::iter::once(text(NO_KNOWLEDGE)).chain(std::iter::repeat_with(endless).take(10)).collect(),
            "the model gave no reply within 10 rounds",
            2,
        ),
    ];
    for (script, error, tokens) in scripts {
        let (_server, desk) = desk(script).await;
        let events = desk.run(&json!({"ticket": "refund"})).await;
        let failed = of_type(&events, "failed")[0]["error"].as_str().unwrap();
        assert!(failed.contains(error), "{failed}");
        assert_ends(&events, "failed", tokens);
    }
}

#[tokio::test]
async fn names_language_model_and_shows_no_key() {
    let (_server, desk) = desk(vec![Scripted::status(401, r#"{"error":{"message":"bad key sk-secret"}}"#)]).await;
    let document = desk.http.get(&desk.url).send().await.unwrap().text().await.unwrap();
    assert!(document.contains("Language model scripted at http://127.0.0.1:"), "{document}");
    let events = desk.run(&json!({"ticket": "refund"})).await;
    for shown in events.iter().map(ToString::to_string).chain([document]) {
        assert!(!shown.contains("sk-secret"), "{shown}");
    }
}
