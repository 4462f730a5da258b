//! `/v1/admin/keys`: the signing keys.

use std::net::IpAddr;

use agentwrit_protocol::{Base64, KeyChangeRequest, ListResponse, Page, SigningKeyRecord};
use agentwrit_tower::Verified;
use agentwrit_verify::KeyId;
use axum::{
    Json,
    extract::{FromRequestParts, State},
};
use http::{StatusCode, request::Parts};

use super::{
    Shared,
    body::JsonBody,
    client::Client,
    errors::HttpError,
    query::{Id, NoParameters, Parameters, list_response},
    revocations::confirmation_of,
};
use crate::{
    domain::StoredKey,
    keys::UnusableKey,
    service::{
        Error,
        keys::{ChangeAuthor, ExaminedKeys, KeyChange, KeyOperation},
    },
    store::StoreError,
};

pub(super) async fn list(
    State(services): State<Shared>,
    parameters: Parameters,
) -> Result<Json<ListResponse<SigningKeyRecord>>, HttpError> {
    parameters.only(&Page::PARAMETERS)?;
    let page = parameters.page()?;
    let ExaminedKeys { keys, unusable } = services.keys.list().await?;
    let total = keys.len() as u64;
    let with_fault = |record: SigningKeyRecord| {
        let key = unusable.iter().find(|key| key.kid == record.kid.as_str());
        SigningKeyRecord { fault: key.map(UnusableKey::describe), ..record }
    };
    // Keys are never deleted, so that the place of each is its cursor.
    let entries = (1..).zip(keys).filter(|(place, _)| *place > page.after);
    let skip = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let entries: Result<Vec<_>, Error> =
        entries.skip(skip).take(limit).map(|(place, key)| Ok((place, with_fault(record(&key)?)))).collect();
    Ok(Json(list_response(entries?, total, &page)))
}

pub(super) async fn prepare(
    State(services): State<Shared>,
    author: Author,
    body: JsonBody<KeyChangeRequest>,
) -> Result<(StatusCode, Json<SigningKeyRecord>), HttpError> {
    Ok((StatusCode::CREATED, change(services, author, KeyOperation::Prepare, body).await?))
}

pub(super) async fn activate(
    State(services): State<Shared>,
    Id(kid): Id,
    author: Author,
    body: JsonBody<KeyChangeRequest>,
) -> Result<Json<SigningKeyRecord>, HttpError> {
    let force = body.0.force;
    change(services, author, KeyOperation::Activate { kid, force }, body).await
}

pub(super) async fn retire(
    State(services): State<Shared>,
    Id(kid): Id,
    author: Author,
    body: JsonBody<KeyChangeRequest>,
) -> Result<Json<SigningKeyRecord>, HttpError> {
    change(services, author, KeyOperation::Retire { kid }, body).await
}

pub(super) async fn rotate(
    State(services): State<Shared>,
    author: Author,
    body: JsonBody<KeyChangeRequest>,
) -> Result<Json<SigningKeyRecord>, HttpError> {
    change(services, author, KeyOperation::Rotate, body).await
}

pub(super) async fn withdraw(
    State(services): State<Shared>,
    Id(kid): Id,
    author: Author,
    body: JsonBody<KeyChangeRequest>,
) -> Result<Json<SigningKeyRecord>, HttpError> {
    change(services, author, KeyOperation::Withdraw { kid }, body).await
}

/// Operator who sends a request that changes keys.
#[derive(Debug)]
pub(super) struct Author {
    client: IpAddr,
    verified: Verified,
}

impl<S: Send + Sync> FromRequestParts<S> for Author {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        NoParameters::from_request_parts(parts, state).await?;
        let Ok(Client(client)) = Client::from_request_parts(parts, state).await;
        let verified = Verified::from_request_parts(parts, state).await.map_err(|rejection| HttpError::Defect {
            cause: format!("a route of operators has no scope layer: {rejection}"),
        })?;
        Ok(Self { client, verified })
    }
}

async fn change(
    services: Shared,
    Author { client, verified }: Author,
    operation: KeyOperation,
    JsonBody(request, place): JsonBody<KeyChangeRequest>,
) -> Result<Json<SigningKeyRecord>, HttpError> {
    let author = ChangeAuthor {
        by: verified.subject().clone(),
        bearer: Some(verified.token().clone().into()),
        client: Some(client),
        reason: request.reason,
    };
    let KeyChange { key, cursor } = services.keys.change(operation, author).await?;
    // The body is gone, and a wait is long.
    drop(place);
    let confirmation = match request.wait {
        Some(wait) => confirmation_of(&services, &cursor, verified.subject(), wait).await,
        None => None,
    };
    let warnings = services.keys.change_warnings().into_iter().map(str::to_owned).collect();
    Ok(Json(SigningKeyRecord { cursor: Some(cursor), confirmation, warnings, ..record(&key)? }))
}

fn record(key: &StoredKey) -> Result<SigningKeyRecord, Error> {
    let kid = KeyId::parse(&key.kid);
    let (Some(kid), Some(public)) = (kid, key.public) else {
        let cause = format!("the signing key `{}` has no valid id or public key", key.kid);
        return Err(StoreError::Internal { cause }.into());
    };
    Ok(SigningKeyRecord {
        kid,
        state: key.state,
        public_key: Base64(public),
        created_at: key.created_at,
        activates_at: key.activates_at,
        activated_at: key.activated_at,
        retire_at: key.retire_at,
        fault: None,
        cursor: None,
        confirmation: None,
        warnings: Vec::new(),
    })
}
