//! `/patients`: patients. A listing shows only the patients that the token grants.

use agentwrit_tower::{GrantedIdentifiers, Identifiers, RequireScope};
use axum::{Json, Router, extract::State, routing::get};

use super::{Hospital, error::ApiError, extract::KnownPatient};
use crate::{Store, store::patients::Patient};

pub(super) fn routes() -> Router<Hospital> {
    Router::new()
        .route("/patients", get(list).layer(RequireScope::some_of_kind("read:patients")))
        .route("/patients/{patient_id}", get(show).layer(RequireScope::new("read:patients:{patient_id}")))
}

async fn list(State(store): State<Store>, granted: GrantedIdentifiers) -> Result<Json<Vec<Patient>>, ApiError> {
    let patients = match granted.identifiers() {
        Identifiers::All => store.patients().await?,
        Identifiers::Only(these) => store.patients_among(these).await?,
    };
    Ok(Json(patients))
}

async fn show(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Patient>, ApiError> {
    let patient = store.patient(&id).await?;
    patient.map(Json).ok_or_else(|| ApiError::NotFound { kind: "patient", name: id.to_string() })
}
