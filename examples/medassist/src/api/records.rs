//! `/patients/{patient_id}/records`: diagnoses, allergies, history.

use agentwrit_tower::RequireScope;
use axum::{Json, Router, extract::State, routing::get};

use super::{Hospital, error::ApiError, extract::KnownPatient};
use crate::{Store, store::records::Record};

pub(super) fn routes() -> Router<Hospital> {
    let records = get(list).layer(RequireScope::new("read:records:{patient_id}"));
    Router::new().route("/patients/{patient_id}/records", records)
}

async fn list(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Vec<Record>>, ApiError> {
    Ok(Json(store.records(id).await?))
}
