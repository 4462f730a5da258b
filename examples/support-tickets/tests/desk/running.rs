//! Desk with its page on a free port, and a client of both.

use std::{sync::Arc, time::Duration};

use agent_model::Model;
use demo_common::testing::EventReader;
use serde_json::{Value, json};
use support_tickets::{
    desk::{Desk, RunningBroker},
    planner,
    web::Page,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Lifetime of the token that is left to expire. Its first second has begun when the token is issued.
pub(crate) const EXPIRY: Duration = Duration::from_secs(3);

pub(crate) struct Running {
    pub(crate) desk: Arc<Desk>,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    serving: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with_model(Arc::new(planner::planner())).await
    }

    pub(crate) async fn with_model(model: Arc<dyn Model>) -> Self {
        Self::of(Desk::start(None, model, EXPIRY).await.unwrap()).await
    }

    pub(crate) async fn at(broker: RunningBroker) -> Self {
        Self::of(Desk::start(Some(broker), Arc::new(planner::planner()), EXPIRY).await.unwrap()).await
    }

    pub(crate) async fn of(desk: Desk) -> Self {
        let desk = Arc::new(desk);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let page = Page::new(Arc::clone(&desk), Duration::ZERO);
        let serving = tokio::spawn(async move { page.serve(listener).await.unwrap() });
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Self { desk, url, http, serving }
    }

    pub(crate) async fn post(&self, body: &Value) -> (u16, Value) {
        self.post_to("/runs", body).await
    }

    pub(crate) async fn post_to(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    /// Starts a run and opens the stream of its events.
    pub(crate) async fn open(&self, body: &Value) -> EventReader {
        let (status, body) = self.post(body).await;
        assert_eq!(status, 201, "{body}");
        let response = self.http.get(format!("{}/runs/{}/events", self.url, body["run"].as_str().unwrap()));
        let response = response.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        EventReader::new(response)
    }

    /// Runs a ticket and returns its events once the stream has ended.
    pub(crate) async fn run(&self, body: &Value) -> Vec<Value> {
        self.open(body).await.rest().await.unwrap()
    }

    pub(crate) async fn own(&self, sender: &str, text: &str) -> Vec<Value> {
        let body = json!({"sender": sender, "authenticated": true, "subject": "", "text": text, "expires": false});
        self.run(&body).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

/// Tools that were allowed.
pub(crate) fn allowed(events: &[Value]) -> Vec<&str> {
    let tools = of_type(events, "allowed").into_iter().map(|event| event["tool"].as_str().unwrap());
    tools.filter(|tool| !["read_ticket", "check_sender"].contains(tool)).collect()
}

/// Refusals as `tool by status code rule`.
pub(crate) fn refused(events: &[Value]) -> Vec<String> {
    let refusals = of_type(events, "refused").into_iter().map(|event| {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        format!("{} | {} | {} {} | {}", text("tool"), text("by"), event["status"], text("code"), text("rule"))
    });
    refusals.collect()
}

/// Asserts the end of a run: the outcome, and that every token is rejected.
pub(crate) fn assert_ends(events: &[Value], outcome: &str, tokens: usize) {
    let last = events.last().unwrap();
    assert_eq!((last["type"].as_str(), last["outcome"].as_str()), (Some("finished"), Some(outcome)), "{events:#?}");
    assert_eq!((last["tokens"].as_u64(), last["rejected"].as_u64()), (Some(tokens as u64), Some(tokens as u64)));
    let proofs = of_type(events, "proof");
    assert_eq!(proofs.len(), tokens);
    for proof in proofs {
        assert_eq!((proof["service_status"].as_u64(), proof["broker_valid"].as_bool()), (Some(401), Some(false)));
    }
}

/// Scopes of each agent, by role.
pub(crate) fn scopes(events: &[Value]) -> Vec<(String, Vec<String>)> {
    let created = of_type(events, "agent_created").into_iter().map(|event| {
        let scopes = event["scopes"].as_array().unwrap().iter().map(|scope| scope.as_str().unwrap().to_owned());
        (event["role"].as_str().unwrap().to_owned(), scopes.collect())
    });
    created.collect()
}
