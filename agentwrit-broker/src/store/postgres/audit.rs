//! The audit trail.

use agentwrit_verify::UnixTime;
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, time, unsigned},
    transaction::Transaction,
    value::values,
};
use crate::{
    audit::{ChainHead, Event, EventHash, EventId, Timestamp},
    store::{
        StoreError,
        audit_lists::{List, Span, from_kind},
        audit_log::{EventRow, ReadAudit, WriteAudit},
        codec::signed,
        trail::TrailHead,
    },
};

macro_rules! select_event {
    ($rest:literal) => {
        concat!(
            "SELECT seq, at, kind, agent.name AS agent_name, task.name AS task_name, orch, detail, resource, deleg_depth, deleg_chain_hash, \
             bytes, hash, prev_hash FROM audit_events LEFT JOIN names AS agent ON agent.id = audit_events.agent \
             LEFT JOIN names AS task ON task.id = audit_events.task ",
            $rest
        )
    };
}

/// Statements on a list. `$1` and `$2` are its keys, `$3` the kinds.
pub(super) struct ListStatements {
    /// Sum of the numbers of the last event of each kind up to `$4`.
    pub(super) rank: &'static str,
    /// The first `$6` events after `$4` up to `$5`.
    pub(super) sequences: &'static str,
    /// All kinds, by leaping from each to the next.
    pub(super) kinds: &'static str,
}

macro_rules! list_statements {
    ($ordinal:literal, $condition:literal) => {{
        const STATEMENTS: ListStatements = ListStatements {
            rank: concat!(
                "SELECT coalesce(sum(last.n), 0)::bigint FROM unnest($3::bigint[]) AS wanted(kind) CROSS JOIN LATERAL (SELECT ",
                $ordinal,
                " AS n FROM audit_events WHERE ",
                $condition,
                " AND audit_events.kind = wanted.kind AND seq <= $4 ORDER BY seq DESC LIMIT 1) AS last"
            ),
            sequences: concat!(
                "SELECT first.seq FROM unnest($3::bigint[]) AS wanted(kind) CROSS JOIN LATERAL (SELECT seq FROM audit_events \
                 WHERE ",
                $condition,
                " AND audit_events.kind = wanted.kind AND seq > $4 AND seq <= $5 ORDER BY seq LIMIT $6) AS first \
                 ORDER BY first.seq LIMIT $6"
            ),
            kinds: concat!(
                "WITH RECURSIVE present AS ((SELECT kind FROM audit_events WHERE ",
                $condition,
                " ORDER BY kind LIMIT 1) UNION ALL SELECT (SELECT audit_events.kind FROM audit_events WHERE ",
                $condition,
                " AND audit_events.kind > present.kind ORDER BY audit_events.kind LIMIT 1) FROM present \
                 WHERE present.kind IS NOT NULL) SELECT kind FROM present WHERE kind IS NOT NULL ORDER BY kind"
            ),
        };
        STATEMENTS
    }};
}

/// Returns the statements on a list, and its keys.
pub(super) fn statements(list: List) -> (ListStatements, [i64; 2]) {
    match list {
        List::All => (list_statements!("n_all", "$1::bigint = $2::bigint"), [0, 0]),
        List::Agent(agent) => (list_statements!("n_agent", "agent = $1 AND $2::bigint = 0"), [agent, 0]),
        List::Task(task) => (list_statements!("n_task", "task = $1 AND $2::bigint = 0"), [task, 0]),
        List::App(app) => (list_statements!("n_app", "app = $1 AND $2::bigint = 0"), [app, 0]),
        List::AgentTask(agent, task) => (list_statements!("n_agent_task", "agent = $1 AND task = $2"), [agent, task]),
        List::TaskApp(task, app) => (list_statements!("n_task_app", "task = $1 AND app = $2"), [task, app]),
    }
}

