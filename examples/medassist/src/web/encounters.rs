//! Encounters, streamed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agentwrit_verify::{Clock, SystemClock};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    response::Response,
};
use demo_common::{
    random_hex,
    web::{PageError, event, event_stream},
};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::mpsc;

use super::Web;
use crate::assistant::{self, CardState, EncounterRequest, MAX_REQUEST, Page};

/// Steps that wait for a slow reader.
const BUFFERED_STEPS: usize = 16;

/// Time for a page to take a step. A slower one counts as closed: its encounter ends, and its place is free.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest lifetime of the agents' tokens that a request may ask for, in seconds.
const MAX_TTL: u64 = 3600;

/// Plays an encounter and streams it as server-sent events: `encounter` with its id, `step` for each step, `end`. When the
/// reader goes away, the encounter ends early and releases its agents.
pub(super) async fn play(State(web): State<Web>, body: Bytes) -> Result<Response, PageError> {
    let request = parse(&body)?;
    let place = web.runs.begin().ok_or(PageError::TooMany("too many encounters are in progress: try again"))?;
    let id = random_hex::<16>().map_err(|_| PageError::Internal("the system has no randomness"))?;
    let (sender, steps) = mpsc::channel(BUFFERED_STEPS);
    let started = event(&json!({"id": id})).event("encounter");
    let end = web.registry.begin(id);
    tokio::spawn(async move {
        let page = Page { steps: sender, pace: web.pace, patience: PATIENCE, runs: web.runs.clone() };
        let ended = assistant::play(&web.parties, &request, page).await;
        end.send_replace(Some(Arc::new(ended)));
        drop(place);
    });
    let steps = stream::unfold(steps, async |mut steps| Some((event(&steps.recv().await?).event("step"), steps)));
    let last = event(&json!({})).event("end");
    Ok(event_stream(stream::iter([started]).chain(steps).chain(stream::iter([last]))))
}

fn parse(body: &[u8]) -> Result<EncounterRequest, PageError> {
    let request: EncounterRequest =
        agentwrit_json::object_from_slice(body, 2).map_err(|error| PageError::Invalid(error.to_string()))?;
    if request.request.trim().is_empty() || request.request.len() > MAX_REQUEST {
        return Err(PageError::Invalid(format!("the request is a text of 1 to {MAX_REQUEST} bytes")));
    }
    if request.patient_id.len() > MAX_REQUEST {
        return Err(PageError::Invalid("the patient's number is too long".to_owned()));
    }
    if request.ttl.is_some_and(|ttl| !(1..=MAX_TTL).contains(&ttl)) {
        return Err(PageError::Invalid(format!("the lifetime is 1 to {MAX_TTL} seconds")));
    }
    Ok(request)
}

/// Waits for the end of an encounter and returns the states of its credentials, by the key of their cards. The broker is asked
/// about those that were live then.
pub(super) async fn cards(
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Json<BTreeMap<&'static str, CardState>>, PageError> {
    let ended = web.registry.end(&id).await.ok_or(PageError::NotFound("there is no encounter of this id"))?;
    let client = web.parties.broker.app.client();
    let mut states: BTreeMap<_, _> = ended.states.iter().copied().collect();
    for (key, agent) in &ended.live {
        // Only the operator ends a token that was left live before its expiry.
        let state = match client.validate(agent.token().expose()).await?.is_valid() {
            true => CardState::Live,
            false if agent.expires_at() <= SystemClock.now() => CardState::Expired,
            false => CardState::Revoked,
        };
        states.insert(*key, state);
    }
    Ok(Json(states))
}
