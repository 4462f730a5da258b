//! `awrit audit events --follow`: new events as they are recorded.

use std::{
    io::{self, Write},
    time::Duration,
};

use agentwrit_client::{Admin, AuditQuery, Page};
use agentwrit_verify::{
    audit::{Event, EventId, text::printable},
    http_client::{Backoff, random_fraction},
};

use crate::{
    error::{CliError, is_transient, write_stderr},
    format::to_the_second,
    output::Output,
};

/// Number of events to begin with.
const DEFAULT_LATEST: u64 = 10;

/// Pauses between attempts when the broker cannot be reached.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(30)).least_share(0.5);

pub(super) struct Follow {
    pub(super) admin: Admin,
    pub(super) query: AuditQuery,
    /// Number of events to begin with.
    pub(super) latest: Option<u64>,
    pub(super) output: Output,
    pub(super) pause: Duration,
}

impl Follow {
    /// Runs until stdout is closed or the broker rejects the request.
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut query = AuditQuery { page: self.first_page().await?, ..self.query.clone() };
        let mut failures = 0_u32;
        loop {
            let pause = match self.admin.audit_events(&query).await {
                Ok(listing) => {
                    failures = 0;
                    self.print(&listing.entries)?;
                    let last = listing.entries.last().map(|event| event.id);
                    query.page = after(last).unwrap_or(query.page);
                    if listing.next_cursor.is_some() && last.is_some() {
                        continue; // the next page exists already
                    }
                    self.pause
                }
                Err(error) if is_transient(&error) => {
                    let pause = BACKOFF.delay(failures, random_fraction()).max(error.retry_after().unwrap_or_default());
                    failures = failures.saturating_add(1);
                    let seconds = pause.as_secs().max(1);
                    write_stderr(format_args!("awrit: {}; trying again in {seconds} s", printable(&error.to_string())));
                    pause
                }
                Err(error) => return Err(error.into()),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Returns the page that ends with the event that is the latest now.
    async fn first_page(&self) -> Result<Page, CliError> {
        let wanted = self.latest.unwrap_or(DEFAULT_LATEST);
        let one = AuditQuery { page: Page { limit: Some(1), ..Page::default() }, ..self.query.clone() };
        let total = self.admin.audit_events(&one).await?.total;
        Ok(Page { limit: Some(1000), offset: Some(total.saturating_sub(wanted)), cursor: None })
    }

    fn print(&self, events: &[Event]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        for event in events {
            if self.output.is_json() {
                let json = serde_json::to_string(event).map_err(io::Error::from)?;
                writeln!(stdout, "{}", self.output.escape_json(&json))?;
            } else {
                writeln!(stdout, "{}", printable(&line(event)))?;
            }
        }
        Ok(stdout.flush()?)
    }
}

fn after(last: Option<EventId>) -> Option<Page> {
    let cursor = last?.sequence().to_string();
    Some(Page { limit: None, offset: None, cursor: Some(cursor) })
}

/// Formats an event as one line.
fn line(event: &Event) -> String {
    let subject = event.agent_id.as_deref().unwrap_or("-");
    let (time, outcome) = (to_the_second(&event.timestamp), event.outcome.as_str());
    let mut line = format!("{time}  {}  {}  {outcome}  {subject}", event.id, event.event_type.as_str());
    for text in [event.resource.as_deref(), Some(event.detail.as_str())].into_iter().flatten() {
        line.push_str("  ");
        line.push_str(text);
    }
    line
}
