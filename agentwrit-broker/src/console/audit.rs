//! `/console/audit`: the trail, and its verification.

use std::time::Duration;

use agentwrit_protocol::{Event, EventType, Outcome};
use agentwrit_verify::{PathSegment, SubjectFilter, UnixTime};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::time::{Instant, sleep};

use super::{
    Console,
    error::ConsoleError,
    fields::{Action, Fields, query},
    format::number,
    frame::Frame,
    live::{LONGEST_WAIT, Live},
    page::{Operator, render},
};
use crate::{
    service::Error,
    store::{AuditQuery, StoreError},
};

/// Number of events on a page.
const PAGE: u64 = 100;
/// Number of events that a verification reads.
const VERIFIED: u64 = 10_000;

/// Pause between two reads of a request that waits: brokers of one database do not tell each other of events.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditPage {
    frame: Frame,
    fields: Fields,
    types: Vec<(&'static str, bool)>,
    outcome: String,
    total: String,
    /// Number of the newest event, 0 without one.
    newest: u64,
    events: Vec<EventRow>,
    /// Query of the export.
    export: String,
    /// Queries of the pages of older and newer events.
    older: Option<String>,
    newer: Option<String>,
}

/// An event.
pub(super) struct EventRow {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) event_type: &'static str,
    pub(super) outcome: &'static str,
    pub(super) actor: String,
    /// Query of the page of the actor, if it is an agent.
    pub(super) query: Option<String>,
    pub(super) task: String,
    pub(super) resource: String,
    pub(super) detail: String,
}

impl EventRow {
    pub(super) fn of(event: &Event) -> Self {
        let actor = event.agent_id.clone().unwrap_or_default();
        Self {
            id: event.id.to_string(),
            time: event.timestamp.clone(),
            event_type: event.event_type.as_str(),
            outcome: event.outcome.as_str(),
            query: actor.starts_with("spiffe://").then(|| query("id", &actor)),
            actor,
            task: event.task_id.clone().unwrap_or_default(),
            resource: event.resource.clone().unwrap_or_default(),
            detail: event.detail.clone(),
        }
    }

    /// Returns the day of the event, of a time like `2026-11-21T08:00:00.123456Z`.
    pub(super) fn date(&self) -> &str {
        self.time.split('T').next().unwrap_or(&self.time)
    }

    /// Returns the time of day in milliseconds.
    pub(super) fn time_of_day(&self) -> &str {
        self.time.get(11..23).unwrap_or_default()
    }

    /// Returns the actor without what all SPIFFE ids of agents begin with.
    pub(super) fn short_actor(&self) -> &str {
        self.actor.split_once("/agent/").map_or(self.actor.as_str(), |(_, path)| path)
    }

    pub(super) fn is_denied(&self) -> bool {
        self.outcome == Outcome::Denied.as_str()
    }
}

pub(super) async fn list(
    State(console): State<Console>,
    mut operator: Operator,
    fields: Fields,
    live: Live,
) -> Result<Response, ConsoleError> {
    let (filter, skipped) = (filter(&fields)?, fields.number("skip")?.unwrap_or(0));
    let (event_type, outcome) = (filter.event_type, filter.outcome);
    if let Some(shown) = live.waits_beyond().and_then(|shown| shown.parse().ok()) {
        wait_for_event(&console, AuditQuery { cursor: shown, limit: 1, ..filter.clone() }).await?;
        operator = live.operator(&console).await?;
    }
    let (events, total) = newest(&console, filter, skipped, PAGE).await?;
    let older = (total > skipped.saturating_add(PAGE)).then(|| skipped.saturating_add(PAGE));
    let newer = (skipped > 0).then(|| skipped.saturating_sub(PAGE));
    let link = |skip: u64| fields.query_with("skip", &skip.to_string());
    render(&AuditPage {
        frame: operator.frame("Audit"),
        types: EventType::ALL.iter().map(|known| (known.as_str(), Some(*known) == event_type)).collect(),
        outcome: outcome.map(Outcome::as_str).unwrap_or_default().to_owned(),
        total: number(total),
        newest: events.last().map_or(0, |event| event.id.sequence()),
        events: events.iter().rev().map(EventRow::of).collect(),
        export: fields.query_with("skip", ""),
        older: older.map(link),
        newer: newer.map(link),
        fields,
    })
}

