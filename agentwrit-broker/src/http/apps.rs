//! `/v1/admin/apps`, `/v1/admin/apps/{id}`, and its `suspend` and `resume`.

use agentwrit_protocol::{
    AppUpdateRequest,
    limits::{MAX_TOKEN_TTL, MIN_APP_TOKEN_TTL},
};
use agentwrit_tower::Verified;
use agentwrit_verify::AppId;
use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Shared,
    client::Client,
    members::{JsonBody, Member, Scopes, Seconds, Text},
    parameters::{Id, MAX_PAGE, NoParameters, Parameters},
    problem::Failure,
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
    body: JsonBody<NewAppRequest>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let name = AppName::parse(body.name.text("name")?).map_err(|error| Error::invalid("name", error.to_string()))?;
    let scopes = body.scopes.scopes("scopes")?;
    let token_ttl = body.token_ttl.lifetime("token_ttl", MIN_APP_TOKEN_TTL, MAX_TOKEN_TTL)?;
    let (app, secret) =
        services.apps.create(Some(verified.token_id()), NewApp { name, scopes, token_ttl }, client).await?;
    let mut answer = json!(AppView::of(&app));
    if let Some(members) = answer.as_object_mut() {
        members.insert(String::from("client_secret"), json!(secret.expose()));
    }
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(super) async fn list(State(services): State<Shared>, parameters: Parameters) -> Result<Json<Value>, Failure> {
    parameters.only(&["limit", "offset"])?;
    let limit = parameters.number("limit", 1, MAX_PAGE)?.unwrap_or(MAX_PAGE);
    let offset = parameters.number("offset", 0, u64::MAX)?.unwrap_or(0);
    let (apps, total) = services.apps.list(limit, offset).await?;
    let apps: Vec<AppView> = apps.iter().map(AppView::of).collect();
    Ok(Json(json!({ "apps": apps, "total": total })))
}

pub(super) async fn show(State(services): State<Shared>, Id(id): Id, _: NoParameters) -> Result<Json<Value>, Failure> {
    let app = services.apps.find(app_id(&id)?).await?;
    Ok(Json(json!(AppView::of(&app))))
}

pub(super) async fn update(
    State(services): State<Shared>,
    Id(id): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    body: JsonBody<AppChangeRequest>,
) -> Result<Json<Value>, Failure> {
    let scopes = body.scopes.optional_scopes("scopes")?;
    let token_ttl = body.token_ttl.lifetime("token_ttl", MIN_APP_TOKEN_TTL, MAX_TOKEN_TTL)?;
    if scopes.is_none() && token_ttl.is_none() {
        return Err(Failure::BadBody(String::from("scopes or token_ttl: one of them is required")));
    }
    let app = services
        .apps
        .update(Some(verified.token_id()), app_id(&id)?, AppUpdateRequest { scopes, token_ttl }, client)
        .await?;
    Ok(Json(json!(AppView::of(&app))))
}

pub(super) async fn suspend(
    State(services): State<Shared>,
    Id(id): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
) -> Result<Json<Value>, Failure> {
    let app = services.apps.suspend(Some(verified.token_id()), app_id(&id)?, client).await?;
    Ok(Json(json!(AppView::of(&app))))
}

pub(super) async fn resume(
    State(services): State<Shared>,
    Id(id): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
) -> Result<Json<Value>, Failure> {
    let app = services.apps.resume(Some(verified.token_id()), app_id(&id)?, client).await?;
    Ok(Json(json!(AppView::of(&app))))
}

pub(super) async fn deregister(
    State(services): State<Shared>,
    Id(id): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
) -> Result<Json<Value>, Failure> {
    let app = services.apps.deregister(Some(verified.token_id()), app_id(&id)?, client).await?;
    Ok(Json(json!({
        "app_id": app.app_id, "status": app.status.as_str(), "deregistered_at": app.deregistered_at,
    })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NewAppRequest {
    name: Member<Text<64>>,
    scopes: Member<Scopes>,
    token_ttl: Member<Seconds>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AppChangeRequest {
    scopes: Member<Scopes>,
    token_ttl: Member<Seconds>,
}

/// A text that can't be an app's id names no app.
fn app_id(text: &str) -> Result<AppId, Error> {
    AppId::parse(text).map_err(|_| Error::AppUnknown)
}

/// An app as clients see it: no secret, not even its digest.
#[derive(Serialize)]
struct AppView<'a> {
    app_id: &'a AppId,
    client_id: &'a str,
    name: &'a str,
    scopes: &'a agentwrit_verify::ScopeSet,
    token_ttl: u64,
    status: &'static str,
    created_at: agentwrit_verify::UnixTime,
    updated_at: agentwrit_verify::UnixTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    deregistered_at: Option<agentwrit_verify::UnixTime>,
}

impl<'a> AppView<'a> {
    fn of(app: &'a App) -> Self {
        Self {
            app_id: &app.app_id,
            client_id: &app.client_id,
            name: app.name.as_str(),
            scopes: &app.scopes,
            token_ttl: app.token_ttl,
            status: app.status.as_str(),
            created_at: app.created_at,
            updated_at: app.updated_at,
            deregistered_at: app.deregistered_at,
        }
    }
}
