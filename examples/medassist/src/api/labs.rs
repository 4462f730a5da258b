//! `/patients/{patient_id}/labs`: laboratory results.

use agentwrit_tower::RequireScope;
use axum::{Json, Router, extract::State, routing::get};
use demo_common::service::ServiceError;

use super::{Hospital, extract::KnownPatient};
use crate::{Store, store::labs::Lab};

pub(super) fn routes() -> Router<Hospital> {
    Router::new().route("/patients/{patient_id}/labs", get(list).layer(RequireScope::new("read:labs:{patient_id}")))
}

async fn list(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Vec<Lab>>, ServiceError> {
    Ok(Json(store.labs(id).await?))
}
