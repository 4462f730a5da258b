//! `/patients/{patient_id}/insurance`, `/patients/{patient_id}/claims` and `/billing-codes`.

use agentwrit_tower::{RequireScope, Verified, verify::ScopeTemplate};
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use demo_common::service::{Object, ServiceError};
use http::StatusCode;
use serde::Deserialize;

use super::{Hospital, extract::KnownPatient};
use crate::{
    Store,
    store::insurance::{BillingCode, Claim, Insurance, NotClaimable},
};

/// Scope that filing a claim requires.
const FILE: &str = "write:claims:{patient_id}";

pub(super) fn routes() -> Router<Hospital> {
    let insurance = get(show).layer(RequireScope::new("read:insurance:{patient_id}"));
    Router::new()
        .route("/patients/{patient_id}/insurance", insurance)
        .route("/patients/{patient_id}/claims", post(file).layer(RequireScope::new(FILE)))
        .route("/billing-codes", get(codes).layer(RequireScope::new("read:billing-codes:*")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewClaim {
    invoice_id: String,
    code: String,
}

async fn show(State(store): State<Store>, KnownPatient(id): KnownPatient) -> Result<Json<Insurance>, ServiceError> {
    let name = id.to_string();
    store.insurance(id).await?.map(Json).ok_or(ServiceError::NotFound { kind: "insurance of", name })
}

async fn codes(State(store): State<Store>) -> Result<Json<Vec<BillingCode>>, ServiceError> {
    Ok(Json(store.billing_codes().await?))
}

async fn file(
    State(hospital): State<Hospital>,
    KnownPatient(id): KnownPatient,
    caller: Verified,
    Object(claim): Object<NewClaim>,
) -> Result<(StatusCode, Json<Claim>), ServiceError> {
    let wanted = ScopeTemplate::parse(FILE).and_then(|template| template.fill(id.as_str()));
    let permit = caller.permit(&wanted.map_err(|_| ServiceError::Internal)?)?;
    let invoice = claim.invoice_id.clone();
    let filed = hospital.store.file_claim(&permit, claim.invoice_id, claim.code, hospital.clock.now()).await?;
    let filed = filed.map_err(|reason| match reason {
        NotClaimable::NoInsurance => ServiceError::conflict("the patient has no insurance"),
        NotClaimable::UnknownInvoice => ServiceError::invalid("`invoice_id` is not an invoice of this patient"),
        NotClaimable::CodeOfAnotherService => ServiceError::invalid("`code` is not the code of the invoice's service"),
        NotClaimable::ClaimedBefore => {
            ServiceError::conflict(format!("a claim for invoice {invoice} was filed before"))
        }
    })?;
    Ok((StatusCode::CREATED, Json(filed)))
}
