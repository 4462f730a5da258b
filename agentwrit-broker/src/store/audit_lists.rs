//! Lists of audit events, and ranks in them.
//!
//! 1. A *kind* is event type and outcome in one: there are 50.
//! 2. An event is in several lists: all events, those of its agent, its task, its app, of agent and task, of task and
//!    app. Each list has an index by kind and sequence.
//! 3. Each event carries its number among those of its kind in each of its lists. So its *rank*, the number of
//!    selected events up to it, takes one look-up per kind, and a number of events is the difference of two ranks.

use rusqlite::params;

use super::{
    Reader, StoreError,
    audit_log::{from_kind, kind},
    codec::{signed, unsigned},
};
use crate::audit::{EventType, Outcome};

/// A list of events, by the numbers of the names.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    All,
    Agent(i64),
    Task(i64),
    App(i64),
    AgentTask(i64, i64),
    TaskApp(i64, i64),
}

/// Storage of a list: its index, the column of the numbers in it, and the condition that its events meet.
struct Layout {
    index: &'static str,
    number: &'static str,
    condition: &'static str,
    keys: [i64; 2],
}

impl List {
    fn layout(self) -> Layout {
        let (index, number, condition, keys) = match self {
            Self::All => ("audit_by_kind", "n_all", "?1 = ?2", [0, 0]),
            Self::Agent(agent) => ("audit_by_agent", "n_agent", "agent = ?1 AND ?2 = 0", [agent, 0]),
            Self::Task(task) => ("audit_by_task", "n_task", "task = ?1 AND ?2 = 0", [task, 0]),
            Self::App(app) => ("audit_by_app", "n_app", "app = ?1 AND ?2 = 0", [app, 0]),
            Self::AgentTask(agent, task) => {
                ("audit_by_agent_task", "n_agent_task", "agent = ?1 AND task = ?2", [agent, task])
            }
            Self::TaskApp(task, app) => ("audit_by_task_app", "n_task_app", "task = ?1 AND app = ?2", [task, app]),
        };
        Layout { index, number, condition, keys }
    }
}

/// A stretch of the trail, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// The events of some kinds in a list.
#[derive(Debug)]
pub(super) enum Selection {
    /// The whole trail: its sequence numbers are its ranks.
    Everything,
    Kinds {
        rank: String,
        sequences: String,
        keys: [i64; 2],
        kinds: Vec<i64>,
    },
}

impl Selection {
    pub(super) fn new(
        reader: &Reader<'_>,
        list: List,
        event_type: Option<EventType>,
        outcome: Option<Outcome>,
    ) -> Result<Self, StoreError> {
        if matches!((list, event_type, outcome), (List::All, None, None)) {
            return Ok(Self::Everything);
        }
        let Layout { index, number, condition, keys } = list.layout();
        let from = format!("FROM audit_events INDEXED BY {index} WHERE {condition}");
        let kinds = match (event_type, outcome) {
            (Some(event_type), Some(outcome)) => vec![kind(event_type, outcome)],
            (Some(event_type), None) => vec![kind(event_type, Outcome::Success), kind(event_type, Outcome::Denied)],
            (None, _) => {
                let next = format!("SELECT kind {from} AND kind > ?3 ORDER BY kind LIMIT 1");
                let mut kinds = kinds_present(reader, &next, keys)?;
                kinds.retain(|&kind| outcome.is_none() || from_kind(kind).map(|(_, outcome)| outcome) == outcome);
                kinds
            }
        };
        Ok(Self::Kinds {
            rank: format!("SELECT {number} {from} AND kind = ?3 AND seq <= ?4 ORDER BY seq DESC LIMIT 1"),
            sequences: format!("SELECT seq {from} AND kind = ?3 AND seq > ?4 AND seq <= ?5 ORDER BY seq LIMIT ?6"),
            keys,
            kinds,
        })
    }

    /// Returns the number of events in `spans` up to `end`.
    pub(super) fn count(&self, reader: &Reader<'_>, spans: &[Span], end: u64) -> Result<u64, StoreError> {
        let mut count = 0_u64;
        for span in spans.iter().filter(|span| span.first <= end) {
            let upto = self.rank(reader, span.last.min(end))?;
            let before = self.rank(reader, span.first.saturating_sub(1))?;
            count = count.saturating_add(upto.saturating_sub(before));
        }
        Ok(count)
    }

    /// The first `count` of the events in `spans` after `after`.
    pub(super) fn sequences(
        &self,
        reader: &Reader<'_>,
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
            page.extend(self.sequences_in(reader, after, span.last, left)?);
        }
        Ok(page)
    }

    fn rank(&self, reader: &Reader<'_>, sequence: u64) -> Result<u64, StoreError> {
        let Self::Kinds { rank, keys: [first, second], kinds, .. } = self else {
            return Ok(sequence);
        };
        kinds.iter().try_fold(0_u64, |sum, kind| {
            let number = reader.find(rank, params![first, second, kind, signed(sequence)], |row| unsigned(row, 0))?;
            Ok(sum.saturating_add(number.unwrap_or(0)))
        })
    }

    fn sequences_in(&self, reader: &Reader<'_>, after: u64, mut last: u64, count: u64) -> Result<Vec<u64>, StoreError> {
        let Self::Kinds { sequences, keys: [first, second], kinds, .. } = self else {
            return Ok((after.saturating_add(1)..=last).take(usize::try_from(count).unwrap_or(usize::MAX)).collect());
        };
        let count_of_page = usize::try_from(count).unwrap_or(usize::MAX);
        let mut page = Vec::new();
        for kind in kinds {
            let parameters = params![first, second, kind, signed(after), signed(last), signed(count)];
            page.extend(reader.list(sequences, parameters, |row| unsigned(row, 0))?);
            page.sort_unstable();
            page.truncate(count_of_page);
            // Events beyond a full page are not part of it.
            if page.len() == count_of_page {
                last = page.last().copied().unwrap_or(last);
            }
        }
        Ok(page)
    }
}

/// The kinds that a list has events of, by leaping from each to the next.
fn kinds_present(reader: &Reader<'_>, next: &str, [first, second]: [i64; 2]) -> Result<Vec<i64>, StoreError> {
    let mut kinds = Vec::new();
    let mut last = 0_i64;
    while let Some(kind) = reader.find(next, params![first, second, last], |row| row.get(0))? {
        kinds.push(kind);
        last = kind;
    }
    Ok(kinds)
}
