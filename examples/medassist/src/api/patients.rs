//! `/patients`: patients, each with contact. A listing shows only the patients that the token grants.

use agentwrit_tower::{GrantedIdentifiers, Identifiers, RequireScope};
use axum::{Json, Router, extract::State, routing::get};
use demo_common::service::ServiceError;

use super::{Hospital, extract::KnownPatient};
use crate::{
    Store,
    store::patients::{Admission, Patient},
};

pub(super) fn routes() -> Router<Hospital> {
    Router::new()
        .route("/patients", get(list).layer(RequireScope::some_of_kind("read:patients")))
        .route("/patients/{patient_id}", get(show).layer(RequireScope::new("read:patients:{patient_id}")))
}

async fn list(State(store): State<Store>, granted: GrantedIdentifiers) -> Result<Json<Vec<Patient>>, ServiceError> {
    let patients = match granted.identifiers() {
        Identifiers::All => store.patients().await?,
        Identifiers::Only(these) => store.patients_among(these).await?,
    };
    Ok(Json(patients))
}

async fn show(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Admission>, ServiceError> {
    let patient = store.admission(&id).await?;
    patient.map(Json).ok_or_else(|| ServiceError::NotFound { kind: "patient", name: id.to_string() })
}
