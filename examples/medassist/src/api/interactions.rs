//! `/patients/{patient_id}/interactions/{drug}`: interactions of a drug with those that the patient takes. The token
//! needs no access to the chart.

use agentwrit_tower::RequireScope;
use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use demo_common::service::ServiceError;

use super::{Hospital, extract::KnownPatient};
use crate::{Store, store::interactions::Interaction};

pub(super) fn routes() -> Router<Hospital> {
    let interactions = get(list).layer(RequireScope::new("read:interactions:{patient_id}"));
    Router::new().route("/patients/{patient_id}/interactions/{drug}", interactions)
}

async fn list(
    State(store): State<Store>,
    KnownPatient(id): KnownPatient,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<Vec<Interaction>>, ServiceError> {
    match store.drug(&name).await? {
        Some(drug) => Ok(Json(store.interactions(id, &drug.name).await?)),
        None => Err(ServiceError::NotFound { kind: "drug", name }),
    }
}
