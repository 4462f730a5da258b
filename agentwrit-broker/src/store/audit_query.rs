//! Queries of the audit trail, whose cost does not grow with it.
//!
//! 1. A filter selects events of some kinds from one list ([`Selection`]), where ranks are looked up, not counted.
//! 2. An agent belongs to one app, for ever: a filter by both is a filter by the agent.
//! 3. Time is not indexed: events are in its order, but for the few places where the clock was set back ([`Span`]).

use agentwrit_verify::{AppId, UnixTime};

use super::{
    StoreError,
    audit_lists::{List, Span, from_kind, kind},
    audit_log::ReadAudit,
    codec::micros,
    reader::Reader,
};
use crate::audit::{Event, EventType, Outcome};

/// Selection of events. Every condition that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Actor: an agent's id, `app:<app_id>` or `admin`.
    pub agent_id: Option<String>,
    /// Task.
    pub task_id: Option<String>,
    /// App: its own events and those of its agents.
    pub app_id: Option<AppId>,
    /// Event type.
    pub event_type: Option<EventType>,
    /// Outcome.
    pub outcome: Option<Outcome>,
    /// Earliest time.
    pub since: Option<UnixTime>,
    /// Latest time.
    pub until: Option<UnixTime>,
    /// Largest number of events to list, at most [`AuditQuery::MAX_LIMIT`].
    pub limit: u64,
    /// Number of events to skip, counted from the cursor.
    pub offset: u64,
    /// Cursor: the event before the page.
    pub cursor: u64,
}

impl AuditQuery {
    /// Length of the longest page.
    pub const MAX_LIMIT: u64 = 1000;
}

/// A page of events, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The events.
    pub events: Vec<Event>,
    /// Number of events in all pages.
    pub total: u64,
    /// `cursor` of the next page; none after the last page.
    pub next_cursor: Option<u64>,
}

impl dyn Reader + '_ {
    /// Returns a page of the events that `query` selects.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn audit_events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        page(self, query)
    }

    /// Returns the number of denied events of each type from `since` on, without the types that have none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn denials_since(&self, since: UnixTime) -> Result<Vec<(EventType, u64)>, StoreError> {
        denials_since(self, since)
    }

    /// Returns the number of breaks of the trail that were accepted.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn accepted_breaks(&self) -> Result<u64, StoreError> {
        let event_type = Some(EventType::AuditBreakAccepted);
        Ok(self.audit_events(&AuditQuery { event_type, ..AuditQuery::default() })?.total)
    }
}

/// Returns a page of the events that `query` selects.
fn page<R: ReadAudit + ?Sized>(reader: &R, query: &AuditQuery) -> Result<AuditPage, StoreError> {
    let end = reader.audit_total()?;
    let Some(list) = list_of(reader, query)? else {
        return Ok(AuditPage::default());
    };
    let selection = Selection::new(reader, list, query.event_type, query.outcome)?;
    let spans = spans(reader, query, end)?;
    let total = selection.count(reader, &spans, end)?;
    let limit = query.limit.min(AuditQuery::MAX_LIMIT);
    let mut sequences = match start(reader, query, &selection, &spans, end)? {
        Some(after) => selection.sequences(reader, &spans, after, limit.saturating_add(1))?,
        None => Vec::new(),
    };
    let more = sequences.len() as u64 > limit;
    if more {
        sequences.pop();
    }
    let next_cursor = if more { sequences.last().copied() } else { None };
    Ok(AuditPage { events: reader.audit_events_numbered(&sequences)?, total, next_cursor })
}

/// Returns the number of denied events of each type from `since` on. The time is looked up once, and only for kinds that there are.
fn denials_since<R: ReadAudit + ?Sized>(reader: &R, since: UnixTime) -> Result<Vec<(EventType, u64)>, StoreError> {
    let end = reader.audit_total()?;
    let spans = spans(reader, &AuditQuery { since: Some(since), ..AuditQuery::default() }, end)?;
    let mut denials = Vec::new();
    for kind in reader.audit_kinds(List::All)? {
        let Some((event_type, Outcome::Denied)) = from_kind(kind) else { continue };
        let selection = Selection::Kinds { list: List::All, kinds: vec![kind] };
        let count = selection.count(reader, &spans, end)?;
        if count > 0 {
            denials.push((event_type, count));
        }
    }
    Ok(denials)
}

/// Returns the list that contains every selected event; none for an unknown name.
fn list_of<R: ReadAudit + ?Sized>(reader: &R, query: &AuditQuery) -> Result<Option<List>, StoreError> {
    let (mut agent, mut task, mut app) = (None, None, None);
    if let Some(name) = &query.agent_id {
        let Some(name) = reader.name(name)? else { return Ok(None) };
        agent = Some(name);
    }
    if let Some(name) = &query.task_id {
        let Some(name) = reader.name(name)? else { return Ok(None) };
        task = Some(name.id);
    }
    if let Some(app_id) = &query.app_id {
        let Some(key) = reader.app_key(app_id)? else { return Ok(None) };
        app = Some(key);
    }
    Ok(match (agent, task, app) {
        (Some(agent), _, Some(app)) if agent.app != Some(app) => None,
        (Some(agent), Some(task), _) => Some(List::AgentTask(agent.id, task)),
        (Some(agent), None, _) => Some(List::Agent(agent.id)),
        (None, Some(task), Some(app)) => Some(List::TaskApp(task, app)),
        (None, Some(task), None) => Some(List::Task(task)),
        (None, None, Some(app)) => Some(List::App(app)),
        (None, None, None) => Some(List::All),
    })
}

