//! `POST /v1/revoke` and `GET /v1/admin/revocations`.

use agentwrit_protocol::{ListResponse, Page, RequestError, RevocationRecord, RevocationRequest, RevocationResponse};
use agentwrit_tower::Verified;
use axum::{Json, extract::State};

use super::{
    Shared,
    body::JsonBody,
    client::Client,
    errors::HttpError,
    query::{NoParameters, Parameters, list_response},
};
use crate::{domain::Revocation, service::Error};

pub(super) async fn revoke(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<RevocationRequest>,
) -> Result<Json<RevocationResponse>, HttpError> {
    let dry_run = request.dry_run;
    if dry_run && request.wait.is_some() {
        return Err(RequestError::invalid("wait", "a dry run revokes nothing that could be waited for").into());
    }
    let (level, target) = (Some(request.level), Some(request.text.clone()));
    let done =
        services.revocations.revoke(verified.subject().clone(), Some(verified.token_id()), request, client).await?;
    Ok(Json(RevocationResponse {
        revoked: done.ended.revoked,
        level,
        target,
        count: done.ended.count,
        cursor: Some(done.cursor),
        confirmation: None,
        dry_run: dry_run.then_some(true),
        agents: dry_run.then_some(done.agents),
        tasks: dry_run.then_some(done.tasks),
    }))
}

pub(super) async fn list(
    State(services): State<Shared>,
    parameters: Parameters,
) -> Result<Json<ListResponse<RevocationRecord>>, HttpError> {
    parameters.only(&Page::PARAMETERS)?;
    let page = parameters.page()?;
    let now = services.ledger.now();
    let (rows, total) =
        services.ledger.read(move |reader| Ok::<_, Error>(reader.listed_revocations(now, &page)?)).await?;
    let entries = rows.into_iter().map(|row| (row.cursor, record(row.revocation)));
    Ok(Json(list_response(entries, total, &page)))
}

fn record(revocation: Revocation) -> RevocationRecord {
    RevocationRecord {
        level: revocation.level,
        target: revocation.target,
        revoked_at: revocation.revoked_at,
        expires_at: revocation.expires_at,
        revoked_by: revocation.revoked_by.to_string(),
        reason: revocation.reason,
    }
}