/// Waits until an event matches, for [`LONGEST_WAIT`] at most and until the broker stops.
async fn wait_for_event(console: &Console, next: AuditQuery) -> Result<(), ConsoleError> {
    let (mut stopping, until) = (console.services.stopping.subscribe(), Instant::now() + LONGEST_WAIT);
    while Instant::now() < until {
        let query = next.clone();
        let read = console.services.ledger.read(move |reader| Ok::<_, Error>(reader.audit_events(&query)?.events));
        if !read.await?.is_empty() {
            return Ok(());
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = stopping.wait_for(|stop| *stop) => return Ok(()),
        }
    }
    Ok(())
}

/// Sends the newest events that match as a file, oldest first, one JSON object in each line.
pub(super) async fn export(
    State(console): State<Console>,
    _: Operator,
    fields: Fields,
) -> Result<Response, ConsoleError> {
    let (events, _) = newest(&console, filter(&fields)?, 0, AuditQuery::MAX_LIMIT).await?;
    let mut lines = String::new();
    for event in &events {
        let line = serde_json::to_string(event).map_err(|error| StoreError::Internal { cause: error.to_string() })?;
        lines.push_str(&line);
        lines.push('\n');
    }
    let name = (CONTENT_DISPOSITION, "attachment; filename=\"audit.jsonl\"");
    Ok(([(CONTENT_TYPE, "application/jsonl"), name], lines).into_response())
}

fn filter(fields: &Fields) -> Result<AuditQuery, ConsoleError> {
    let time = |name| fields.parsed(name, UnixTime::parse_rfc3339);
    Ok(AuditQuery {
        agent_id: fields.parsed("actor", SubjectFilter::parse)?.map(|subject| subject.to_string()),
        task_id: fields.parsed("task", PathSegment::parse)?.map(|task| task.to_string()),
        event_type: fields.parsed("type", |text| EventType::parse(text).ok_or("is not an event type"))?,
        outcome: fields.parsed("outcome", |text| Outcome::parse(text).ok_or("must be success or denied"))?,
        since: time("since")?,
        until: time("until")?,
        ..AuditQuery::default()
    })
}

/// Returns the newest events that match but for `skipped` ones, oldest first, and the number of all.
async fn newest(
    console: &Console,
    filter: AuditQuery,
    skipped: u64,
    limit: u64,
) -> Result<(Vec<Event>, u64), ConsoleError> {
    if let Err(error) = console.services.ledger.write_all_denials().await {
        tracing::warn!(component = "console", %error, "denials wait for the store");
    }
    let read = console.services.ledger.read(move |reader| {
        let total = reader.audit_events(&AuditQuery { limit: 0, ..filter.clone() })?.total;
        let end = total.saturating_sub(skipped);
        let limit = limit.min(end);
        let query = AuditQuery { limit, offset: end.saturating_sub(limit), ..filter };
        Ok::<_, Error>((reader.audit_events(&query)?.events, total))
    });
    Ok(read.await?)
}

#[derive(Template)]
#[template(path = "console/audit_verdict.html")]
struct VerdictPage {
    frame: Frame,
    /// Number of events that were verified, and of all.
    verified: String,
    total: String,
    problem: Option<String>,
}

pub(super) async fn verify(
    State(console): State<Console>,
    Action { operator, .. }: Action,
) -> Result<Response, ConsoleError> {
    let turn = console.services.pools.long_read().await;
    let read = console.services.ledger.read(move |reader| {
        let _turn = turn;
        let total = reader.audit_total()?;
        let problem = reader.walk_tail(VERIFIED)?.verdict().err().map(|error| error.to_string());
        Ok::<_, Error>((total, problem))
    });
    let (total, problem) = read.await?;
    let (verified, total) = (number(total.min(VERIFIED)), number(total));
    render(&VerdictPage { frame: operator.frame("Audit"), verified, total, problem })
}
