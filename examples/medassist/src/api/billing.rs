//! `/patients/{patient_id}/billing`: invoices, without clinical data beyond the charged services.

use agentwrit_tower::RequireScope;
use axum::{Json, Router, extract::State, routing::get};
use demo_common::service::ServiceError;

use super::{Hospital, extract::KnownPatient};
use crate::{Store, store::billing::Invoice};

pub(super) fn routes() -> Router<Hospital> {
    let billing = get(list).layer(RequireScope::new("read:billing:{patient_id}"));
    Router::new().route("/patients/{patient_id}/billing", billing)
}

async fn list(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Vec<Invoice>>, ServiceError> {
    Ok(Json(store.invoices(id).await?))
}
