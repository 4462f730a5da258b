//! Encounters, streamed.

use std::{collections::BTreeMap, convert::Infallible};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::mpsc;

use super::{Web, error::WebError};
use crate::assistant::{self, CardState, EncounterRequest, MAX_REQUEST};

/// Steps that wait for a slow reader.
const BUFFERED_STEPS: usize = 16;

/// Longest lifetime of the agents' tokens that a request may ask for, in seconds.
const MAX_TTL: u64 = 3600;

/// Plays an encounter and streams it as server-sent events: `encounter` with its id, `step` for each step, `end`. When the
/// reader goes away, the encounter ends early and releases its agents.
pub(super) async fn play(
    State(web): State<Web>,
    body: Bytes,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, WebError> {
    let request = parse(&body)?;
    let permit = web.encounters.clone().try_acquire_owned().map_err(|_| WebError::TooMany)?;
    let id = new_id()?;
    let (sender, steps) = mpsc::channel(BUFFERED_STEPS);
    let started = Event::default().event("encounter").data(json!({"id": id}).to_string());
    tokio::spawn(async move {
        let kept = assistant::play(&web.parties, &request, web.pace, sender).await;
        web.kept.add(id, kept);
        drop(permit);
    });
    let events = stream::unfold((Some(started), Some(steps)), |(first, steps)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, steps)));
        }
        let mut steps = steps?;
        let event = match steps.recv().await {
            Some(step) => (Event::default().event("step").data(json!(step).to_string()), Some(steps)),
            None => (Event::default().event("end").data("{}"), None),
        };
        Some((Ok(event.0), (None, event.1)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn parse(body: &[u8]) -> Result<EncounterRequest, WebError> {
    let request: EncounterRequest =
        agentwrit_json::object_from_slice(body, 2).map_err(|error| WebError::Invalid(error.to_string()))?;
    if request.request.trim().is_empty() || request.request.len() > MAX_REQUEST {
        return Err(WebError::Invalid(format!("the request is a text of 1 to {MAX_REQUEST} bytes")));
    }
    if request.patient_id.len() > MAX_REQUEST {
        return Err(WebError::Invalid("the patient's number is too long".to_owned()));
    }
    if request.ttl.is_some_and(|ttl| !(1..=MAX_TTL).contains(&ttl)) {
        return Err(WebError::Invalid(format!("the lifetime is 1 to {MAX_TTL} seconds")));
    }
    Ok(request)
}

/// Returns the states of the credentials that an encounter left live, by the key of their cards: the broker is asked about
/// each.
pub(super) async fn cards(
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Json<BTreeMap<&'static str, CardState>>, WebError> {
    let kept = web.kept.of(&id).ok_or(WebError::NoSuchEncounter)?;
    let client = web.parties.app.client();
    let mut states = BTreeMap::new();
    for (key, agent) in kept {
        // Only the operator ends a token that was left live before its expiry.
        let state = match client.validate(agent.token().expose()).await?.is_valid() {
            true => CardState::Live,
            false if agent.expires_at() <= agentwrit_verify::Clock::now(&agentwrit_verify::SystemClock) => {
                CardState::Expired
            }
            false => CardState::Revoked,
        };
        states.insert(key, state);
    }
    Ok(Json(states))
}

fn new_id() -> Result<String, WebError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| WebError::Randomness)?;
    Ok(data_encoding::HEXLOWER.encode(&id))
}
