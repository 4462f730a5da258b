//! OpenAI-compatible server for tests: replays a script, records the requests.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Redirect, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use crate::{Reply, ToolCall};

/// Response of the script.
#[derive(Clone, Debug, PartialEq)]
pub enum Scripted {
    /// Chat completion.
    Reply(Reply),
    /// Any body, with a status and perhaps `Retry-After` in seconds.
    Raw {
        /// HTTP status.
        status: u16,
        /// Body.
        body: String,
        /// `Retry-After`.
        retry_after: Option<u64>,
    },
    /// Redirection (307) to an address.
    Redirect(String),
    /// No response at all.
    Hang,
}

impl Scripted {
    /// Builds a response with status 200 and any body.
    pub fn body(body: impl Into<String>) -> Self {
        Self::status(200, body)
    }

    /// Builds a response with any status and body.
    pub fn status(status: u16, body: impl Into<String>) -> Self {
        Self::Raw { status, body: body.into(), retry_after: None }
    }
}

/// Request that the server received.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// `Authorization`.
    pub authorization: Option<String>,
    /// Body.
    pub body: Value,
}

#[derive(Debug)]
struct Script {
    responses: VecDeque<Scripted>,
    requests: Vec<Recorded>,
    /// Responses that may be sent, where the test counts them.
    released: Option<Arc<Semaphore>>,
}

type Shared = Arc<Mutex<Script>>;

/// Running server on a free port of the loopback interface; it ends when dropped.
#[derive(Debug)]
pub struct FakeOpenAi {
    base_url: String,
    script: Shared,
    task: JoinHandle<()>,
}

impl FakeOpenAi {
    /// Starts a server with a script. Requests beyond it are answered 500.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start(script: impl IntoIterator<Item = Scripted>) -> io::Result<Self> {
        Self::serve(script, None).await
    }

    /// Starts a server that holds each response until [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub async fn start_held(script: impl IntoIterator<Item = Scripted>) -> io::Result<Self> {
        Self::serve(script, Some(Arc::new(Semaphore::new(0)))).await
    }

    async fn serve(script: impl IntoIterator<Item = Scripted>, released: Option<Arc<Semaphore>>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let responses = script.into_iter().collect();
        let script = Arc::new(Mutex::new(Script { responses, requests: Vec::new(), released }));
        let routes = Router::new().route("/v1/chat/completions", post(complete)).with_state(Arc::clone(&script));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln!("the fake model server ended: {error}");
            }
        });
        Ok(Self { base_url, script, task })
    }

    /// Returns the address for `LLM_BASE_URL`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Releases one response of a server that holds them.
    pub fn release(&self) {
        if let Some(released) = &lock(&self.script).released {
            released.add_permits(1);
        }
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.script).requests.clone()
    }
}

impl Drop for FakeOpenAi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(script: &Shared) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn complete(State(script): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (next, released) = {
        let mut script = lock(&script);
        script.requests.push(Recorded { authorization, body });
        (script.responses.pop_front(), script.released.clone())
    };
    if let Some(released) = released
        && let Ok(permit) = released.acquire().await
    {
        permit.forget();
    }
    match next {
        Some(Scripted::Reply(reply)) => Json(completion(&reply)).into_response(),
        Some(Scripted::Raw { status, body, retry_after }) => raw(status, body, retry_after),
        Some(Scripted::Redirect(to)) => Redirect::temporary(&to).into_response(),
        Some(Scripted::Hang) => std::future::pending().await,
        None => (StatusCode::INTERNAL_SERVER_ERROR, "the script has no more replies").into_response(),
    }
}

fn raw(status: u16, body: String, retry_after: Option<u64>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

fn completion(reply: &Reply) -> Value {
    let calls: Vec<_> = reply.calls.iter().map(call).collect();
    let reason = if calls.is_empty() { "stop" } else { "tool_calls" };
    let mut message = json!({"role": "assistant", "content": reply.text});
    if let (false, Some(members)) = (calls.is_empty(), message.as_object_mut()) {
        members.insert("tool_calls".to_owned(), calls.into());
    }
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    })
}

/// Encodes a call; a string as arguments is sent as it is, so that a script can hold malformed JSON.
fn call(call: &ToolCall) -> Value {
    let arguments = call.arguments.as_str().map_or_else(|| call.arguments.to_string(), ToOwned::to_owned);
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}
