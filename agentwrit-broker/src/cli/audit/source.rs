//! Where events come from: an export, or the broker itself.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use agentwrit_client::{Admin, AuditQuery, Page};
use agentwrit_verify::audit::{Event, EventId};

use crate::cli::error::CliError;

/// The longest line of an export that is read. An event of the broker's is a few KiB at most.
const LONGEST_LINE: usize = 64 * 1024;

/// Events in their order, some at a time.
pub(super) enum Source {
    File(Lines),
    Broker(Box<Pages>),
}

impl Source {
    /// The next events; none at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, CliError> {
        match self {
            Self::File(lines) => lines.next(),
            Self::Broker(pages) => pages.next().await,
        }
    }
}

/// An export: one event a line.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    /// Events that are handed over at once.
    const AT_ONCE: usize = 1000;

    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let reader: Box<dyn BufRead> = if path == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(path).map_err(|error| CliError::file(path, &error))?;
            Box::new(BufReader::with_capacity(1 << 18, file))
        };
        Ok(Self { path: path.to_owned(), reader, line: Vec::new(), number: 0 })
    }

    fn next(&mut self) -> Result<Vec<Event>, CliError> {
        let mut events = Vec::with_capacity(Self::AT_ONCE);
        while events.len() < Self::AT_ONCE && self.read_line()? {
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            events.push(serde_json::from_slice(&self.line).map_err(|error| self.wrong(&error))?);
        }
        Ok(events)
    }

    fn read_line(&mut self) -> Result<bool, CliError> {
        self.line.clear();
        self.number += 1;
        let limit = LONGEST_LINE as u64 + 1;
        let read = io::Read::take(&mut self.reader, limit).read_until(b'\n', &mut self.line);
        let length = read.map_err(|error| CliError::file(&self.path, &error))?;
        if length > LONGEST_LINE {
            return Err(self.wrong(&format!("it is longer than {LONGEST_LINE} bytes")));
        }
        Ok(length > 0)
    }

    fn wrong(&self, reason: &dyn std::fmt::Display) -> CliError {
        CliError::file(&self.path, &format!("line {} is no event: {reason}", self.number))
            .hint("`awrit audit export` writes one event a line")
    }
}

/// The broker's trail, in pages of a thousand, until its end when it was reached.
pub(super) struct Pages {
    admin: Admin,
    query: AuditQuery,
    ended: bool,
    total: u64,
}

impl Pages {
    /// What was recorded after `event`, or all of it.
    pub(super) fn after(admin: Admin, event: Option<EventId>) -> Self {
        let page = Page { limit: Some(1000), ..Page::default() };
        let query = AuditQuery { page, ..AuditQuery::default() };
        let query = match event {
            Some(event) => query.after(event),
            None => query,
        };
        Self { admin, query, ended: false, total: 0 }
    }

    /// How many events the whole trail had when last asked.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) async fn next(&mut self) -> Result<Vec<Event>, CliError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let listing = self.admin.audit_events(&self.query).await?;
        self.total = listing.total;
        self.ended = listing.next_cursor.is_none();
        if let Some(last) = listing.entries.last() {
            self.query = self.query.clone().after(last.id);
        }
        Ok(listing.entries)
    }
}
