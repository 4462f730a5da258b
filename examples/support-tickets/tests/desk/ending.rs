//! Runs whose program stops, or whose broker is gone.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
};

use agent_model::{
    OpenAiClient, Reply,
    test_server::{FakeOpenAi, Scripted},
};
use demo_common::broker::{DEFAULT_ISSUER, OwnBroker, connect};
use serde_json::json;
use support_tickets::{
    desk::{APP, Desk, RunningBroker},
    planner::planner,
};

use crate::running::{EXPIRY, Running, assert_ends, of_type};

const TRIAGE: &str = r#"{"priority": "P3", "category": "billing", "needs_knowledge": false}"#;

fn model(server: &FakeOpenAi) -> Arc<OpenAiClient> {
    Arc::new(OpenAiClient::new(server.base_url(), "key-1", "test-model").unwrap())
}

#[tokio::test]
async fn stop_of_program_releases_agents_of_run_in_progress() {
    let server = FakeOpenAi::start([Scripted::Reply(Reply::text(TRIAGE)), Scripted::Hang]).await.unwrap();
    let desk = Running::with_model(model(&server)).await;
    let mut events = desk.open(&json!({"ticket": "refund"})).await;
    let in_progress = |event: &serde_json::Value| event["type"] == "validated" && event["role"] == "response";
    events.until(in_progress).await.unwrap();
    assert!(desk.desk.stop().await);
    let rest = events.rest().await.unwrap();
    assert_eq!(of_type(&rest, "failed")[0]["error"], "the desk is stopping");
    assert_eq!(of_type(&rest, "ended")[0]["how"], "released");
    let last = rest.last().unwrap();
    assert_eq!((&last["outcome"], &last["tokens"], &last["rejected"]), (&json!("failed"), &json!(2), &json!(2)));
    assert_eq!(desk.post(&json!({"ticket": "refund"})).await.0, 429, "no run begins any more");
}

#[tokio::test]
async fn stop_of_program_releases_agent_that_waits_for_expiry() {
    let desk = Running::start().await;
    let mut events = desk.open(&json!({"ticket": "expiry"})).await;
    events.until(|event| event["type"] == "waiting").await.unwrap();
    assert!(desk.desk.stop().await);
    let rest = events.rest().await.unwrap();
    assert_eq!(of_type(&rest, "ended")[0]["how"], "released");
    assert_ends(&rest, "failed", 1);
}

#[tokio::test]
async fn broker_that_goes_away_fails_run_with_its_reason() {
    let broker = OwnBroker::start("test").await.unwrap();
    let app = connect(&broker.access(), &APP).await.unwrap();
    let server = FakeOpenAi::start_held([Scripted::Reply(Reply::text(TRIAGE))]).await.unwrap();
    let running = RunningBroker { app, issuer: DEFAULT_ISSUER.to_owned() };
    let desk = Running::of(Desk::start(Some(running), model(&server), EXPIRY).await.unwrap()).await;
    let mut events = desk.open(&json!({"ticket": "refund"})).await;
    events.until(|event| event["tool"] == "read_ticket").await.unwrap();

    broker.stop().await;
    server.release();
    let rest = events.rest().await.unwrap();
    let errors: Vec<_> = of_type(&rest, "failed").iter().map(|event| event["error"].as_str().unwrap()).collect();
    let beginnings = [
        "the triage token could not be released: broker cannot be reached: ",
        "the response agent could not be registered: broker cannot be reached: ",
        "the triage token could not be checked: broker cannot be reached: ",
    ];
    assert_eq!(errors.len(), beginnings.len(), "{errors:?}");
    for (error, beginning) in errors.iter().zip(beginnings) {
        assert!(error.starts_with(beginning), "{error}");
    }
    let last = rest.last().unwrap();
    assert_eq!((&last["outcome"], &last["tokens"], &last["rejected"]), (&json!("failed"), &json!(1), &json!(0)));
}

#[tokio::test]
async fn desk_does_not_start_without_its_broker() {
    let broker = OwnBroker::start("test").await.unwrap();
    let app = connect(&broker.access(), &APP).await.unwrap();
    let other = RunningBroker { app: app.clone(), issuer: "https://other.example".to_owned() };
    let error = Desk::start(Some(other), Arc::new(planner()), EXPIRY).await.unwrap_err().to_string();
    assert!(error.contains("as the issuer `https://other.example`"), "{error}");
    broker.stop().await;
    let gone = RunningBroker { app, issuer: DEFAULT_ISSUER.to_owned() };
    let error = Desk::start(Some(gone), Arc::new(planner()), EXPIRY).await.unwrap_err().to_string();
    assert!(error.starts_with("the service cannot follow the broker at http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn proof_covers_agents_that_were_created_and_no_others() {
    let desk = Running::start().await;
    for ticket in support_tickets::TICKETS {
        let events = desk.run(&json!({"ticket": ticket.key})).await;
        let ids = |kind| of_type(&events, kind).iter().map(|event| event["agent_id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids("proof"), ids("agent_created"), "{}", ticket.key);
        assert_eq!(ids("proof").len(), ids("ended").len());
        assert_eq!(events.last().unwrap()["tokens"], ids("proof").len());
    }
}

#[tokio::test]
async fn model_that_misbehaves_fails_run_and_releases_agents() {
    let other = FakeOpenAi::start([]).await.unwrap();
    for (response, defect) in [
        (Scripted::body("junk"), "the model's response is not a chat completion: "),
        (Scripted::body("<!doctype html>"), "the model's response is not a chat completion: "),
        (Scripted::Redirect(other.base_url().to_owned()), "the model's server responded 307"),
        (Scripted::Raw { status: 429, body: String::new(), retry_after: Some(9) }, "retry in 9 s"),
    ] {
        let server = FakeOpenAi::start([Scripted::Reply(Reply::text(TRIAGE)), response]).await.unwrap();
        let desk = Running::with_model(model(&server)).await;
        let events = desk.run(&json!({"ticket": "refund"})).await;
        let error = of_type(&events, "failed")[0]["error"].as_str().unwrap();
        assert!(error.contains(defect), "{error}");
        assert_ends(&events, "failed", 2);
    }
    assert!(other.requests().is_empty(), "the key was sent to no other server");
}

#[test]
fn sigterm_ends_program_and_removes_broker_of_its_own() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_support-tickets"));
    command.env_clear().env("TMPDIR", temporary.path()).stdout(Stdio::piped());
    let mut program = command.spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("Support desk at")).unwrap().unwrap();
    assert_eq!(temporary.path().read_dir().unwrap().count(), 1, "the broker's database and key");
    assert!(Command::new("kill").arg(program.id().to_string()).status().unwrap().success());
    assert!(program.wait().unwrap().success());
    assert_eq!(temporary.path().read_dir().unwrap().count(), 0);
}
