//! The operator's requests: health, ceiling, live agents, audit trail, revocation.

use agentwrit_client::{
    AppRecord, AuditQuery, HealthResponse, ListedState, Page, RevocationTarget, TokenQuery, TokenRecord,
};
use agentwrit_protocol::Event;
use agentwrit_verify::{Level, Subject};
use axum::{
    Json,
    body::Bytes,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};

use super::{Web, error::WebError};

/// Largest number of tokens that the page lists.
const LISTED_TOKENS: u64 = 200;

/// Largest page of the audit trail.
const LISTED_EVENTS: u64 = 1000;

/// Longest reason of a revocation, in bytes (contract §6).
const MAX_REASON: usize = 512;

#[derive(Serialize)]
pub(super) struct Overview {
    broker: String,
    health: HealthResponse,
    app: Option<AppRecord>,
    /// Live tokens of the app's agents: a released agent holds none.
    tokens: Vec<TokenRecord>,
}

pub(super) async fn overview(State(web): State<Web>) -> Result<Json<Overview>, WebError> {
    let admin = web.parties.admin.as_ref().ok_or(WebError::NoOperator)?;
    let client = web.parties.app.client();
    let health = client.health().await?;
    let app = admin.apps().await?.into_iter().find(|app| app.client_id == web.parties.client_id);
    let page = Page { limit: Some(LISTED_TOKENS), ..Page::default() };
    let query = TokenQuery {
        app_id: app.as_ref().map(|app| app.app_id.clone()),
        state: ListedState::Live,
        page,
        ..TokenQuery::default()
    };
    let mut tokens = admin.tokens(&query).await?.entries;
    tokens.retain(|token| matches!(token.sub, Subject::Agent(_)));
    Ok(Json(Overview { broker: client.url().to_owned(), health, app, tokens }))
}

#[derive(Deserialize)]
pub(super) struct AuditPage {
    cursor: Option<String>,
}

#[derive(Serialize)]
pub(super) struct AuditEvents {
    events: Vec<Event>,
    total: u64,
    next_cursor: Option<String>,
}

/// Returns a page of the whole trail, the oldest event first: the page verifies the chain.
pub(super) async fn audit(
    State(web): State<Web>,
    Query(page): Query<AuditPage>,
) -> Result<Json<AuditEvents>, WebError> {
    let admin = web.parties.admin.as_ref().ok_or(WebError::NoOperator)?;
    let page = Page { limit: Some(LISTED_EVENTS), offset: None, cursor: page.cursor };
    let events = admin.audit_events(&AuditQuery { page, ..AuditQuery::default() }).await?;
    Ok(Json(AuditEvents { total: events.total, next_cursor: events.next_cursor, events: events.entries }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    level: String,
    target: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

/// Result of a revocation or of a dry run.
#[derive(Serialize)]
pub(super) struct Revoked {
    known: bool,
    dry_run: bool,
    tokens: u64,
    agents: Option<u64>,
    tasks: Option<u64>,
}

pub(super) async fn revoke(State(web): State<Web>, body: Bytes) -> Result<Json<Revoked>, WebError> {
    let admin = web.parties.admin.as_ref().ok_or(WebError::NoOperator)?;
    let request: Revocation =
        agentwrit_json::object_from_slice(&body, 2).map_err(|error| WebError::Invalid(error.to_string()))?;
    let level = match &*request.level {
        "token" => Level::Token,
        "agent" => Level::Agent,
        "task" => Level::Task,
        "chain" => Level::Chain,
        _ => return Err(WebError::Invalid("the level is token, agent, task or chain".to_owned())),
    };
    let target = RevocationTarget::parse(level, request.target.trim());
    let target =
        target.ok_or_else(|| WebError::Invalid(format!("the target is no {} that can exist", request.level)))?;
    let reason = Some(request.reason.trim()).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.len() > MAX_REASON) {
        return Err(WebError::Invalid(format!("the reason has at most {MAX_REASON} bytes")));
    }
    let response =
        if request.dry_run { admin.preview_revocation(&target).await? } else { admin.revoke(&target, reason).await? };
    Ok(Json(Revoked {
        known: response.revoked,
        dry_run: request.dry_run,
        tokens: response.count,
        agents: response.agents,
        tasks: response.tasks,
    }))
}
