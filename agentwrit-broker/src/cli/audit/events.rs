//! `awrit audit events`.

use std::time::Duration;

use agentwrit_client::AuditQuery;
use agentwrit_verify::{
    PathSegment, Subject, UnixTime,
    audit::{Event, EventType, Outcome},
};
use clap::{Args, ValueEnum};

use super::follow::Follow;
use crate::cli::{
    context::Context,
    error::CliError,
    paging::{self, Paging},
};

/// List events, the oldest first; with --follow, go on with new ones as they are recorded
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit audit events --event-type token_revoked --since 2026-11-21T08:00:00Z
  awrit audit events --outcome denied --follow
  awrit audit events --task-id invoice-1 --json | jq '.events[].detail'")]
pub(in crate::cli) struct Events {
    /// Acted by this subject: a SPIFFE id, `app:<app_id>` or `admin`
    #[arg(long, value_name = "SUBJECT", value_parser = subject)]
    agent_id: Option<Subject>,
    /// Belonging to this task
    #[arg(long, value_parser = task)]
    task_id: Option<PathSegment>,
    /// About this, for example `token_revoked`
    #[arg(long, value_parser = event_type)]
    event_type: Option<EventType>,
    /// Ended like this
    #[arg(long, value_enum)]
    outcome: Option<Ended>,
    /// Recorded at this time or later, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<UnixTime>,
    /// Recorded at this time or earlier, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "follow")]
    until: Option<UnixTime>,
    #[command(flatten)]
    paging: Paging,
    /// Show the latest events, then every new one until interrupted; JSON is one event a line then
    #[arg(long, conflicts_with_all = ["offset", "cursor"])]
    follow: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Ended {
    Success,
    Denied,
}

impl Events {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let admin = context.admin()?;
        let query = AuditQuery {
            agent_id: self.agent_id,
            task_id: self.task_id,
            event_type: self.event_type,
            outcome: self.outcome.map(|ended| match ended {
                Ended::Success => Outcome::Success,
                Ended::Denied => Outcome::Denied,
            }),
            since: self.since,
            until: self.until,
            page: self.paging.page(),
        };
        if self.follow {
            return Follow { admin, query, output: context.output, pause: Duration::from_secs(1) }.run().await;
        }
        let listing = admin.audit_events(&query).await?;
        context.output.show(&paging::answer("events", &listing), |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "No event matches.");
            }
            let columns = ["ID", "TIME", "TYPE", "OUTCOME", "WHO", "TASK", "RESOURCE", "DETAIL"];
            context.output.table(out, &columns, listing.entries.iter().map(row))?;
            paging::say_more(out, &listing)
        })
    }
}

fn row(event: &Event) -> Vec<String> {
    vec![
        event.id.to_string(),
        to_the_second(&event.timestamp),
        event.event_type.as_str().to_owned(),
        event.outcome.as_str().to_owned(),
        event.agent_id.clone().unwrap_or_default(),
        event.task_id.clone().unwrap_or_default(),
        event.resource.clone().unwrap_or_default(),
        event.detail.clone(),
    ]
}

/// `2026-11-21T08:00:00.000001Z` without its fraction: the id orders events of one second.
pub(super) fn to_the_second(timestamp: &str) -> String {
    timestamp.split_once('.').map_or_else(|| timestamp.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

fn subject(text: &str) -> Result<Subject, String> {
    Subject::parse(text).map_err(|error| error.to_string())
}

fn task(text: &str) -> Result<PathSegment, String> {
    PathSegment::parse(text).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<UnixTime, String> {
    UnixTime::parse_rfc3339(text).map_err(|error| error.to_string())
}

fn event_type(text: &str) -> Result<EventType, String> {
    let names = || EventType::ALL.iter().map(|event_type| event_type.as_str()).collect::<Vec<_>>().join(" ");
    EventType::parse(text).ok_or_else(|| format!("there is no such type of event; there are {}", names()))
}
