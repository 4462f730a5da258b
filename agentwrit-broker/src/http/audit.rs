//! `GET /v1/audit/events` for the operator and `GET /v1/app/audit/events` for an app.

use agentwrit_protocol::{AuditQuery, Event, EventType, ListResponse, Outcome};
use agentwrit_verify::{AppId, PathSegment, Subject, SubjectFilter};
use axum::{Json, extract::State};

use super::{Shared, client::CallingApp, errors::HttpError, query::Parameters};
use crate::{service::Error, store};

pub(super) async fn list(
    State(services): State<Shared>,
    parameters: Parameters,
) -> Result<Json<ListResponse<Event>>, HttpError> {
    events(&services, &parameters, None).await
}

pub(super) async fn list_own(
    State(services): State<Shared>,
    CallingApp(app_id): CallingApp,
    parameters: Parameters,
) -> Result<Json<ListResponse<Event>>, HttpError> {
    events(&services, &parameters, Some(app_id)).await
}

async fn events(
    services: &Shared,
    parameters: &Parameters,
    app_id: Option<AppId>,
) -> Result<Json<ListResponse<Event>>, HttpError> {
    let query = query(parameters, app_id)?;
    let (limit, offset) = (query.limit, query.offset);
    // Denials of this second are still being folded. The operator sees them all; an app, whose reads must not undo the
    // folding of all denials, sees its own, and those of its agents a second later. The trail can be read all the same
    // when the store takes no more.
    let flushed = match &query.app_id {
        None => services.ledger.write_all_denials().await,
        Some(app_id) => services.ledger.write_denials_about(&Subject::App(app_id.clone())).await,
    };
    if let Err(error) = flushed {
        tracing::warn!(component = "audit", %error, "denials wait for the store");
    }
    let found = services.ledger.read(move |reader| Ok::<_, Error>(reader.audit_events(&query)?)).await?;
    let next_cursor = found.next_cursor.map(|cursor| cursor.to_string());
    Ok(Json(ListResponse::new(found.events, found.total, limit, offset, next_cursor)))
}

fn query(parameters: &Parameters, app_id: Option<AppId>) -> Result<store::AuditQuery, HttpError> {
    parameters.only(&AuditQuery::PARAMETERS)?;
    let page = parameters.capped_page()?;
    Ok(store::AuditQuery {
        agent_id: parameters.identifier("agent_id", SubjectFilter::parse)?.map(|subject| subject.to_string()),
        task_id: parameters.identifier("task_id", PathSegment::parse)?.map(|task| task.to_string()),
        app_id,
        event_type: parameters.parsed("event_type", "the name of an event type", EventType::parse)?,
        outcome: parameters.parsed("outcome", "success or denied", Outcome::parse)?,
        since: parameters.time("since")?,
        until: parameters.time("until")?,
        limit: page.limit,
        offset: page.offset,
        cursor: page.after,
    })
}
