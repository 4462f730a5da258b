//! `/formulary`: the drugs of the pharmacy. A token may grant a single drug.

use agentwrit_tower::RequireScope;
use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use demo_common::service::ServiceError;

use super::Hospital;
use crate::{Store, store::formulary::Drug};

pub(super) fn routes() -> Router<Hospital> {
    Router::new()
        .route("/formulary", get(list).layer(RequireScope::new("read:formulary:*")))
        .route("/formulary/{drug}", get(show).layer(RequireScope::new("read:formulary:{drug}")))
}

async fn list(State(store): State<Store>) -> Result<Json<Vec<Drug>>, ServiceError> {
    Ok(Json(store.formulary().await?))
}

async fn show(State(store): State<Store>, Path(name): Path<String>) -> Result<Json<Drug>, ServiceError> {
    match store.drug(&name).await? {
        Some(drug) => Ok(Json(drug)),
        None => Err(ServiceError::NotFound { kind: "drug", name }),
    }
}
