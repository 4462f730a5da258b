//! `/runs`: starts runs and streams their events.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::json;

use super::Page;
use crate::{
    TICKETS,
    run::{NewTicket, RunLog, run},
};

/// Runs at a time.
const MAX_ACTIVE: usize = 8;

/// Runs whose events are kept.
const MAX_KEPT: usize = 64;

/// Maximum length of a ticket's text, in bytes.
const MAX_TEXT: usize = 10_000;

/// Maximum length of sender and subject, in bytes.
const MAX_LINE: usize = 300;

/// Maximum nesting of a request's body.
const MAX_DEPTH: usize = 3;

/// Runs of a page, the newest last.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(Arc<Mutex<Kept>>);

/// Logs by their ids.
type Kept = VecDeque<(String, Arc<RunLog>)>;

impl Runs {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a run; none when too many are active.
    fn add(&self, id: String, log: Arc<RunLog>) -> Option<()> {
        let mut runs = self.lock();
        if runs.iter().filter(|(_, log)| !log.is_finished()).count() >= MAX_ACTIVE {
            return None;
        }
        runs.push_back((id, log));
        if runs.len() > MAX_KEPT {
            runs.pop_front();
        }
        Some(())
    }

    fn log(&self, id: &str) -> Option<Arc<RunLog>> {
        self.lock().iter().find(|(run, _)| run == id).map(|(_, log)| Arc::clone(log))
    }
}

/// Ticket to be run: a prepared one by its key, or one's own.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum RunRequest {
    Prepared { ticket: String },
    Own { sender: String, authenticated: bool, subject: String, text: String, expires: bool },
}

/// Starts a run, which goes on when the page is closed: its agents are released in any case.
pub(super) async fn start(State(page): State<Page>, headers: HeaderMap, body: Bytes) -> Response {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type.split(';').next().map(str::trim) != Some("application/json") {
        return rejected(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json");
    }
    let ticket = match agentwrit_json::object_from_slice(&body, MAX_DEPTH) {
        Ok(RunRequest::Prepared { ticket: key }) => TICKETS.iter().find(|ticket| ticket.key == key).map(Into::into),
        Ok(RunRequest::Own { sender, authenticated, subject, text, expires }) => {
            let is_short = sender.len() <= MAX_LINE && subject.len() <= MAX_LINE && text.len() <= MAX_TEXT;
            let is_filled = !sender.trim().is_empty() && !text.trim().is_empty();
            (is_short && is_filled).then_some(NewTicket { sender, authenticated, subject, text, expires })
        }
        Err(_) => None,
    };
    let Some(ticket) = ticket else {
        return rejected(
            StatusCode::BAD_REQUEST,
            "a ticket needs a sender, a subject and a text of at most 10,000 bytes",
        );
    };
    let mut id = [0; 8];
    if getrandom::fill(&mut id).is_err() {
        return rejected(StatusCode::SERVICE_UNAVAILABLE, "no randomness for the run's id");
    }
    let (id, log) = (data_encoding::HEXLOWER.encode(&id), Arc::new(RunLog::new(page.pace)));
    if page.runs.add(id.clone(), Arc::clone(&log)).is_none() {
        return rejected(StatusCode::TOO_MANY_REQUESTS, "too many tickets at a time; try again in a moment");
    }
    let desk = Arc::clone(&page.desk);
    tokio::spawn(async move { run(&desk, &ticket, &log).await });
    (StatusCode::CREATED, Json(json!({"run": id}))).into_response()
}

/// Streams a run's events from the beginning, or after `Last-Event-ID`.
pub(super) async fn events(State(page): State<Page>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let Some(log) = page.runs.log(&id) else {
        return rejected(StatusCode::NOT_FOUND, "there is no such run");
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<usize>().ok());
    let first = last.map_or(0, |last| last.saturating_add(1));
    Sse::new(stream(log, first)).keep_alive(KeepAlive::default()).into_response()
}

fn stream(log: Arc<RunLog>, first: usize) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold((log, first), async |(log, index)| {
        let event = log.event(index).await?;
        let encoded = serde_json::to_string(&event).unwrap_or_default();
        Some((Ok(sse::Event::default().id(index.to_string()).data(encoded)), (log, index + 1)))
    })
}

fn rejected(status: StatusCode, error: &'static str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}
