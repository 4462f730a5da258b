//! `/v1/admin/apps`, `/v1/admin/apps/{id}`, and its `suspend`, `resume` and `rotate-secret`.

use agentwrit_protocol::{
    AppCreationRequest, AppCreationResponse, AppDeregistrationResponse, AppListResponse, AppRecord, AppStatus,
    AppUpdateRequest, RequestError, SecretRotationRequest, SecretRotationResponse, limits::MAX_PAGE,
};
use agentwrit_tower::Verified;
use agentwrit_verify::{AppId, UnixTime};
use axum::{Json, extract::State};
use http::StatusCode;

use super::{
    Shared,
    body::{DrainedBody, JsonBody},
    client::Client,
    errors::HttpError,
    query::{Id, NoParameters, Parameters},
};
use crate::{
    domain::{App, AppName},
    service::{Error, apps::NewApp},
};

pub(super) async fn create(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<AppCreationRequest>,
) -> Result<(StatusCode, Json<AppCreationResponse>), HttpError> {
    let AppCreationRequest { name, scopes, token_ttl, sender_constrained } = request;
    let name = AppName::parse(&name).map_err(|error| RequestError::invalid("name", error.to_string()))?;
    let app = NewApp { name, scopes, token_ttl, sender_constrained };
    let (app, secret) = services.apps.create(Some(verified.token().clone().into()), app, client).await?;
    Ok((StatusCode::CREATED, Json(AppCreationResponse::new(record(app, services.ledger.now()), secret))))
}

pub(super) async fn list(
    State(services): State<Shared>,
    parameters: Parameters,
) -> Result<Json<AppListResponse>, HttpError> {
    parameters.only(&["limit", "offset"])?;
    let limit = parameters.number("limit", 1, MAX_PAGE)?.unwrap_or(MAX_PAGE);
    let offset = parameters.number("offset", 0, u64::MAX)?.unwrap_or(0);
    let (apps, total) = services.apps.list(limit, offset).await?;
    let now = services.ledger.now();
    let apps = apps.into_iter().map(|app| record(app, now)).collect();
    Ok(Json(AppListResponse { apps, total: Some(total) }))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Id(id): Id,
    _: NoParameters,
) -> Result<Json<AppRecord>, HttpError> {
    let app = services.apps.find(app_id(&id)?).await?;
    Ok(Json(record(app, services.ledger.now())))
}

pub(super) async fn update(
    State(services): State<Shared>,
    Id(id): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<AppUpdateRequest>,
) -> Result<Json<AppRecord>, HttpError> {
    let app = services.apps.update(Some(verified.token().clone().into()), app_id(&id)?, request, client).await?;
    Ok(Json(record(app, services.ledger.now())))
}

pub(super) async fn rotate_secret(
    State(services): State<Shared>,
    Id(id): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<SecretRotationRequest>,
) -> Result<Json<SecretRotationResponse>, HttpError> {
    let bearer = Some(verified.token().clone().into());
    let (app, client_secret) = services.apps.rotate_secret(bearer, app_id(&id)?, request.overlap, client).await?;
    Ok(Json(SecretRotationResponse {
        former_secret_expires_at: app.former_secret_expires_at(services.ledger.now()),
        app_id: app.app_id,
        client_id: app.client_id,
        client_secret,
    }))
}

/// A request that gives an app another status: all but its body, which is drained before anything changes.
type StatusChange = (State<Shared>, Id, Client, Verified, NoParameters);

pub(super) async fn suspend(change: StatusChange, _: DrainedBody) -> Result<Json<AppRecord>, HttpError> {
    set_status(change, AppStatus::Suspended).await.map(|(app, now)| Json(record(app, now)))
}

pub(super) async fn resume(change: StatusChange, _: DrainedBody) -> Result<Json<AppRecord>, HttpError> {
    set_status(change, AppStatus::Active).await.map(|(app, now)| Json(record(app, now)))
}

pub(super) async fn deregister(
    change: StatusChange,
    _: DrainedBody,
) -> Result<Json<AppDeregistrationResponse>, HttpError> {
    let (app, _) = set_status(change, AppStatus::Inactive).await?;
    Ok(Json(AppDeregistrationResponse {
        app_id: Some(app.app_id),
        status: Some(app.status),
        deregistered_at: app.deregistered_at.unwrap_or(app.updated_at),
    }))
}

/// Returns the app, and the time.
async fn set_status(change: StatusChange, status: AppStatus) -> Result<(App, UnixTime), HttpError> {
    let (State(services), Id(id), Client(client), verified, _) = change;
    let app = services.apps.set_status(Some(verified.token().clone().into()), app_id(&id)?, status, client).await?;
    Ok((app, services.ledger.now()))
}

/// A text that cannot be an app's id names no app.
fn app_id(text: &str) -> Result<AppId, Error> {
    AppId::parse(text).map_err(|_| Error::AppUnknown)
}

fn record(app: App, now: UnixTime) -> AppRecord {
    AppRecord {
        former_secret_expires_at: app.former_secret_expires_at(now),
        app_id: app.app_id,
        client_id: app.client_id,
        name: app.name.as_str().to_owned(),
        scopes: app.scopes,
        token_ttl: Some(app.token_ttl),
        sender_constrained: app.sender_constrained,
        status: Some(app.status),
        created_at: Some(app.created_at),
        updated_at: Some(app.updated_at),
        deregistered_at: app.deregistered_at,
    }
}
