//! The audit trail: appending, and reading in sequence. Queries are in `audit_query`.

use agentwrit_verify::audit::{ChainLink, ChainVerifier};
use rusqlite::{Row, params};

use super::{
    AuditQuery, Reader, StoreError, Tx,
    codec::{signed, unreadable, unsigned},
};
use crate::audit::{ChainHead, Event, EventHash, EventId, EventType, NewEvent, Outcome, Timestamp};

/// Largest time in microseconds by which an event may be older than the last one and gets its time, because requests
/// overtake each other. An event that is older still shows that the clock was set back, and begins a new run of events.
const OVERTAKING: i64 = 5_000_000;

/// End of the trail.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrailHead {
    chain: ChainHead,
    /// Time of the last event.
    at: Timestamp,
}

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

impl Reader<'_> {
    /// Returns the number of events.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn audit_total(&self) -> Result<u64, StoreError> {
        self.single("SELECT ifnull(max(seq), 0) FROM audit_events", [], |row| unsigned(row, 0))
    }

    /// Returns the events after the `after`th in sequence, to export or verify the whole trail.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn audit_events_after(&self, after: u64, limit: u64) -> Result<Vec<Event>, StoreError> {
        let sql = select_event!("WHERE seq > ?1 ORDER BY seq LIMIT ?2");
        self.list(sql, [signed(after), signed(limit)], event)
    }

    pub(super) fn audit_event(&self, sequence: u64) -> Result<Option<Event>, StoreError> {
        self.find(select_event!("WHERE seq = ?1"), [signed(sequence)], event)
    }

    pub(super) fn trail_head(&self) -> Result<TrailHead, StoreError> {
        let last = self.find("SELECT seq, hash, at FROM audit_events ORDER BY seq DESC LIMIT 1", [], |row| {
            let chain = ChainHead { sequence: unsigned(row, 0)?, hash: EventHash::from_bytes(row.get(1)?) };
            Ok(TrailHead { chain, at: Timestamp(row.get(2)?) })
        })?;
        Ok(last.unwrap_or(TrailHead { chain: ChainHead::GENESIS, at: Timestamp(0) }))
    }

    /// Verifies the chain over the last `count` events.
    pub(super) fn walk_tail(&self, count: u64) -> Result<ChainVerifier, StoreError> {
        let before = self.audit_total()?.saturating_sub(count);
        let sql = "SELECT seq, hash FROM audit_events WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
        let head = self.find(sql, [signed(before)], |row| {
            Ok(ChainHead { sequence: unsigned(row, 0)?, hash: EventHash::from_bytes(row.get(1)?) })
        })?;
        let mut walk = ChainVerifier::new(head.unwrap_or(ChainHead::GENESIS));
        for event in self.audit_events_after(before, count)? {
            let unending =
                |fault| StoreError::corrupt(format!("the audit trail has too many breaks, the last: {fault}"));
            walk.follow(&ChainLink::of(&event)).map_err(unending)?;
        }
        Ok(walk)
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

impl Tx<'_> {
    /// Appends an event to the trail. If it is up to five seconds older than the event before it, it gets that event's
    /// time.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn append(&mut self, new: NewEvent) -> Result<EventId, StoreError> {
        let at = self.time_of_next(Timestamp::from(new.at))?;
        let event = new.sealed(&self.head.chain, at);
        let agent = event.agent_id.as_deref().map(|agent| self.intern(agent)).transpose()?;
        let task = event.task_id.as_deref().map(|task| self.intern(task)).transpose()?;
        self.execute(
            INSERT,
            params![
                signed(event.id.sequence()),
                at.0,
                kind(event.event_type, event.outcome),
                agent.as_ref().map(|agent| agent.id),
                task.map(|task| task.id),
                agent.and_then(|agent| agent.app),
                event.orch_id,
                event.detail,
                event.resource,
                event.deleg_depth,
                event.deleg_chain_hash,
                event.bytes_transferred.map(signed),
                event.hash.as_bytes(),
                event.prev_hash.as_bytes(),
            ],
        )?;
        self.head = TrailHead { chain: ChainHead { sequence: event.id.sequence(), hash: event.hash }, at };
        Ok(event.id)
    }

    fn time_of_next(&mut self, at: Timestamp) -> Result<Timestamp, StoreError> {
        let last = self.head.at;
        if at.0 < last.0.saturating_sub(OVERTAKING) {
            let first = signed(self.head.chain.sequence.saturating_add(1));
            self.execute("INSERT INTO audit_runs (first) VALUES (?1)", [first])?;
            return Ok(at);
        }
        Ok(at.max(last))
    }
}

/// Gives each event in each list the number of the last event of its kind there, plus one.
pub(super) const INSERT: &str = "\
    INSERT INTO audit_events (seq, at, kind, agent, task, app, orch, detail, resource, deleg_depth, deleg_chain_hash, \
        bytes, hash, prev_hash, n_all, n_agent, n_task, n_app, n_agent_task, n_task_app) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
        1 + ifnull((SELECT n_all FROM audit_events INDEXED BY audit_by_kind \
            WHERE kind = ?3 ORDER BY seq DESC LIMIT 1), 0), \
        iif(?4 IS NULL, NULL, 1 + ifnull((SELECT n_agent FROM audit_events INDEXED BY audit_by_agent \
            WHERE agent = ?4 AND kind = ?3 ORDER BY seq DESC LIMIT 1), 0)), \
        iif(?5 IS NULL, NULL, 1 + ifnull((SELECT n_task FROM audit_events INDEXED BY audit_by_task \
            WHERE task = ?5 AND kind = ?3 ORDER BY seq DESC LIMIT 1), 0)), \
        iif(?6 IS NULL, NULL, 1 + ifnull((SELECT n_app FROM audit_events INDEXED BY audit_by_app \
            WHERE app = ?6 AND kind = ?3 ORDER BY seq DESC LIMIT 1), 0)), \
        iif(?4 IS NULL OR ?5 IS NULL, NULL, 1 + ifnull((SELECT n_agent_task \
            FROM audit_events INDEXED BY audit_by_agent_task \
            WHERE agent = ?4 AND task = ?5 AND kind = ?3 ORDER BY seq DESC LIMIT 1), 0)), \
        iif(?5 IS NULL OR ?6 IS NULL, NULL, 1 + ifnull((SELECT n_task_app \
            FROM audit_events INDEXED BY audit_by_task_app \
            WHERE task = ?5 AND app = ?6 AND kind = ?3 ORDER BY seq DESC LIMIT 1), 0)))";

/// Event type and outcome in one number.
pub(super) fn kind(event_type: EventType, outcome: Outcome) -> i64 {
    i64::from(event_type.code()) * 2 + i64::from(outcome == Outcome::Denied)
}

pub(super) fn from_kind(kind: i64) -> Option<(EventType, Outcome)> {
    let event_type = EventType::from_code(u8::try_from(kind / 2).ok()?)?;
    Some((event_type, if kind % 2 == 0 { Outcome::Success } else { Outcome::Denied }))
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
