//! Extractor of a patient.

use axum::extract::{FromRef, FromRequestParts, RawPathParams};
use demo_common::service::ServiceError;
use http::request::Parts;

use crate::{PatientId, Store};

/// Patient that the path names and the hospital has.
pub(super) struct KnownPatient(pub(super) PatientId);

impl<S> FromRequestParts<S> for KnownPatient
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    type Rejection = ServiceError;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, ServiceError> {
        let path = RawPathParams::from_request_parts(head, state).await.map_err(|_| ServiceError::UnknownPath)?;
        let named = path.iter().find(|(name, _)| *name == "patient_id").map(|(_, value)| value);
        let name = named.ok_or(ServiceError::Internal)?; // a route without `{patient_id}`: a mistake in the program
        let unknown = || ServiceError::NotFound { kind: "patient", name: name.to_owned() };
        let id = PatientId::parse(name).ok_or_else(unknown)?;
        match Store::from_ref(state).patient(&id).await? {
            Some(_) => Ok(Self(id)),
            None => Err(unknown()),
        }
    }
}
