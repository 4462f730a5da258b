//! The operator's requests: health, ceiling, live agents, audit trail, revocation.

use agentwrit_client::{
    Admin, AppRecord, AuditQuery, ClientError, HealthResponse, ListedState, Page, RevocationTarget, TokenQuery,
    TokenRecord,
};
use agentwrit_protocol::Event;
use agentwrit_verify::{AppId, Level, Subject};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use super::PageError;
use crate::broker::ConnectedApp;

/// Largest number of tokens that the page lists.
const LISTED_TOKENS: u64 = 200;

/// Largest page of the audit trail.
const LISTED_EVENTS: u64 = 1000;

/// Longest reason of a revocation, in bytes (contract §6).
const MAX_REASON: usize = 512;

/// Builds the requests of the operator's panels. Without the operator's secret each is rejected.
pub fn operator_routes(broker: ConnectedApp) -> Router {
    Router::new()
        .route("/api/operator", get(overview))
        .route("/api/audit", get(audit))
        .route("/api/revocations", post(revoke))
        .with_state(broker)
}

#[derive(Serialize)]
struct Overview {
    broker: String,
    health: HealthResponse,
    app: Option<AppRecord>,
    /// Live tokens of the app's agents, the oldest first: a released agent holds none.
    tokens: Vec<TokenRecord>,
    /// Whether there are more.
    has_more: bool,
}

async fn overview(State(broker): State<ConnectedApp>) -> Result<Json<Overview>, PageError> {
    let admin = broker.admin.as_ref().ok_or(PageError::NoOperator)?;
    let client = broker.app.client();
    let health = client.health().await?;
    let app = admin.apps().await?.into_iter().find(|app| app.client_id == broker.client_id);
    let (tokens, has_more) = match &app {
        Some(app) => live_tokens(admin, &app.app_id).await?,
        // A query without an app lists the tokens of all apps.
        None => (Vec::new(), false),
    };
    Ok(Json(Overview { broker: client.url().to_owned(), health, app, tokens, has_more }))
}

/// Returns the live tokens of an app's agents, and whether there are more than the page lists.
async fn live_tokens(admin: &Admin, app: &AppId) -> Result<(Vec<TokenRecord>, bool), ClientError> {
    let page = Page { limit: Some(LISTED_TOKENS), ..Page::default() };
    let query = TokenQuery { app_id: Some(app.clone()), state: ListedState::Live, page, ..TokenQuery::default() };
    let listed = admin.tokens(&query).await?;
    let mut tokens = listed.entries;
    // The app's own token is among them.
    tokens.retain(|token| matches!(token.sub, Subject::Agent(_)));
    Ok((tokens, listed.next_cursor.is_some()))
}

#[derive(Deserialize)]
struct AuditPage {
    cursor: Option<String>,
}

#[derive(Serialize)]
struct AuditEvents {
    events: Vec<Event>,
    total: u64,
    next_cursor: Option<String>,
}

/// Returns a page of the whole trail, the oldest event first: the page verifies the chain.
async fn audit(
    State(broker): State<ConnectedApp>,
    Query(page): Query<AuditPage>,
) -> Result<Json<AuditEvents>, PageError> {
    let admin = broker.admin.as_ref().ok_or(PageError::NoOperator)?;
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
struct Revoked {
    known: bool,
    dry_run: bool,
    tokens: u64,
    agents: Option<u64>,
    tasks: Option<u64>,
}

async fn revoke(State(broker): State<ConnectedApp>, body: Bytes) -> Result<Json<Revoked>, PageError> {
    let admin = broker.admin.as_ref().ok_or(PageError::NoOperator)?;
    let request: Revocation =
        agentwrit_json::object_from_slice(&body, 2).map_err(|error| PageError::Invalid(error.to_string()))?;
    let level = match &*request.level {
        "token" => Level::Token,
        "agent" => Level::Agent,
        "task" => Level::Task,
        "chain" => Level::Chain,
        _ => return Err(PageError::Invalid("the level is token, agent, task or chain".to_owned())),
    };
    let target = RevocationTarget::parse(level, request.target.trim());
    let target =
        target.ok_or_else(|| PageError::Invalid(format!("the target is no {} that can exist", request.level)))?;
    let reason = Some(request.reason.trim()).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.len() > MAX_REASON) {
        return Err(PageError::Invalid(format!("the reason has at most {MAX_REASON} bytes")));
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
