//! `awrit audit events`.

use std::{
    io::{self, Write},
    time::Duration,
};

use agentwrit_client::{Admin, AuditQuery, ListResponse, Page};
use agentwrit_verify::{
    PathSegment, SubjectFilter,
    audit::{Event, EventType, Outcome},
};
use clap::{Args, ValueEnum};

use super::{follow::Follow, time_argument::TimeArgument};
use crate::{
    context::Context,
    error::CliError,
    format::{self, to_the_second},
    output::{self, PageOptions, TableContent},
};

/// List the latest events, or pages from the oldest on; with --follow, print new ones as they are recorded
///
/// Without --limit, --offset and --cursor the latest events are listed, the newest last. Any of them lists a page, counted
/// from the oldest event.
#[derive(Args)]
#[command(after_help = "\
Times are RFC 3339, dates (UTC), or durations before now: 90s, 15m, 1h, 2d, 1w.

Examples:
  awrit audit events --last 50
  awrit audit events --event-type token_revoked --since 1h
  awrit audit events --since 2026-11-20 --until 2026-11-21 --outcome denied
  awrit audit events --outcome denied --follow
  awrit audit events --task-id invoice-1 --json | jq '.events[].detail'")]
pub(crate) struct Events {
    /// Acting subject: a SPIFFE id, `app:<app_id>` or `admin`
    #[arg(long, value_name = "SUBJECT", value_parser = subject)]
    agent_id: Option<SubjectFilter>,
    /// Task of the event
    #[arg(long, value_parser = task)]
    task_id: Option<PathSegment>,
    /// Type of the event, for example `token_revoked`
    #[arg(long, value_parser = event_type)]
    event_type: Option<EventType>,
    /// Outcome of the event
    #[arg(long, value_enum)]
    outcome: Option<OutcomeFilter>,
    /// Recorded at this time or later
    #[arg(long, value_name = "TIME", value_parser = TimeArgument::parse)]
    since: Option<TimeArgument>,
    /// Recorded at this time or earlier; a date includes its day
    #[arg(long, value_name = "TIME", value_parser = TimeArgument::parse, conflicts_with = "follow")]
    until: Option<TimeArgument>,
    /// Number of latest events to list [default: as many as fit the terminal, 100 elsewhere, 10 with --follow]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000), conflicts_with_all = ["limit", "offset", "cursor"])]
    last: Option<u64>,
    #[command(flatten)]
    page: PageOptions,
    /// Print the latest events, then every new one until interrupted; JSON is one event per line then
    #[arg(long, conflicts_with_all = ["offset", "cursor"])]
    follow: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum OutcomeFilter {
    Success,
    Denied,
}

impl Events {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (admin, now) = (context.admin()?, context.clock.now());
        let query = AuditQuery {
            agent_id: self.agent_id,
            task_id: self.task_id,
            event_type: self.event_type,
            outcome: self.outcome.map(|outcome| match outcome {
                OutcomeFilter::Success => Outcome::Success,
                OutcomeFilter::Denied => Outcome::Denied,
            }),
            since: self.since.map(|since| since.start(now)),
            until: self.until.map(|until| until.end(now)),
            page: self.page.page(),
        };
        if self.follow {
            let latest = self.last.or(self.page.limit);
            return Follow { admin, query, latest, output: context.output, pause: Duration::from_secs(1) }.run().await;
        }
        let is_page = query.page != Page::default();
        let listing = if is_page {
            admin.audit_events(&query).await?
        } else {
            latest(&admin, query, self.last.unwrap_or_else(|| context.output.rows())).await?
        };
        context.output.print(&listing, |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "No event matches.");
            }
            if let Some(TableContent { columns, rows }) = context.output.first_fitting(tables(&listing.entries)) {
                context.output.table(out, columns, rows)?;
            }
            if is_page { output::print_next_cursor(out, &listing) } else { print_earlier_count(out, &listing) }
        })
    }
}

