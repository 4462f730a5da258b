//! `/patients/{patient_id}/labs`: laboratory results.

use agentwrit_tower::RequireScope;
use axum::{Json, Router, extract::State, routing::get};

use super::{Hospital, error::ApiError, extract::KnownPatient};
use crate::{Store, store::labs::Lab};

pub(super) fn routes() -> Router<Hospital> {
    Router::new().route("/patients/{patient_id}/labs", get(list).layer(RequireScope::new("read:labs:{patient_id}")))
}

async fn list(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Vec<Lab>>, ApiError> {
    Ok(Json(store.labs(id).await?))
}
