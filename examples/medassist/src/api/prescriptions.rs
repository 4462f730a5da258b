//! `/patients/{patient_id}/prescriptions`: prescriptions.
//!
//! The route's layer checks the patient of the path. The drug is in the body: a controlled one requires a second scope,
//! which only the handler can check.

use agentwrit_tower::{RequireScope, Verified, verify::ScopeTemplate};
use agentwrit_verify::{Permit, Scope};
use axum::{Json, Router, extract::State, routing::get};
use demo_common::service::{Object, ServiceError};
use http::{Method, StatusCode};
use serde::Deserialize;

use super::{Hospital, extract::KnownPatient};
use crate::{
    PatientId, Store,
    store::{
        formulary::Drug,
        interactions::Interaction,
        prescriptions::{Dosage, Prescribed, Prescription},
    },
};

pub(super) fn routes() -> Router<Hospital> {
    let scopes = [(Method::GET, "read:prescriptions:{patient_id}"), (Method::POST, "write:prescriptions:{patient_id}")];
    let prescriptions = get(list).post(prescribe).layer(RequireScope::by_method(scopes));
    Router::new().route("/patients/{patient_id}/prescriptions", prescriptions)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    drug: String,
    dose_mg: u32,
    times_per_day: u32,
    days: u32,
}

async fn list(
    State(store): State<Store>,
    KnownPatient(id): KnownPatient,
) -> Result<Json<Vec<Prescription>>, ServiceError> {
    Ok(Json(store.prescriptions(id).await?))
}

async fn prescribe(
    State(hospital): State<Hospital>,
    KnownPatient(id): KnownPatient,
    caller: Verified,
    Object(order): Object<Order>,
) -> Result<(StatusCode, Json<Prescribed>), ServiceError> {
    let unknown = || ServiceError::invalid(format!("`drug`: `{}` is not in the formulary", order.drug));
    let drug = hospital.store.drug(&order.drug).await?.ok_or_else(unknown)?;
    let permit = permit(&caller, &id, &drug)?;
    let dosage = order.within_limits(&drug)?;
    reject_allergen(&hospital.store.allergies(id).await?, &drug)?;
    if drug.prior_authorization {
        let reason = format!("{} needs the insurer's prior authorization, which a person requests", drug.name);
        return Err(ServiceError::conflict(reason));
    }
    let root = caller.delegation_chain().first().map(|record| &record.agent);
    let written = hospital.store.prescribe(&permit, root, dosage, hospital.clock.now()).await?;
    let written = written.map_err(|severe| {
        let Interaction { with, effect, .. } = severe;
        ServiceError::conflict(format!(
            "{} with {with}, which the patient takes: {effect} (severe interaction)",
            drug.name
        ))
    })?;
    Ok((StatusCode::CREATED, Json(written)))
}

/// Returns the permit to prescribe this drug to this patient.
fn permit(caller: &Verified, id: &PatientId, drug: &Drug) -> Result<Permit, ServiceError> {
    if drug.controlled {
        caller.permit(&scope_of(id, "write:controlled-prescriptions:{patient_id}")?)?;
    }
    Ok(caller.permit(&scope_of(id, "write:prescriptions:{patient_id}")?)?)
}

fn scope_of(id: &PatientId, template: &str) -> Result<Scope, ServiceError> {
    let filled = ScopeTemplate::parse(template).and_then(|template| template.fill(id.as_str()));
    filled.map_err(|_| ServiceError::Internal)
}

impl Order {
    fn within_limits(self, drug: &Drug) -> Result<Dosage, ServiceError> {
        for (member, value, largest) in [
            ("dose_mg", self.dose_mg, drug.max_dose_mg),
            ("times_per_day", self.times_per_day, 6),
            ("days", self.days, 90),
        ] {
            if !(1..=largest).contains(&value) {
                return Err(ServiceError::invalid(format!("`{member}` of {} is 1 to {largest}", drug.name)));
            }
        }
        let Self { drug, dose_mg, times_per_day, days } = self;
        Ok(Dosage { drug, dose_mg, times_per_day, days })
    }
}

fn reject_allergen(allergies: &[String], drug: &Drug) -> Result<(), ServiceError> {
    match &drug.allergen {
        Some(allergen) if allergies.contains(allergen) => {
            let reason = format!("the patient is allergic to {allergen}, which {} contains", drug.name);
            Err(ServiceError::Conflict { reason })
        }
        Some(_) | None => Ok(()),
    }
}
