//! `/patients/{patient_id}/notes`: clinical notes, with a scope of their own that billing does not get.

use agentwrit_tower::{RequireScope, Verified, verify::ScopeTemplate};
use axum::{Json, Router, extract::State, routing::get};
use demo_common::service::{Object, ServiceError};
use http::{Method, StatusCode};
use serde::Deserialize;

use super::{Hospital, extract::KnownPatient};
use crate::{Store, store::notes::Note};

/// Maximum length of a note, in bytes.
const MAX_TEXT: usize = 4 * 1024;

pub(super) fn routes() -> Router<Hospital> {
    let scopes = [(Method::GET, "read:notes:{patient_id}"), (Method::POST, "write:notes:{patient_id}")];
    Router::new().route("/patients/{patient_id}/notes", get(list).post(add).layer(RequireScope::by_method(scopes)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNote {
    text: String,
}

async fn list(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Vec<Note>>, ServiceError> {
    Ok(Json(store.notes(id).await?))
}

async fn add(
    State(hospital): State<Hospital>,
    KnownPatient(id): KnownPatient,
    caller: Verified,
    Object(note): Object<NewNote>,
) -> Result<(StatusCode, Json<Note>), ServiceError> {
    if note.text.trim().is_empty() || note.text.len() > MAX_TEXT {
        return Err(ServiceError::invalid(format!("`text` is a note of 1 to {MAX_TEXT} bytes")));
    }
    let wanted = ScopeTemplate::parse("write:notes:{patient_id}").and_then(|template| template.fill(id.as_str()));
    let permit = caller.permit(&wanted.map_err(|_| ServiceError::Internal)?)?;
    let note = hospital.store.add_note(&permit, note.text, hospital.clock.now()).await?;
    Ok((StatusCode::CREATED, Json(note)))
}
