//! The audit trail.

use agentwrit_verify::UnixTime;
use rusqlite::{Row, params};

use super::{
    codec::{time, unreadable, unsigned},
    transaction::Transaction,
};
use crate::{
    audit::{ChainHead, Event, EventHash, EventId, Timestamp},
    store::{
        StoreError,
        audit_lists::{List, Span, from_kind},
        audit_log::ReadAudit,
        codec::signed,
        trail::TrailHead,
    },
};

macro_rules! select_event {
    ($rest:literal) => {
        concat!(
            "SELECT seq, at, kind, agent.name, task.name, orch, detail, resource, deleg_depth, deleg_chain_hash, \
             bytes, hash, prev_hash FROM audit_events LEFT JOIN names AS agent ON agent.id = agent \
             LEFT JOIN names AS task ON task.id = task ",
            $rest
        )
    };
}

/// Statements on a list. `?1` and `?2` are its keys.
pub(super) struct ListStatements {
    /// Number of the last event of kind `?3` up to `?4`.
    pub(super) rank: &'static str,
    /// The first `?6` events of kind `?3` after `?4` up to `?5`.
    pub(super) sequences: &'static str,
    /// The first kind after `?3`.
    pub(super) next_kind: &'static str,
}

macro_rules! list_statements {
    ($index:literal, $ordinal:literal, $condition:literal) => {{
        const STATEMENTS: ListStatements = ListStatements {
            rank: concat!(
                "SELECT ",
                $ordinal,
                " FROM audit_events INDEXED BY ",
                $index,
                " WHERE ",
                $condition,
                " AND kind = ?3 AND seq <= ?4 ORDER BY seq DESC LIMIT 1"
            ),
            sequences: concat!(
                "SELECT seq FROM audit_events INDEXED BY ",
                $index,
                " WHERE ",
                $condition,
                " AND kind = ?3 AND seq > ?4 AND seq <= ?5 ORDER BY seq LIMIT ?6"
            ),
            next_kind: concat!(
                "SELECT kind FROM audit_events INDEXED BY ",
                $index,
                " WHERE ",
                $condition,
                " AND kind > ?3 ORDER BY kind LIMIT 1"
            ),
        };
        STATEMENTS
    }};
}

/// Returns the statements on a list, and its keys.
pub(super) fn statements(list: List) -> (ListStatements, [i64; 2]) {
    match list {
        List::All => (list_statements!("audit_by_kind", "n_all", "?1 = ?2"), [0, 0]),
        List::Agent(agent) => (list_statements!("audit_by_agent", "n_agent", "agent = ?1 AND ?2 = 0"), [agent, 0]),
        List::Task(task) => (list_statements!("audit_by_task", "n_task", "task = ?1 AND ?2 = 0"), [task, 0]),
        List::App(app) => (list_statements!("audit_by_app", "n_app", "app = ?1 AND ?2 = 0"), [app, 0]),
        List::AgentTask(agent, task) => {
            (list_statements!("audit_by_agent_task", "n_agent_task", "agent = ?1 AND task = ?2"), [agent, task])
        }
        List::TaskApp(task, app) => {
            (list_statements!("audit_by_task_app", "n_task_app", "task = ?1 AND app = ?2"), [task, app])
        }
    }
}

impl ReadAudit for Transaction<'_> {
    fn audit_total(&self) -> Result<u64, StoreError> {
        self.single("SELECT ifnull(max(seq), 0) FROM audit_events", [], |row| unsigned(row, 0))
    }

    fn audit_events_after(&self, after: u64, limit: u64) -> Result<Vec<Event>, StoreError> {
        let sql = select_event!("WHERE seq > ?1 ORDER BY seq LIMIT ?2");
        self.list(sql, [signed(after), signed(limit)], event)
    }

    fn audit_events_numbered(&self, sequences: &[u64]) -> Result<Vec<Event>, StoreError> {
        let events = sequences
            .iter()
            .filter_map(|&sequence| self.find(select_event!("WHERE seq = ?1"), [signed(sequence)], event).transpose());
        events.collect()
    }

    fn trail_head_at(&self, sequence: u64) -> Result<Option<TrailHead>, StoreError> {
        let sql = "SELECT seq, hash, at FROM audit_events WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
        self.find(sql, [signed(sequence)], |row| {
            let chain = ChainHead { sequence: unsigned(row, 0)?, hash: EventHash::from_bytes(row.get(1)?) };
            Ok(TrailHead { chain, at: Timestamp(row.get(2)?) })
        })
    }

    /// Leaps from each kind to the next.
    fn audit_kinds(&self, list: List) -> Result<Vec<i64>, StoreError> {
        let (ListStatements { next_kind, .. }, [first, second]) = statements(list);
        let mut kinds = Vec::new();
        let mut before = 0_i64;
        while let Some(kind) = self.find(next_kind, params![first, second, before], |row| row.get(0))? {
            kinds.push(kind);
            before = kind;
        }
        Ok(kinds)
    }

    fn audit_rank(&self, list: List, kinds: &[i64], sequence: u64) -> Result<u64, StoreError> {
        let (ListStatements { rank, .. }, [first, second]) = statements(list);
        kinds.iter().try_fold(0_u64, |sum, kind| {
            let number = self.find(rank, params![first, second, kind, signed(sequence)], |row| unsigned(row, 0))?;
            Ok(sum.saturating_add(number.unwrap_or(0)))
        })
    }

    fn audit_sequences(&self, list: List, kinds: &[i64], span: Span, count: u64) -> Result<Vec<u64>, StoreError> {
        let (ListStatements { sequences, .. }, [first, second]) = statements(list);
        let count_of_page = usize::try_from(count).unwrap_or(usize::MAX);
        let after = span.first.saturating_sub(1);
        let mut upto = span.last;
        let mut page = Vec::new();
        for kind in kinds {
            let parameters = params![first, second, kind, signed(after), signed(upto), signed(count)];
            page.extend(self.list(sequences, parameters, |row| unsigned(row, 0))?);
            page.sort_unstable();
            page.truncate(count_of_page);
            // Events beyond a full page are not part of it.
            if page.len() == count_of_page {
                upto = page.last().copied().unwrap_or(upto);
            }
        }
        Ok(page)
    }

    fn audit_runs(&self) -> Result<Vec<u64>, StoreError> {
        self.list("SELECT first FROM audit_runs ORDER BY first", [], |row| unsigned(row, 0))
    }

    fn audit_time(&self, sequence: u64) -> Result<Option<UnixTime>, StoreError> {
        let sql = "SELECT at FROM audit_events WHERE seq = ?1";
        self.find(sql, [signed(sequence)], |row| time(row, 0))
    }
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let (event_type, outcome) = from_kind(row.get(2)?).ok_or_else(|| unreadable(2, "unknown kind of event"))?;
    Ok(Event {
        id: EventId::from_sequence(unsigned(row, 0)?),
        timestamp: Timestamp(row.get(1)?).to_string(),
        event_type,
        agent_id: row.get(3)?,
        task_id: row.get(4)?,
        orch_id: row.get(5)?,
        detail: row.get(6)?,
        resource: row.get(7)?,
        outcome,
        deleg_depth: row.get(8)?,
        deleg_chain_hash: row.get(9)?,
        bytes_transferred: row.get::<_, Option<i64>>(10)?.map(i64::cast_unsigned),
        hash: EventHash::from_bytes(row.get(11)?),
        prev_hash: EventHash::from_bytes(row.get(12)?),
    })
}
