//! `/v1/admin/launch-tokens` and `POST /v1/app/launch-tokens`: the subject of the caller's token owns the launch token.

use agentwrit_protocol::{
    LaunchTokenPolicy, LaunchTokenRecord, LaunchTokenRequest, LaunchTokenResponse, ListResponse, Page,
};
use agentwrit_tower::Verified;
use agentwrit_verify::Subject;
use axum::{Json, extract::State};
use http::StatusCode;

use super::{
    Shared,
    body::{DrainedBody, JsonBody},
    client::Client,
    errors::HttpError,
    query::{Id, NoParameters, Parameters, list_response},
};
use crate::{
    domain::{LaunchToken, LaunchTokenId},
    service::Error,
};

pub(super) async fn issue(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    body: Result<JsonBody<LaunchTokenRequest>, HttpError>,
) -> Result<(StatusCode, Json<LaunchTokenResponse>), HttpError> {
    let creator = verified.subject().clone();
    let body = body.and_then(|body| check_scopes(&body.0, &creator).map(|()| body).map_err(HttpError::from));
    let JsonBody(request, _place) =
        body.inspect_err(|error| services.launch_tokens.deny(&creator, &error.as_service_error(), client))?;
    let (token, secret) =
        services.launch_tokens.issue(creator, Some(verified.token().clone().into()), request, client).await?;
    let response = LaunchTokenResponse {
        launch_token: secret,
        launch_token_id: Some(token.id.to_string()),
        expires_at: token.expires_at,
        policy: LaunchTokenPolicy {
            allowed_scope: token.allowed_scope,
            max_ttl: token.max_ttl,
            sender_constrained: token.sender_constrained,
        },
    };
    Ok((StatusCode::CREATED, Json(response)))
}

/// Rejects scopes that are the broker's own: no app's ceiling covers them, and no operator can grant them.
fn check_scopes(request: &LaunchTokenRequest, creator: &Subject) -> Result<(), Error> {
    match (creator, request.reserved_scope()) {
        (Subject::App(_), Some(scope)) => Err(Error::ExceedsCeiling { scope: scope.clone() }),
        (Subject::App(_), None) => Ok(()),
        (Subject::Admin | Subject::Agent(_), _) => Ok(request.check_reserved()?),
    }
}

pub(super) async fn list(
    State(services): State<Shared>,
    parameters: Parameters,
) -> Result<Json<ListResponse<LaunchTokenRecord>>, HttpError> {
    parameters.only(&Page::PARAMETERS)?;
    let page = parameters.page()?;
    let now = services.ledger.now();
    let (tokens, total) = services.ledger.read(move |reader| Ok::<_, Error>(reader.launch_tokens(now, &page)?)).await?;
    let entries = tokens.into_iter().map(|(cursor, token)| (cursor, record(token)));
    Ok(Json(list_response(entries, total, &page)))
}

pub(super) async fn delete(
    State(services): State<Shared>,
    Id(id): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    _: DrainedBody,
) -> Result<StatusCode, HttpError> {
    let id = LaunchTokenId::parse(&id).map_err(|_| Error::NoSuchLaunchToken)?;
    services
        .launch_tokens
        .delete(verified.subject().clone(), Some(verified.token().clone().into()), id, client)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn record(token: LaunchToken) -> LaunchTokenRecord {
    LaunchTokenRecord {
        launch_token_id: token.id.to_string(),
        agent_name: token.agent_name,
        allowed_scope: token.allowed_scope,
        max_ttl: token.max_ttl,
        single_use: token.single_use,
        sender_constrained: token.sender_constrained,
        created_at: token.created_at,
        expires_at: token.expires_at,
        created_by: token.created_by,
        app_id: token.app_id,
        orch_id: token.orch_id,
        task_id: token.task_id,
        consumed_at: token.consumed_at,
    }
}
