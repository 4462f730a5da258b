//! `/patients/{patient_id}/records`: diagnoses, allergies, history. `/patients/{patient_id}/visits`: visits with vital signs.

use agentwrit_tower::RequireScope;
use axum::{Json, Router, extract::State, routing::get};
use demo_common::service::ServiceError;

use super::{Hospital, extract::KnownPatient};
use crate::{
    Store,
    store::records::{Record, Visit},
};

pub(super) fn routes() -> Router<Hospital> {
    let records = get(list).layer(RequireScope::new("read:records:{patient_id}"));
    let visits = get(visits).layer(RequireScope::new("read:records:{patient_id}"));
    Router::new().route("/patients/{patient_id}/records", records).route("/patients/{patient_id}/visits", visits)
}

async fn list(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Vec<Record>>, ServiceError> {
    Ok(Json(store.records(id).await?))
}

async fn visits(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Vec<Visit>>, ServiceError> {
    Ok(Json(store.visits(id).await?))
}
