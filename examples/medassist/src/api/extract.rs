//! Extractors of checked values.

use axum::{
    body::Bytes,
    extract::{FromRef, FromRequest, FromRequestParts, RawPathParams, Request},
};
use http::{StatusCode, request::Parts};
use serde::de::DeserializeOwned;

use super::{MAX_BODY, error::ApiError};
use crate::{PatientId, Store};

/// Maximum nesting of a body.
const MAX_DEPTH: usize = 4;

/// Patient that the path names and the hospital has.
pub(super) struct KnownPatient(pub(super) PatientId);

impl<S> FromRequestParts<S> for KnownPatient
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = RawPathParams::from_request_parts(head, state).await.map_err(|_| ApiError::UnknownPath)?;
        let named = path.iter().find(|(name, _)| *name == "patient_id").map(|(_, value)| value);
        let name = named.ok_or(ApiError::Internal)?; // a route without `{patient_id}`: a mistake in the program
        let unknown = || ApiError::NotFound { kind: "patient", name: name.to_owned() };
        let id = PatientId::parse(name).ok_or_else(unknown)?;
        match Store::from_ref(state).patient(&id).await? {
            Some(_) => Ok(Self(id)),
            None => Err(unknown()),
        }
    }
}

/// JSON object of known members, each once.
pub(super) struct Object<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Object<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge { limit: MAX_BODY },
            _ => ApiError::invalid("the body could not be read"),
        })?;
        agentwrit_json::object_from_slice(&body, MAX_DEPTH)
            .map(Self)
            .map_err(|error| ApiError::invalid(error.to_string()))
    }
}
