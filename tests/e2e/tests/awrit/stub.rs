//! A broker with scripted responses: what a real one sends only at certain moments.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use agentwrit_e2e::{Run, awrit};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderValue, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

type Script = Arc<dyn Fn(usize) -> (u16, Value) + Send + Sync>;

/// A request that the stub received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) route: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

#[derive(Clone, Default)]
pub(crate) struct Stub {
    scripts: Arc<Mutex<HashMap<String, Script>>>,
    received: Arc<Mutex<Vec<Received>>>,
    /// Number of requests so far.
    arrived: Arc<watch::Sender<usize>>,
    /// Route whose responses are held until the second next request to another one has arrived.
    held: Option<(&'static str, &'static str)>,
}

impl Stub {
    /// Responds to `route`, as in `GET /v1/health`, by the number of its requests before.
    pub(crate) fn on(self, route: &str, script: impl Fn(usize) -> (u16, Value) + Send + Sync + 'static) -> Self {
        self.scripts.lock().unwrap().insert(route.to_owned(), Arc::new(script));
        self
    }

    pub(crate) fn always(self, route: &str, status: u16, body: Value) -> Self {
        self.on(route, move |_| (status, body.clone()))
    }

    /// Holds each response to `route` until two more requests to `other` have arrived: the response to the first one has
    /// been processed then.
    pub(crate) fn hold(mut self, route: &'static str, other: &'static str) -> Self {
        self.held = Some((route, other));
        self
    }

    pub(crate) fn received(&self, route: &str) -> Vec<Received> {
        self.received.lock().unwrap().iter().filter(|received| received.route == route).cloned().collect()
    }

    /// Waits for the request to `route` that has this number, counted from 1.
    pub(crate) async fn until_received(&self, route: &str, number: usize) {
        let mut arrived = self.arrived.subscribe();
        while self.received(route).len() < number {
            arrived.changed().await.unwrap();
        }
    }

    /// Listens, with a login of the operator; returns the URL.
    pub(crate) async fn serve(&self) -> String {
        let token = json!({ "access_token": "admin-token", "expires_in": 300 });
        let stub = self.clone().always("POST /v1/admin/auth", 200, token);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(respond).with_state(stub);
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// Runs `awrit` as the operator of this broker.
    pub(crate) async fn awrit(&self, directory: &Path, arguments: &[&str]) -> Run {
        let url = self.serve().await;
        awrit(directory, &[("AACTL_BROKER_URL", &url), ("AACTL_ADMIN_SECRET", "secret")], arguments, "").await
    }
}

async fn respond(State(stub): State<Stub>, method: Method, uri: Uri, body: Bytes) -> Response {
    let route = format!("{method} {}", uri.path());
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let query = uri.query().unwrap_or_default().to_owned();
    let number = stub.received(&route).len();
    stub.received.lock().unwrap().push(Received { route: route.clone(), query, body });
    stub.arrived.send_modify(|arrived| *arrived += 1);
    if let Some((_, other)) = stub.held.filter(|(held, _)| *held == route) {
        stub.until_received(other, stub.received(other).len() + 2).await;
    }
    let script = stub.scripts.lock().unwrap().get(&route).cloned();
    let (status, body) = script.map_or_else(|| (404, problem(404, "not_found", None)), |script| script(number));
    let mut response = (StatusCode::from_u16(status).unwrap(), Json(body)).into_response();
    if status == 503 {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
    }
    response
}

/// A problem as the broker sends it.
pub(crate) fn problem(status: u16, code: &str, hint: Option<&str>) -> Value {
    let mut problem = json!({
        "type": format!("urn:agentwrit:error:{code}"), "title": "x", "status": status, "detail": "as scripted",
        "instance": "/", "error_code": code, "request_id": "",
    });
    if let Some(hint) = hint {
        problem["hint"] = hint.into();
    }
    problem
}