/// Returns the event before the page; none if fewer than `offset` events are left.
fn start<R: ReadAudit + ?Sized>(
    reader: &R,
    query: &AuditQuery,
    selection: &Selection,
    spans: &[Span],
    end: u64,
) -> Result<Option<u64>, StoreError> {
    if query.offset == 0 {
        return Ok(Some(query.cursor));
    }
    let skipped = selection.count(reader, spans, query.cursor)?.saturating_add(query.offset);
    first_where(query.cursor, end, |sequence| Ok(selection.count(reader, spans, sequence)? >= skipped))
}

/// The stretches of the trail, up to `end`, whose times are between `since` and `until`.
fn spans<R: ReadAudit + ?Sized>(reader: &R, query: &AuditQuery, end: u64) -> Result<Vec<Span>, StoreError> {
    if query.since.is_none() && query.until.is_none() {
        return Ok(vec![Span { first: 1, last: end }]);
    }
    let since = query.since.map_or(i64::MIN, micros);
    let until = query.until.map_or(i64::MAX, micros);
    let mut firsts = reader.audit_runs()?;
    firsts.insert(0, 1);
    let lasts = firsts.iter().skip(1).map(|next| next.saturating_sub(1)).chain([end]);
    let mut spans = Vec::new();
    for (&run_first, run_last) in firsts.iter().zip(lasts) {
        let after = |bound| {
            let beyond = first_where(run_first, run_last, |sequence| Ok(recorded_at(reader, sequence)? > bound))?;
            Ok::<_, StoreError>(beyond.unwrap_or(run_last.saturating_add(1)))
        };
        let span = Span { first: after(since.saturating_sub(1))?, last: after(until)?.saturating_sub(1) };
        if span.first <= span.last {
            spans.push(span);
        }
    }
    Ok(spans)
}

fn recorded_at<R: ReadAudit + ?Sized>(reader: &R, sequence: u64) -> Result<i64, StoreError> {
    let at = reader.audit_time(sequence)?;
    at.map(micros).ok_or_else(|| StoreError::corrupt(format!("event {sequence} is missing")))
}

/// The first of `first..=last` that has a property which all after it have too.
fn first_where(
    first: u64,
    last: u64,
    mut holds: impl FnMut(u64) -> Result<bool, StoreError>,
) -> Result<Option<u64>, StoreError> {
    if first > last || !holds(last)? {
        return Ok(None);
    }
    let (mut low, mut high) = (first, last);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle)? {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    Ok(Some(high))
}

/// The events of some kinds in a list.
#[derive(Debug)]
enum Selection {
    /// The whole trail: its sequence numbers are its ranks.
    Everything,
    Kinds {
        list: List,
        kinds: Vec<i64>,
    },
}

impl Selection {
    fn new<R: ReadAudit + ?Sized>(
        reader: &R,
        list: List,
        event_type: Option<EventType>,
        outcome: Option<Outcome>,
    ) -> Result<Self, StoreError> {
        if matches!((list, event_type, outcome), (List::All, None, None)) {
            return Ok(Self::Everything);
        }
        let kinds = match (event_type, outcome) {
            (Some(event_type), Some(outcome)) => vec![kind(event_type, outcome)],
            (Some(event_type), None) => vec![kind(event_type, Outcome::Success), kind(event_type, Outcome::Denied)],
            (None, _) => {
                let mut kinds = reader.audit_kinds(list)?;
                kinds.retain(|&kind| outcome.is_none() || from_kind(kind).map(|(_, outcome)| outcome) == outcome);
                kinds
            }
        };
        Ok(Self::Kinds { list, kinds })
    }

    /// Returns the number of events in `spans` up to `end`.
    fn count<R: ReadAudit + ?Sized>(&self, reader: &R, spans: &[Span], end: u64) -> Result<u64, StoreError> {
        let mut count = 0_u64;
        for span in spans.iter().filter(|span| span.first <= end) {
            let upto = self.rank(reader, span.last.min(end))?;
            let before = self.rank(reader, span.first.saturating_sub(1))?;
            count = count.saturating_add(upto.saturating_sub(before));
        }
        Ok(count)
    }

    /// The first `count` of the events in `spans` after `after`.
    fn sequences<R: ReadAudit + ?Sized>(
        &self,
        reader: &R,
        spans: &[Span],
        after: u64,
        count: u64,
    ) -> Result<Vec<u64>, StoreError> {
        let mut page = Vec::new();
        for span in spans {
            let left = count.saturating_sub(page.len() as u64);
            if left == 0 {
                break;
            }
            let after = after.max(span.first.saturating_sub(1));
            page.extend(self.sequences_in(reader, Span { first: after.saturating_add(1), last: span.last }, left)?);
        }
        Ok(page)
    }

    fn rank<R: ReadAudit + ?Sized>(&self, reader: &R, sequence: u64) -> Result<u64, StoreError> {
        match self {
            Self::Everything => Ok(sequence),
            Self::Kinds { list, kinds } => reader.audit_rank(*list, kinds, sequence),
        }
    }

    fn sequences_in<R: ReadAudit + ?Sized>(&self, reader: &R, span: Span, count: u64) -> Result<Vec<u64>, StoreError> {
        match self {
            Self::Everything => {
                Ok((span.first..=span.last).take(usize::try_from(count).unwrap_or(usize::MAX)).collect())
            }
            Self::Kinds { list, kinds } => reader.audit_sequences(*list, kinds, span, count),
        }
    }
}
