//! `/v1/admin/verifiers`: verifiers whose reports count.

use std::sync::Arc;

use agentwrit_protocol::{
    Base64, ListResponse, Page, VerifierEnrolmentRequest, VerifierInstance, VerifierRecord, VerifierUpdateRequest,
    paths,
};
use agentwrit_tower::Verified;
use agentwrit_verify::{
    KeySet,
    report::{InstanceId, VerifierName},
};
use axum::{Json, extract::State};
use http::StatusCode;

use super::{
    Shared,
    body::{DrainedBody, JsonBody},
    client::Client,
    errors::HttpError,
    query::{Id, NameAndId, NoParameters, Parameters, list_response},
};
use crate::{
    domain::{Enrolment, InstanceState},
    service::{
        Error,
        verifiers::{ForgottenInstance, KnownVerifier},
    },
    store::LogEnd,
};

pub(super) async fn enrol(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<VerifierEnrolmentRequest>,
) -> Result<(StatusCode, Json<VerifierRecord>), HttpError> {
    let enrolment = services.verifiers.enrol(Some(verified.token().clone().into()), request, client).await?;
    Ok((StatusCode::CREATED, Json(record(&enrolment, Vec::new()))))
}

pub(super) async fn list(
    State(services): State<Shared>,
    parameters: Parameters,
) -> Result<Json<ListResponse<VerifierRecord>>, HttpError> {
    parameters.only(&Page::PARAMETERS)?;
    let page = parameters.page()?;
    let verifiers = services.verifiers.list().await?;
    let total = verifiers.len() as u64;
    let (end, key_set) = (services.feed.end(), services.issuer.ring().published.clone());
    let of = |verifier: &KnownVerifier| {
        let instances = verifier.instances.iter().map(|state| instance(state, &end, &key_set)).collect();
        (cursor(&verifier.enrolment), record(&verifier.enrolment, instances))
    };
    let (offset, limit) = (saturated(page.offset), saturated(page.limit));
    let after = verifiers.iter().filter(|verifier| cursor(&verifier.enrolment) > page.after);
    let entries: Vec<_> = after.skip(offset).take(limit).map(of).collect();
    Ok(Json(list_response(entries, total, &page)))
}

pub(super) async fn update(
    State(services): State<Shared>,
    Id(name): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<VerifierUpdateRequest>,
) -> Result<Json<VerifierRecord>, HttpError> {
    let bearer = Some(verified.token().clone().into());
    let enrolment = services.verifiers.update(bearer, verifier(&name)?, request, client).await?;
    Ok(Json(record(&enrolment, Vec::new())))
}

pub(super) async fn forget(
    State(services): State<Shared>,
    NameAndId(name, instance): NameAndId,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    _: DrainedBody,
) -> Result<StatusCode, HttpError> {
    let forgotten = match instance.as_str() {
        paths::UNKNOWN_INSTANCE => ForgottenInstance::Unknown,
        id => ForgottenInstance::Known(InstanceId::parse(id).map_err(|_| Error::NoSuchInstance)?),
    };
    let bearer = Some(verified.token().clone().into());
    services.verifiers.forget(bearer, verifier(&name)?, forgotten, client).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove(
    State(services): State<Shared>,
    Id(name): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    _: DrainedBody,
) -> Result<StatusCode, HttpError> {
    services.verifiers.remove(Some(verified.token().clone().into()), verifier(&name)?, client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A text that cannot be a name names no verifier.
fn verifier(text: &str) -> Result<VerifierName, Error> {
    VerifierName::parse(text).map_err(|_| Error::NoSuchVerifier)
}

/// Returns the place of a verifier in the list: the time of its enrolment in microseconds, which no other one has.
fn cursor(enrolment: &Enrolment) -> u64 {
    u64::try_from(enrolment.added_at.elapsed_since_epoch().as_micros()).unwrap_or(u64::MAX)
}

fn saturated(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn record(enrolment: &Enrolment, instances: Vec<VerifierInstance>) -> VerifierRecord {
    VerifierRecord {
        name: enrolment.name.clone(),
        public_key: Base64(*enrolment.public_key.as_bytes()),
        max_bound: enrolment.max_bound,
        added_at: enrolment.added_at,
        removed_at: enrolment.removed_at,
        may_have_unknown_instances: enrolment.may_have_unbounded,
        instances,
    }
}

fn instance(state: &Arc<InstanceState>, end: &LogEnd, keys: &KeySet) -> VerifierInstance {
    let is_same_log = *state.applied.epoch() == *end.epoch && !state.is_ahead;
    VerifierInstance {
        instance: state.instance,
        last_heard: state.heard_at,
        cursor: state.applied.clone(),
        behind: is_same_log.then(|| end.cursor.saturating_sub(state.applied.position())),
        bound: state.bound,
        has_current_keys: state.key_set == Some(keys.digest()),
        drained: state.drained,
    }
}
