//! `/patients/{patient_id}/interactions/{drug}`: interactions of a drug with those that the patient takes. The token
//! needs no access to the chart.

use agentwrit_tower::RequireScope;
use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};

use super::{Hospital, error::ApiError, extract::KnownPatient};
use crate::{Store, store::interactions::Interaction};

pub(super) fn routes() -> Router<Hospital> {
    let interactions = get(list).layer(RequireScope::new("read:interactions:{patient_id}"));
    Router::new().route("/patients/{patient_id}/interactions/{drug}", interactions)
}

async fn list(
    State(store): State<Store>,
    KnownPatient(id): KnownPatient,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<Vec<Interaction>>, ApiError> {
    match store.drug(&name).await? {
        Some(drug) => Ok(Json(store.interactions(id, &drug.name).await?)),
        None => Err(ApiError::NotFound { kind: "drug", name }),
    }
}
