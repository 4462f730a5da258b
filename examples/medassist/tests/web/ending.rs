//! Encounters whose page is closed or stalls, whose program stops, or whose broker is gone: agents are released wherever possible.

use std::{sync::Arc, time::Duration};

use agent_model::{
    OpenAiClient, Reply, ToolCall,
    test_server::{FakeOpenAi, Scripted},
};
use agentwrit_client::{ListedState, TokenQuery};
use agentwrit_verify::Subject;
use demo_common::{
    broker::{DEFAULT_ISSUER, OwnBroker, connect},
    runs::Runs,
    testing::{EventReader, ServedPages},
};
use medassist::{
    assistant::{CardState, EncounterRequest, Page, Parties, StepKind, planner, play},
    hospital::Hospital,
    scene::{APP, Scene},
    web::{WebOptions, pages},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use crate::page::{field, of_kind};

/// Timeout for what would otherwise last until the model's own timeout.
const TIMEOUT: Duration = Duration::from_secs(30);

fn labs() -> Scripted {
    Scripted::Reply(Reply::calls(vec![ToolCall::new("a", "read_labs", json!({"patient_id": "P-1042"}))]))
}

fn model(server: &FakeOpenAi) -> Arc<OpenAiClient> {
    Arc::new(OpenAiClient::new(server.base_url(), "key-1", "test-model").unwrap())
}

fn request() -> EncounterRequest {
    EncounterRequest { patient_id: "P-1042".to_owned(), request: "labs".to_owned(), ..EncounterRequest::default() }
}

async fn live_agents(scene: &Scene) -> usize {
    let query = TokenQuery { state: ListedState::Live, ..TokenQuery::default() };
    let tokens = scene.admin().tokens(&query).await.unwrap().entries;
    tokens.iter().filter(|token| matches!(token.sub, Subject::Agent(_))).count()
}

/// Starts an encounter on the page.
async fn open(pages: &ServedPages) -> EventReader {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap();
    let request = client.post(format!("{}/api/encounters", pages.url())).header("content-type", "application/json");
    let body = json!({"patient_id": "P-1042", "request": "labs"}).to_string();
    EventReader::new(request.body(body).send().await.unwrap())
}

#[tokio::test]
async fn closed_page_ends_encounter_while_model_hangs() {
    let server = FakeOpenAi::start([labs(), Scripted::Hang]).await.unwrap();
    let scene = Scene::set().await.unwrap();
    let parties = scene.parties(model(&server)).unwrap();
    let (steps, mut received) = mpsc::channel(16);
    let page = Page { steps, pace: Duration::ZERO, patience: TIMEOUT, runs: Runs::new(1) };
    let reading = async {
        while received.recv().await.unwrap().kind != StepKind::ToolAllowed {}
        drop(received);
    };
    let request = request();
    let both = async { tokio::join!(play(&parties, &request, page), reading) };
    let (ended, ()) = timeout(TIMEOUT, both).await.unwrap();
    assert!(ended.live.is_empty());
    assert_eq!(ended.states, [("clinical", CardState::Released)]);
    assert_eq!(live_agents(&scene).await, 0);
    scene.strike().await;
}

#[tokio::test]
async fn page_that_takes_no_steps_ends_encounter() {
    let scene = Scene::set().await.unwrap();
    let parties = scene.parties(Arc::new(planner())).unwrap();
    // The sixth step, after the agent was created, finds no place.
    let (steps, _received) = mpsc::channel(5);
    let page = Page { steps, pace: Duration::ZERO, patience: Duration::from_millis(50), runs: Runs::new(1) };
    let ended = timeout(TIMEOUT, play(&parties, &request(), page)).await.unwrap();
    assert_eq!(ended.states, [("clinical", CardState::Released)]);
    assert_eq!(live_agents(&scene).await, 0);
    scene.strike().await;
}

#[tokio::test]
async fn stop_of_program_releases_agents_of_encounter_in_progress() {
    let server = FakeOpenAi::start([labs(), Scripted::Hang]).await.unwrap();
    let scene = Scene::set().await.unwrap();
    let options = WebOptions::default();
    let runs = options.runs.clone();
    let demo = pages(scene.parties(model(&server)).unwrap(), options);
    let demo = ServedPages::start(demo).await.unwrap();
    let mut steps = open(&demo).await;
    let first = steps.until(|step| step["kind"] == "tool_allowed").await.unwrap();

    assert!(runs.stop().await);
    assert_eq!(live_agents(&scene).await, 0);
    let rest = steps.rest().await.unwrap();
    assert_eq!(of_kind(&rest, "released").len(), 1);
    let id = first[0]["id"].as_str().unwrap();
    let cards = reqwest::get(format!("{}/api/encounters/{id}/cards", demo.url())).await.unwrap();
    assert_eq!(cards.text().await.unwrap(), r#"{"clinical":"released"}"#);
    let refused = open(&demo).await.rest().await.unwrap();
    assert_eq!(refused, [Value::Null; 0], "no encounter begins any more");
    scene.strike().await;
}

#[tokio::test]
async fn broker_that_goes_away_stops_encounter_with_its_reason() {
    let broker = OwnBroker::start("test").await.unwrap();
    let app = connect(&broker.access(), &APP).await.unwrap();
    let hospital = Hospital::start(&broker.url(), DEFAULT_ISSUER).await.unwrap();
    let invoices = ToolCall::new("b", "read_invoices", json!({"patient_id": "P-1042"}));
    let script = [labs(), Scripted::Reply(Reply::calls(vec![invoices]))];
    let server = FakeOpenAi::start_held(script).await.unwrap();
    let parties = Parties::new(&app, &hospital, model(&server)).unwrap();
    let demo = ServedPages::start(pages(parties, WebOptions::default())).await.unwrap();
    let mut steps = open(&demo).await;
    server.release();
    steps.until(|step| step["kind"] == "tool_allowed").await.unwrap();

    broker.stop().await;
    server.release();
    let rest = steps.rest().await.unwrap();
    let titles: Vec<_> = rest.iter().filter_map(|step| step["title"].as_str()).collect();
    assert!(titles[0].starts_with("The encounter stopped: broker cannot be reached: "), "{titles:?}");
    assert!(titles[1].starts_with("The broker does not renew the clinical agent's token: broker cannot"), "{titles:?}");
    assert!(titles[2].starts_with("The clinical agent's token could not be released: broker cannot"), "{titles:?}");
    assert_eq!(titles[3..], ["Complete: 1 agent created"]);
    assert!(of_kind(&rest, "released").is_empty(), "a card that was not released stays live");
}

#[tokio::test]
async fn service_does_not_start_for_another_issuer() {
    let broker = OwnBroker::start("test").await.unwrap();
    let error = Hospital::start(&broker.url(), "https://other.example").await.unwrap_err().to_string();
    assert!(error.contains("as the issuer `https://other.example`"), "{error}");
    broker.stop().await;
}

#[tokio::test]
async fn encounters_share_one_login_of_app_and_no_task() {
    let page = crate::page::Page::with_planner().await;
    let mut tasks = Vec::new();
    for _ in 0..5 {
        let steps = page.ask("P-1042", "labs").await;
        tasks.push(field(of_kind(&steps, "agent_created")[0], "task").as_str().unwrap().to_owned());
    }
    tasks.sort();
    tasks.dedup();
    assert_eq!(tasks.len(), 5, "a revoked task ends one encounter only");
    let audit = page.get("/api/audit").await.json();
    let events = audit["events"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["event_type"] == "app_authenticated").count(), 1);
    page.scene.strike().await;
}
