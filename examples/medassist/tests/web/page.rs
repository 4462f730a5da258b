//! A browser's requests to the pages.

use std::sync::Arc;

use agent_model::Model;
use axum::{Router, body::Body};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use medassist::{
    assistant::planner,
    scene::Scene,
    web::{WebOptions, pages},
};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) struct Page {
    pub(crate) scene: Scene,
    routes: Router,
}

pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Pages of a scene, without pauses.
pub(crate) fn routes_of(scene: &Scene, model: Arc<dyn Model>) -> Router {
    pages(scene.parties(model).unwrap(), WebOptions::default())
}

impl Page {
    pub(crate) async fn with_planner() -> Self {
        Self::with(Arc::new(planner())).await
    }

    pub(crate) async fn with(model: Arc<dyn Model>) -> Self {
        let scene = Scene::set().await.unwrap();
        let routes = routes_of(&scene, model);
        Self { scene, routes }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(Method::POST, path, Body::from(body.to_string())).await
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> Response {
        let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:5000");
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let (head, body) = self.routes.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Response { status: head.status, headers: head.headers, body }
    }

    /// Plays an encounter to its end. Returns its id and its steps.
    pub(crate) async fn play(&self, request: &Value) -> (String, Vec<Value>) {
        let response = self.post("/api/encounters", request).await;
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(response.headers["content-type"], "text/event-stream");
        let events: Vec<(&str, Value)> = response.body.split_terminator("\n\n").map(event).collect();
        assert_eq!(events.first().unwrap().0, "encounter");
        assert_eq!(events.last().unwrap().0, "end");
        let steps: Vec<Value> =
            events.iter().filter(|(name, _)| *name == "step").map(|(_, data)| data.clone()).collect();
        for (index, step) in steps.iter().enumerate() {
            assert_eq!(step["number"], index + 1);
        }
        (events[0].1["id"].as_str().unwrap().to_owned(), steps)
    }

    pub(crate) async fn ask(&self, patient: &str, request: &str) -> Vec<Value> {
        self.play(&json!({"patient_id": patient, "request": request})).await.1
    }
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn event(block: &str) -> (&str, Value) {
    let member = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim_start();
    (member("event:"), serde_json::from_str(member("data:")).unwrap())
}

/// Kind and status of each step.
pub(crate) fn kinds(steps: &[Value]) -> Vec<(&str, &str)> {
    steps.iter().map(|step| (step["kind"].as_str().unwrap(), step["status"].as_str().unwrap())).collect()
}

pub(crate) fn of_kind<'a>(steps: &'a [Value], kind: &str) -> Vec<&'a Value> {
    steps.iter().filter(|step| step["kind"] == kind).collect()
}

pub(crate) fn field<'a>(step: &'a Value, name: &str) -> &'a Value {
    let fields = step["fields"].as_array().unwrap();
    &fields.iter().find(|field| field["name"] == name).unwrap()["value"]
}

/// Latest state of each card, by key.
pub(crate) fn card_states(steps: &[Value]) -> Value {
    let mut states = json!({});
    for card in steps.iter().flat_map(|step| step["cards"].as_array().unwrap()) {
        states[card["key"].as_str().unwrap()] = card["state"].clone();
    }
    states
}