impl ReadAudit for Transaction<'_> {
    fn audit_total(&self) -> Result<u64, StoreError> {
        self.single("SELECT coalesce(max(seq), 0) FROM audit_events", values![], |row| unsigned(row, 0))
    }

    fn audit_events_after(&self, after: u64, limit: u64) -> Result<Vec<Event>, StoreError> {
        let sql = select_event!("WHERE seq > $1 ORDER BY seq LIMIT $2");
        self.list(sql, values![signed(after), signed(limit)], event)
    }

    fn audit_events_numbered(&self, sequences: &[u64]) -> Result<Vec<Event>, StoreError> {
        let sequences: Vec<i64> = sequences.iter().copied().map(signed).collect();
        self.list(select_event!("WHERE seq = ANY($1) ORDER BY seq"), values![sequences], event)
    }

    fn trail_head_at(&self, sequence: u64) -> Result<Option<TrailHead>, StoreError> {
        let sql = "SELECT seq, hash, at FROM audit_events WHERE seq <= $1 ORDER BY seq DESC LIMIT 1";
        self.find(sql, values![signed(sequence)], |row| {
            let chain = ChainHead { sequence: unsigned(row, 0)?, hash: EventHash::from_bytes(bytes(row, 1)?) };
            Ok(TrailHead { chain, at: Timestamp(get(row, 2)?) })
        })
    }

    fn audit_kinds(&self, list: List) -> Result<Vec<i64>, StoreError> {
        let (ListStatements { kinds, .. }, [first, second]) = statements(list);
        self.list(kinds, values![first, second], |row| get(row, 0))
    }

    fn audit_rank(&self, list: List, kinds: &[i64], sequence: u64) -> Result<u64, StoreError> {
        let (ListStatements { rank, .. }, [first, second]) = statements(list);
        self.single(rank, values![first, second, kinds, signed(sequence)], |row| unsigned(row, 0))
    }

    fn audit_sequences(&self, list: List, kinds: &[i64], span: Span, count: u64) -> Result<Vec<u64>, StoreError> {
        let (ListStatements { sequences, .. }, [first, second]) = statements(list);
        let after = signed(span.first.saturating_sub(1));
        let values = values![first, second, kinds, after, signed(span.last), signed(count)];
        self.list(sequences, values, |row| unsigned(row, 0))
    }

    fn audit_runs(&self) -> Result<Vec<u64>, StoreError> {
        self.list("SELECT first FROM audit_runs ORDER BY first", values![], |row| unsigned(row, 0))
    }

    fn audit_time(&self, sequence: u64) -> Result<Option<UnixTime>, StoreError> {
        let sql = "SELECT at FROM audit_events WHERE seq = $1";
        self.find(sql, values![signed(sequence)], |row| time(row, 0))
    }
}

impl WriteAudit for Transaction<'_> {
    fn insert_event(&mut self, row: EventRow) -> Result<(), StoreError> {
        let EventRow { event, at, kind, agent, task, app, ordinals } = row;
        self.execute(
            INSERT,
            values![
                signed(event.id.sequence()),
                at.0,
                kind,
                agent,
                task,
                app,
                event.orch_id,
                event.detail,
                event.resource,
                event.deleg_depth.map(i64::from),
                event.deleg_chain_hash,
                event.bytes_transferred.map(signed),
                event.hash.as_bytes(),
                event.prev_hash.as_bytes(),
                signed(ordinals.all),
                ordinals.agent.map(signed),
                ordinals.task.map(signed),
                ordinals.app.map(signed),
                ordinals.agent_task.map(signed),
                ordinals.task_app.map(signed),
            ],
        )?;
        Ok(())
    }

    fn insert_audit_run(&mut self, first: u64) -> Result<(), StoreError> {
        self.execute("INSERT INTO audit_runs (first) VALUES ($1)", values![signed(first)]).map(|_| ())
    }
}

pub(super) const INSERT: &str = "\
    INSERT INTO audit_events (seq, at, kind, agent, task, app, orch, detail, resource, deleg_depth, deleg_chain_hash, \
        bytes, hash, prev_hash, n_all, n_agent, n_task, n_app, n_agent_task, n_task_app) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)";

fn event(row: &Row) -> Result<Event, StoreError> {
    let (event_type, outcome) =
        from_kind(get(row, 2)?).ok_or_else(|| StoreError::corrupt("an event has an unknown kind"))?;
    Ok(Event {
        id: EventId::from_sequence(unsigned(row, 0)?),
        timestamp: Timestamp(get(row, 1)?).to_string(),
        event_type,
        agent_id: get(row, 3)?,
        task_id: get(row, 4)?,
        orch_id: get(row, 5)?,
        detail: get(row, 6)?,
        resource: get(row, 7)?,
        outcome,
        deleg_depth: get::<Option<i64>>(row, 8)?.and_then(|depth| depth.try_into().ok()),
        deleg_chain_hash: get(row, 9)?,
        bytes_transferred: get::<Option<i64>>(row, 10)?.map(i64::cast_unsigned),
        hash: EventHash::from_bytes(bytes(row, 11)?),
        prev_hash: EventHash::from_bytes(bytes(row, 12)?),
    })
}
