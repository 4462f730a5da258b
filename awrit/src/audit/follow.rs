//! `awrit audit events --follow`: the trail as it grows.

use std::{
    io::{self, Write},
    time::Duration,
};

use agentwrit_client::{Admin, AuditQuery, ClientError, Page};
use agentwrit_verify::{
    audit::{Event, EventId, text::printable},
    http_client::{Backoff, random_fraction},
};

use super::events::to_the_second;
use crate::{
    error::CliError,
    output::{Output, write_stderr},
};

/// How many events are shown to begin with.
const LATEST: u64 = 10;

/// Pauses between attempts when the broker cannot be reached.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(30)).least_share(0.5);

pub(super) struct Follow {
    pub(super) admin: Admin,
    pub(super) query: AuditQuery,
    /// How many events to begin with.
    pub(super) latest: Option<u64>,
    pub(super) output: Output,
    pub(super) pause: Duration,
}

impl Follow {
    /// Ends when nobody reads any more, or when the broker refuses for good.
    pub(super) async fn run(self) -> Result<(), CliError> {
        let mut query = AuditQuery { page: self.beginning().await?, ..self.query.clone() };
        let mut failures = 0_u32;
        loop {
            let pause = match self.admin.audit_events(&query).await {
                Ok(listing) => {
                    failures = 0;
                    self.print(&listing.entries)?;
                    let last = listing.entries.last().map(|event| event.id);
                    query.page = after(last).unwrap_or(query.page);
                    if listing.next_cursor.is_some() && last.is_some() {
                        continue; // there is more already
                    }
                    self.pause
                }
                Err(error) if is_passing(&error) => {
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

    /// The page that ends with the event that is the latest now.
    async fn beginning(&self) -> Result<Page, CliError> {
        let wanted = self.latest.unwrap_or(LATEST);
        let one = AuditQuery { page: Page { limit: Some(1), ..Page::default() }, ..self.query.clone() };
        let total = self.admin.audit_events(&one).await?.total;
        Ok(Page { limit: Some(1000), offset: Some(total.saturating_sub(wanted)), cursor: None })
    }

    fn print(&self, events: &[Event]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        for event in events {
            if self.output.is_json() {
                let json = serde_json::to_string(event).map_err(io::Error::from)?;
                writeln!(stdout, "{}", self.output.json_text(&json))?;
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

/// One event as one line.
fn line(event: &Event) -> String {
    let who = event.agent_id.as_deref().unwrap_or("-");
    let (time, outcome) = (to_the_second(&event.timestamp), event.outcome.as_str());
    let mut line = format!("{time}  {}  {}  {outcome}  {who}", event.id, event.event_type.as_str());
    for more in [event.resource.as_deref(), Some(event.detail.as_str())].into_iter().flatten() {
        line.push_str("  ");
        line.push_str(more);
    }
    line
}

/// Whether it may work if it is tried again.
fn is_passing(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. } | ClientError::Timeout { .. })
        || matches!(error.status(), Some(429 | 502 | 503 | 504))
}
