//! `/runs`: starts runs and streams their events.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response, sse},
};
use demo_common::{
    random_hex,
    web::{PageError, event, event_stream},
};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::json;

use super::Page;
use crate::{
    TICKETS,
    run::{NewTicket, RunLog, run},
};

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

    fn add(&self, id: String, log: Arc<RunLog>) {
        let mut runs = self.lock();
        runs.push_back((id, log));
        if runs.len() > MAX_KEPT {
            runs.pop_front();
        }
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
pub(super) async fn start(State(page): State<Page>, body: Bytes) -> Result<Response, PageError> {
    let ticket = match agentwrit_json::object_from_slice(&body, MAX_DEPTH) {
        Ok(RunRequest::Prepared { ticket: key }) => TICKETS.iter().find(|ticket| ticket.key == key).map(Into::into),
        Ok(RunRequest::Own { sender, authenticated, subject, text, expires }) => {
            let is_short = sender.len() <= MAX_LINE && subject.len() <= MAX_LINE && text.len() <= MAX_TEXT;
            let is_filled = !sender.trim().is_empty() && !text.trim().is_empty();
            (is_short && is_filled).then_some(NewTicket { sender, authenticated, subject, text, expires })
        }
        Err(_) => None,
    };
    let ticket = ticket.ok_or_else(|| {
        PageError::Invalid("a ticket needs a sender, a subject and a text of at most 10,000 bytes".to_owned())
    })?;
    let id = random_hex::<8>().map_err(|_| PageError::Internal("no randomness for the run's id"))?;
    let place = page.desk.runs().begin();
    let place = place.ok_or(PageError::TooMany("too many tickets at a time; try again in a moment"))?;
    let log = Arc::new(RunLog::new(page.pace));
    page.runs.add(id.clone(), Arc::clone(&log));
    let desk = Arc::clone(&page.desk);
    tokio::spawn(async move {
        run(&desk, &ticket, &log).await;
        drop(place);
    });
    Ok((StatusCode::CREATED, Json(json!({"run": id}))).into_response())
}

/// Streams a run's events from the beginning, or after `Last-Event-ID`.
pub(super) async fn events(
    State(page): State<Page>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let log = page.runs.log(&id).ok_or(PageError::NotFound("there is no such run"))?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<usize>().ok());
    let first = last.map_or(0, |last| last.saturating_add(1));
    Ok(event_stream(stream(log, first)))
}

fn stream(log: Arc<RunLog>, first: usize) -> impl Stream<Item = sse::Event> {
    stream::unfold((log, first), async |(log, index)| {
        let next = event(&log.event(index).await?).id(index.to_string());
        Some((next, (log, index + 1)))
    })
}