/// Lists the last `wanted` events.
async fn latest(admin: &Admin, query: AuditQuery, wanted: u64) -> Result<ListResponse<Event>, CliError> {
    /// Largest number of events recorded meanwhile that are listed too.
    const MAX_RECORDED_MEANWHILE: u64 = 2000;
    let page = |limit, offset, cursor| Page { limit: Some(limit), offset, cursor };
    let one = AuditQuery { page: page(1, None, None), ..query.clone() };
    let total = admin.audit_events(&one).await?.total;
    let mut query = AuditQuery { page: page(1000, Some(total.saturating_sub(wanted)), None), ..query };
    let mut listing = admin.audit_events(&query).await?;
    let mut events = std::mem::take(&mut listing.entries);
    while let Some(cursor) = listing.next_cursor.take() {
        if events.len() as u64 > wanted.saturating_add(MAX_RECORDED_MEANWHILE) {
            break;
        }
        query.page = page(1000, None, Some(cursor));
        listing = admin.audit_events(&query).await?;
        events.append(&mut listing.entries);
    }
    let earlier = events.len().saturating_sub(usize::try_from(wanted).unwrap_or(usize::MAX));
    events.drain(..earlier);
    listing.entries = events;
    // Those of the last page.
    (listing.limit, listing.offset) = (None, None);
    Ok(listing)
}

/// Writes the number of events that are not listed, if any.
fn print_earlier_count(out: &mut dyn Write, listing: &ListResponse<Event>) -> io::Result<()> {
    let shown = listing.entries.len() as u64;
    if shown >= listing.total {
        return Ok(());
    }
    let (shown, total) = (format::number(shown), format::number(listing.total));
    writeln!(out, "\nthe latest {shown} of {total}; --last N lists more")
}

/// Returns tables of the events, each narrower than the one before.
fn tables(events: &[Event]) -> Vec<TableContent> {
    let table =
        |columns, row: fn(&Event) -> Vec<String>| TableContent { columns, rows: events.iter().map(row).collect() };
    vec![
        table(&["ID", "TIME", "TYPE", "OUTCOME", "SUBJECT", "TASK", "RESOURCE", "DETAIL"], row),
        table(&["ID", "TIME", "TYPE", "OUTCOME", "SUBJECT", "DETAIL"], |event| {
            let outcome = event.outcome.as_str().to_owned();
            vec![
                id(event),
                to_the_second(&event.timestamp),
                event_type_text(event),
                outcome,
                subject_text(event),
                event.detail.clone(),
            ]
        }),
        table(&["ID", "TIME (UTC)", "TYPE", "SUBJECT", "DETAIL"], |event| {
            let detail = match event.outcome {
                Outcome::Success => event.detail.clone(),
                Outcome::Denied => format!("denied: {}", event.detail),
            };
            vec![id(event), month_to_second(&event.timestamp), event_type_text(event), subject_text(event), detail]
        }),
    ]
}

fn id(event: &Event) -> String {
    event.id.to_string()
}

fn event_type_text(event: &Event) -> String {
    event.event_type.as_str().to_owned()
}

/// Returns the acting subject; for an agent the part after `/agent/` of its SPIFFE id.
fn subject_text(event: &Event) -> String {
    let subject = event.agent_id.as_deref().unwrap_or_default();
    subject.split_once("/agent/").map_or(subject, |(_, agent)| agent).to_owned()
}

fn row(event: &Event) -> Vec<String> {
    vec![
        id(event),
        to_the_second(&event.timestamp),
        event_type_text(event),
        event.outcome.as_str().to_owned(),
        event.agent_id.clone().unwrap_or_default(),
        event.task_id.clone().unwrap_or_default(),
        event.resource.clone().unwrap_or_default(),
        event.detail.clone(),
    ]
}

/// Shortens `2026-11-21T08:00:00.000001Z` to `11-21 08:00:00`.
fn month_to_second(timestamp: &str) -> String {
    let second = to_the_second(timestamp);
    let second = second.split_once('-').map_or(second.as_str(), |(_, rest)| rest);
    second.trim_end_matches('Z').replace('T', " ")
}

fn subject(text: &str) -> Result<SubjectFilter, String> {
    SubjectFilter::parse(text).map_err(|error| error.to_string())
}

fn task(text: &str) -> Result<PathSegment, String> {
    PathSegment::parse(text).map_err(|error| error.to_string())
}

fn event_type(text: &str) -> Result<EventType, String> {
    let names = || EventType::ALL.iter().map(|event_type| event_type.as_str()).collect::<Vec<_>>().join(" ");
    EventType::parse(text).ok_or_else(|| format!("unknown event type; known are {}", names()))
}
