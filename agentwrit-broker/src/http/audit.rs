//! `GET /v1/audit/events` for the operator, `GET /v1/app/audit/events` and `GET /v1/app/agents` for an app.

use agentwrit_tower::Verified;
use agentwrit_verify::{AppId, PathSegment, Subject, SubjectFilter, UnixTime};
use axum::{Json, extract::State};
use serde_json::{Map, Value, json};

use super::{Shared, lists, parameters::Parameters, problem::Failure};
use crate::{
    audit::{EventType, Outcome},
    domain::AgentRecord,
    service::Error,
    store::AuditQuery,
};

pub(super) async fn all_events(State(services): State<Shared>, parameters: Parameters) -> Result<Json<Value>, Failure> {
    events(&services, &parameters, None).await
}

pub(super) async fn own_events(
    State(services): State<Shared>,
    verified: Verified,
    parameters: Parameters,
) -> Result<Json<Value>, Failure> {
    let app_id = app_of(&verified)?.clone();
    events(&services, &parameters, Some(app_id)).await
}

pub(super) async fn own_agents(
    State(services): State<Shared>,
    verified: Verified,
    parameters: Parameters,
) -> Result<Json<Value>, Failure> {
    parameters.only(&["limit", "offset", "cursor"])?;
    let app_id = app_of(&verified)?.clone();
    let page = parameters.page()?;
    let (agents, total) = services.ledger.read(move |reader| Ok::<_, Error>(reader.agents_of(&app_id, &page)?)).await?;
    let now = services.ledger.now();
    let entries = agents.iter().map(|(cursor, agent)| (*cursor, view(agent, now))).collect();
    Ok(Json(lists::answer("agents", entries, total, &page)))
}

const FILTERS: [&str; 9] =
    ["agent_id", "task_id", "event_type", "outcome", "since", "until", "limit", "offset", "cursor"];

async fn events(services: &Shared, parameters: &Parameters, app_id: Option<AppId>) -> Result<Json<Value>, Failure> {
    parameters.only(&FILTERS)?;
    let page = parameters.capped_page()?;
    let query = AuditQuery {
        agent_id: parameters.name("agent_id", SubjectFilter::parse)?.map(|subject| subject.to_string()),
        task_id: parameters.name("task_id", PathSegment::parse)?.map(|task| task.to_string()),
        app_id,
        event_type: parameters.parsed("event_type", "the name of an event type", EventType::parse)?,
        outcome: parameters.parsed("outcome", "success or denied", Outcome::parse)?,
        since: parameters.time("since")?,
        until: parameters.time("until")?,
        limit: page.limit,
        offset: page.offset,
        cursor: page.after,
    };
    // Refusals of this second are still being folded. The operator sees them all; an app, whose reads must not undo the
    // folding of everybody's, sees its own, and those of its agents a second later. The trail can be read all the same
    // when the store takes no more.
    let flushed = match &query.app_id {
        None => services.ledger.write_all_denials().await,
        Some(app_id) => services.ledger.write_denials_about(&Subject::App(app_id.clone())).await,
    };
    if let Err(error) = flushed {
        tracing::warn!(component = "audit", %error, "refusals wait for the store");
    }
    let found = services.ledger.read(move |reader| Ok::<_, Error>(reader.audit_events(&query)?)).await?;
    let mut answer = Map::new();
    answer.insert(String::from("events"), json!(found.events));
    answer.insert(String::from("total"), json!(found.total));
    answer.insert(String::from("offset"), json!(page.offset));
    answer.insert(String::from("limit"), json!(page.limit));
    if let Some(cursor) = found.next_cursor {
        answer.insert(String::from("next_cursor"), json!(cursor.to_string()));
    }
    Ok(Json(Value::Object(answer)))
}

fn app_of(verified: &Verified) -> Result<&AppId, Error> {
    match verified.subject() {
        Subject::App(app_id) => Ok(app_id),
        Subject::Agent(_) | Subject::Admin => Err(Error::WrongSubject("only an app may do this")),
    }
}

fn view(agent: &AgentRecord, now: UnixTime) -> Value {
    let status = if agent.revoked_at.is_some() {
        "revoked"
    } else if agent.expires_at <= now {
        "expired"
    } else {
        "active"
    };
    json!({
        "agent_id": agent.agent_id,
        "orch_id": agent.agent_id.orch_id(),
        "task_id": agent.agent_id.task_id(),
        "scope": agent.scope,
        "registered_at": agent.registered_at,
        "expires_at": agent.expires_at,
        "status": status,
    })
}
