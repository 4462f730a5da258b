//! `POST /v1/revoke`, `GET /v1/revocations/{cursor}/confirmation`, its `/evidence`, and `GET /v1/admin/revocations`.

use std::time::Duration;

use agentwrit_protocol::{
    ConfirmationResponse, ListResponse, Page, RequestError, RevocationRecord, RevocationRequest, RevocationResponse,
    limits::MAX_FEED_WAIT,
};
use agentwrit_tower::Verified;
use agentwrit_verify::{FeedCursor, Subject};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::header::CONTENT_TYPE;

use super::{
    Shared,
    body::JsonBody,
    client::Client,
    errors::HttpError,
    query::{Id, NoParameters, Parameters, list_response},
};
use crate::{domain::Revocation, feed::UnknownCursor, service::Error};

pub(super) async fn revoke(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    JsonBody(request, place): JsonBody<RevocationRequest>,
) -> Result<Json<RevocationResponse>, HttpError> {
    let (dry_run, wait) = (request.dry_run, request.wait);
    if dry_run && wait.is_some() {
        return Err(RequestError::invalid("wait", "a dry run revokes nothing that could be waited for").into());
    }
    let (level, target) = (Some(request.level), Some(request.text.clone()));
    let done = services
        .revocations
        .revoke(verified.subject().clone(), Some(verified.token().clone().into()), request, client)
        .await?;
    // The body is gone, and a wait is long.
    drop(place);
    let confirmation = match wait {
        Some(seconds) if done.ended.revoked => {
            confirmation_of(&services, &done.cursor, verified.subject(), seconds).await
        }
        // Nothing to wait for: the state of what was revoked before.
        Some(_) => logged(services.confirmations.state(&done.cursor).await, &done.cursor),
        None => None,
    };
    Ok(Json(RevocationResponse {
        revoked: done.ended.revoked,
        level,
        target,
        count: done.ended.count,
        cursor: Some(done.cursor),
        confirmation,
        dry_run: dry_run.then_some(true),
        agents: dry_run.then_some(done.agents),
        tasks: dry_run.then_some(done.tasks),
    }))
}

/// Waits for the confirmation of a change, which is durable: a failure of the wait must not look like one of it.
pub(super) async fn confirmation_of(
    services: &Shared,
    cursor: &FeedCursor,
    by: &Subject,
    wait: u64,
) -> Option<ConfirmationResponse> {
    logged(services.confirmations.await_confirmation(cursor, by, Duration::from_secs(wait)).await, cursor)
}

fn logged(found: Result<ConfirmationResponse, Error>, cursor: &FeedCursor) -> Option<ConfirmationResponse> {
    found
        .inspect_err(|error| tracing::error!(component = "http", %error, %cursor, "a confirmation could not be learnt"))
        .ok()
}

pub(super) async fn confirmation(
    State(services): State<Shared>,
    verified: Verified,
    Id(cursor): Id,
    parameters: Parameters,
) -> Result<Json<ConfirmationResponse>, HttpError> {
    parameters.only(&["wait"])?;
    let wait = parameters.number("wait", 0, MAX_FEED_WAIT)?.unwrap_or(0);
    let cursor = FeedCursor::parse(&cursor).map_err(|_| Error::UnknownCursor(UnknownCursor::Beyond))?;
    let wait = Duration::from_secs(wait);
    Ok(Json(services.confirmations.await_confirmation(&cursor, verified.subject(), wait).await?))
}

/// Evidence of a confirmation, as it was recorded: its digest is in the audit trail.
pub(super) async fn evidence(
    State(services): State<Shared>,
    Id(cursor): Id,
    _: NoParameters,
) -> Result<Response, HttpError> {
    let cursor = FeedCursor::parse(&cursor).map_err(|_| Error::NoEvidence)?;
    let document = services.confirmations.evidence(&cursor).await?;
    Ok(([(CONTENT_TYPE, "application/json")], document).into_response())
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
