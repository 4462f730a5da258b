//! Lists of audit events, and ranks in them.
//!
//! 1. A *kind* is event type and outcome in one: there are 50.
//! 2. An event is in several lists: all events, those of its agent, its task, its app, of agent and task, of task and
//!    app. Each list has an index by kind and sequence.
//! 3. Each event carries its number among those of its kind in each of its lists. So its *rank*, the number of
//!    selected events up to it, takes one look-up per kind, and a number of events is the difference of two ranks.

use super::{StoreError, audit_log::ReadAudit};
use crate::audit::{EventType, Outcome};

/// A list of events, by the numbers of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum List {
    /// All events.
    All,
    /// Events of an agent.
    Agent(i64),
    /// Events of a task.
    Task(i64),
    /// Events of an app.
    App(i64),
    /// Events of an agent in a task.
    AgentTask(i64, i64),
    /// Events of a task in an app.
    TaskApp(i64, i64),
}

/// Lists of one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    pub(super) agent: Option<List>,
    pub(super) task: Option<List>,
    pub(super) app: Option<List>,
    pub(super) agent_task: Option<List>,
    pub(super) task_app: Option<List>,
}

impl Lists {
    pub(super) fn of(agent: Option<i64>, task: Option<i64>, app: Option<i64>) -> Self {
        Self {
            agent: agent.map(List::Agent),
            task: task.map(List::Task),
            app: app.map(List::App),
            agent_task: agent.zip(task).map(|(agent, task)| List::AgentTask(agent, task)),
            task_app: task.zip(app).map(|(task, app)| List::TaskApp(task, app)),
        }
    }
}

/// Event type and outcome in one number.
pub(super) fn kind(event_type: EventType, outcome: Outcome) -> i64 {
    i64::from(event_type.code()) * 2 + i64::from(outcome == Outcome::Denied)
}

pub(super) fn from_kind(kind: i64) -> Option<(EventType, Outcome)> {
    let event_type = EventType::from_code(u8::try_from(kind / 2).ok()?)?;
    Some((event_type, if kind % 2 == 0 { Outcome::Success } else { Outcome::Denied }))
}

/// A stretch of the trail, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// The events of some kinds in a list.
#[derive(Debug)]
pub(super) enum Selection {
    /// The whole trail: its sequence numbers are its ranks.
    Everything,
    Kinds {
        list: List,
        kinds: Vec<i64>,
    },
}

impl Selection {
    pub(super) fn new<R: ReadAudit + ?Sized>(
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
    pub(super) fn count<R: ReadAudit + ?Sized>(&self, reader: &R, spans: &[Span], end: u64) -> Result<u64, StoreError> {
        let mut count = 0_u64;
        for span in spans.iter().filter(|span| span.first <= end) {
            let upto = self.rank(reader, span.last.min(end))?;
            let before = self.rank(reader, span.first.saturating_sub(1))?;
            count = count.saturating_add(upto.saturating_sub(before));
        }
        Ok(count)
    }

    /// The first `count` of the events in `spans` after `after`.
    pub(super) fn sequences<R: ReadAudit + ?Sized>(
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
