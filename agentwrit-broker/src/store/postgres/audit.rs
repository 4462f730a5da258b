//! The audit trail.

use agentwrit_verify::UnixTime;
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, time, unsigned},
    query::Query,
    transaction::Transaction,
    value::{Value, values},
};
use crate::{
    audit::{ChainHead, Event, EventHash, EventId, Timestamp},
    store::{
        StoreError,
        audit_lists::{List, Span, from_kind},
        audit_log::ReadAudit,
        codec::signed,
        trail::{OrdinalKey, TrailHead},
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

/// Statements on a list. `$1` and `$2` are its keys, `$3` the kinds. They order by kind and number, with a range of both: for one kind
/// in the order of its numbers PostgreSQL would read the trail from its end, all of it if there is no such event.
pub(super) struct ListStatements {
    /// Sum of the numbers of the last event of each kind up to `$4`.
    pub(super) rank: &'static str,
    /// The first `$6` events after `$4` up to `$5`.
    pub(super) sequences: &'static str,
    /// All kinds, by leaping from each to the next.
    pub(super) kinds: &'static str,
    /// Numbers of the last events of kinds in several lists. `$1` are numbers of the keys, `$2` and `$3` the keys, `$4` the
    /// kinds.
    pub(super) last: &'static str,
}

macro_rules! list_statements {
    ($ordinal:literal, $condition:literal, $of_key:literal) => {{
        const STATEMENTS: ListStatements = ListStatements {
            rank: concat!(
                "SELECT coalesce(sum(last.n), 0)::bigint FROM unnest($3::bigint[]) AS wanted(kind) CROSS JOIN LATERAL (SELECT ",
                $ordinal,
                " AS n FROM audit_events WHERE ",
                $condition,
                " AND audit_events.kind >= wanted.kind AND (audit_events.kind, seq) <= (wanted.kind, $4) \
                 ORDER BY audit_events.kind DESC, seq DESC LIMIT 1) AS last"
            ),
            sequences: concat!(
                "SELECT first.seq FROM unnest($3::bigint[]) AS wanted(kind) CROSS JOIN LATERAL (SELECT seq FROM audit_events \
                 WHERE ",
                $condition,
                " AND (audit_events.kind, seq) > (wanted.kind, $4) AND (audit_events.kind, seq) <= (wanted.kind, $5) \
                 ORDER BY audit_events.kind, seq LIMIT $6) AS first ORDER BY first.seq LIMIT $6"
            ),
            kinds: concat!(
                "WITH RECURSIVE present AS ((SELECT kind FROM audit_events WHERE ",
                $condition,
                " ORDER BY kind LIMIT 1) UNION ALL SELECT (SELECT audit_events.kind FROM audit_events WHERE ",
                $condition,
                " AND audit_events.kind > present.kind ORDER BY audit_events.kind LIMIT 1) FROM present \
                 WHERE present.kind IS NOT NULL) SELECT kind FROM present WHERE kind IS NOT NULL ORDER BY kind"
            ),
            last: concat!(
                "SELECT number, coalesce((SELECT ",
                $ordinal,
                " FROM audit_events WHERE ",
                $of_key,
                "audit_events.kind >= wanted.kind AND audit_events.kind <= wanted.kind \
                 ORDER BY audit_events.kind DESC, seq DESC LIMIT 1), 0) \
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS wanted (number, key_1, key_2, kind)"
            ),
        };
        STATEMENTS
    }};
}

/// Returns the statements on a list, and its keys.
pub(super) fn statements(list: List) -> (ListStatements, [i64; 2]) {
    match list {
        List::All => (list_statements!("n_all", "$1::bigint = $2::bigint", ""), [0, 0]),
        List::Agent(agent) => {
            (list_statements!("n_agent", "agent = $1 AND $2::bigint = 0", "agent = key_1 AND "), [agent, 0])
        }
        List::Task(task) => {
            (list_statements!("n_task", "task = $1 AND $2::bigint = 0", "task = key_1 AND "), [task, 0])
        }
        List::App(app) => (list_statements!("n_app", "app = $1 AND $2::bigint = 0", "app = key_1 AND "), [app, 0]),
        List::AgentTask(agent, task) => (
            list_statements!("n_agent_task", "agent = $1 AND task = $2", "agent = key_1 AND task = key_2 AND "),
            [agent, task],
        ),
        List::TaskApp(task, app) => {
            (list_statements!("n_task_app", "task = $1 AND app = $2", "task = key_1 AND app = key_2 AND "), [task, app])
        }
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
        self.single(rank, values![first, second, kinds.to_vec(), signed(sequence)], |row| unsigned(row, 0))
    }

    fn audit_sequences(&self, list: List, kinds: &[i64], span: Span, count: u64) -> Result<Vec<u64>, StoreError> {
        let (ListStatements { sequences, .. }, [first, second]) = statements(list);
        let after = signed(span.first.saturating_sub(1));
        let values = values![first, second, kinds.to_vec(), after, signed(span.last), signed(count)];
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

/// Queries for the ordinals of the last events of kinds in lists, each with its number among `keys`.
pub(super) fn ordinal_queries(keys: &[OrdinalKey]) -> Vec<Query<'static>> {
    let mut queries: Vec<(&'static str, [Vec<i64>; 4])> = Vec::new();
    for (number, (list, kind)) in (0_i64..).zip(keys) {
        let (ListStatements { last, .. }, [first, second]) = statements(*list);
        let key = [number, first, second, *kind];
        match queries.iter_mut().find(|(sql, _)| *sql == last) {
            Some((_, columns)) => columns.iter_mut().zip(key).for_each(|(column, value)| column.push(value)),
            None => queries.push((last, key.map(|value| vec![value]))),
        }
    }
    let query = |(sql, columns): (&'static str, [Vec<i64>; 4])| Query::unread(sql, columns.map(Value::from).into());
    queries.into_iter().map(query).collect()
}

/// Returns the ordinals in the order of their keys.
pub(super) fn ordinals(count: usize, rows: &[Vec<Row>]) -> Result<Vec<u64>, StoreError> {
    let mut ordinals = vec![0; count];
    for row in rows.iter().flatten() {
        let number: i64 = get(row, 0)?;
        let place = usize::try_from(number).ok().and_then(|number| ordinals.get_mut(number));
        if let Some(place) = place {
            *place = unsigned(row, 1)?;
        }
    }
    Ok(ordinals)
}

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
