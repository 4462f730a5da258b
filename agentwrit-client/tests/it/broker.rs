//! Broker with scripted responses, which records requests.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use agentwrit_client::{App, Client};
use agentwrit_verify::Clock;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::AbortHandle};

/// Recorded request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn authorization(&self) -> Option<&str> {
        Some(self.headers.get("authorization")?.to_str().unwrap())
    }
}

#[derive(Clone)]
struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

#[derive(Default)]
struct Script {
    replies: HashMap<String, VecDeque<Reply>>,
    requests: Vec<Request>,
}

pub(crate) struct FakeBroker {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
    server: AbortHandle,
}

impl FakeBroker {
    pub(crate) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::<Mutex<Script>>::default();
        let router = Router::new().fallback(response).with_state(Arc::clone(&script));
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() }).abort_handle();
        Self { url, script, server }
    }

    /// Returns a broker at which an app can authenticate for 1000 s and get a launch token.
    pub(crate) async fn with_app() -> Self {
        let broker = Self::start().await;
        broker.on("POST /v1/app/auth", 200, &token("app-token", 1000));
        broker.on(
            "POST /v1/app/launch-tokens",
            201,
            &json!({
                "launch_token": "launch-token", "launch_token_id": "lt-1", "expires_at": "2026-11-21T08:00:30Z",
                "policy": {"allowed_scope": ["read:data:x"], "max_ttl": 300},
            }),
        );
        broker
    }

    /// Adds a response. Responses to one request line are sent in turn, the last one repeatedly.
    pub(crate) fn on(&self, line: &str, status: u16, body: &Value) {
        self.on_raw(line, status, &[], body.to_string());
    }

    pub(crate) fn on_raw(&self, line: &str, status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let reply = Reply { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() };
        self.script.lock().unwrap().replies.entry(line.to_owned()).or_default().push_back(reply);
    }

    pub(crate) fn requests(&self, line: &str) -> Vec<Request> {
        let script = self.script.lock().unwrap();
        script.requests.iter().filter(|request| request.line == line).cloned().collect()
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.requests(line).len()
    }

    pub(crate) fn request_lines(&self) -> Vec<String> {
        self.script.lock().unwrap().requests.iter().map(|request| request.line.clone()).collect()
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Returns an app of the broker at `url`, with the test's own clock and without retries.
pub(crate) fn app_at(url: &str, clock: impl Clock) -> App {
    Client::builder(url).retries(0).clock(clock).build().unwrap().app("id-1", "client-secret").unwrap()
}

pub(crate) fn token(text: &str, expires_in: u64) -> Value {
    json!({"access_token": text, "expires_in": expires_in, "token_type": "Bearer"})
}

pub(crate) fn problem(status: u16, error_code: &str, detail: &str) -> Value {
    json!({
        "type": format!("urn:agentwrit:error:{error_code}"), "title": "…", "status": status, "detail": detail,
        "instance": "/v1/somewhere", "error_code": error_code, "request_id": "0123456789abcdef",
        "hint": "read the documentation",
    })
}

async fn response(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let line = format!("{method} {uri}");
    let mut script = script.lock().unwrap();
    script.requests.push(Request { line: line.clone(), headers, body });
    let Some(replies) = script.replies.get_mut(&line) else {
        return (StatusCode::NOT_FOUND, format!("nothing scripted for {line}")).into_response();
    };
    let reply = if replies.len() > 1 { replies.pop_front().unwrap() } else { replies[0].clone() };
    let mut response = (reply.status, reply.body).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
