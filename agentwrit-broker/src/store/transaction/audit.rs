//! The audit trail.

use agentwrit_verify::UnixTime;

use super::Tx;
use crate::{
    audit::{ChainHead, Event, EventId, NewEvent, Timestamp},
    store::{
        StoreError,
        audit_lists::{List, Lists, Span, kind},
        audit_log::ReadAudit,
        batch::Batch,
        pending::{AuditRun, EventRow, Ordinals},
        trail::{OrdinalKey, TrailHead},
    },
};

/// Largest time in microseconds by which an event may be older than the last one and gets its time, because requests
/// overtake each other. An event that is older still shows that the clock was set back, and begins a new run of events.
const OVERTAKING: i64 = 5_000_000;

impl ReadAudit for Tx<'_> {
    fn audit_total(&self) -> Result<u64, StoreError> {
        Ok(self.batch.borrow().head.trail.chain.sequence)
    }

    fn audit_events_after(&self, after: u64, limit: u64) -> Result<Vec<Event>, StoreError> {
        self.flushed()?.audit_events_after(after, limit)
    }

    fn audit_events_numbered(&self, sequences: &[u64]) -> Result<Vec<Event>, StoreError> {
        self.flushed()?.audit_events_numbered(sequences)
    }

    fn trail_head_at(&self, sequence: u64) -> Result<Option<TrailHead>, StoreError> {
        self.flushed()?.trail_head_at(sequence)
    }

    fn audit_kinds(&self, list: List) -> Result<Vec<i64>, StoreError> {
        self.flushed()?.audit_kinds(list)
    }

    fn audit_rank(&self, list: List, kinds: &[i64], sequence: u64) -> Result<u64, StoreError> {
        self.flushed()?.audit_rank(list, kinds, sequence)
    }

    fn audit_sequences(&self, list: List, kinds: &[i64], span: Span, count: u64) -> Result<Vec<u64>, StoreError> {
        self.flushed()?.audit_sequences(list, kinds, span, count)
    }

    fn audit_runs(&self) -> Result<Vec<u64>, StoreError> {
        self.flushed()?.audit_runs()
    }

    fn audit_time(&self, sequence: u64) -> Result<Option<UnixTime>, StoreError> {
        self.flushed()?.audit_time(sequence)
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
        let head = self.batch.borrow().head.trail;
        let at = self.time_of_next(&head, Timestamp::from(new.at));
        let event = new.sealed(&head.chain, at);
        let (id, hash) = (event.id, event.hash);
        let agent = event.agent_id.as_deref().map(|agent| self.intern(agent)).transpose()?;
        let task = event.task_id.as_deref().map(|task| self.intern(task)).transpose()?.map(|task| task.id);
        let app = agent.as_ref().and_then(|agent| agent.app);
        let agent = agent.map(|agent| agent.id);
        let kind = kind(event.event_type, event.outcome);
        let lists = Lists::of(agent, task, app);
        self.note_failure(self.learn_ordinals(&lists, kind))?;
        let batch = &mut self.batch.borrow_mut();
        let ordinals = next_ordinals(batch, &lists, kind);
        batch.pending.events.push(EventRow { event, at, kind, agent, task, app, ordinals });
        batch.head.trail = TrailHead { chain: ChainHead { sequence: id.sequence(), hash }, at };
        Ok(id)
    }

    fn time_of_next(&self, head: &TrailHead, at: Timestamp) -> Timestamp {
        if at.0 < head.at.0.saturating_sub(OVERTAKING) {
            let first = head.chain.sequence.saturating_add(1);
            self.batch.borrow_mut().pending.audit_runs.push(AuditRun(first));
            return at;
        }
        at.max(head.at)
    }

    /// Reads the ordinals that are not known. No event whose ordinal is not known is held back.
    fn learn_ordinals(&self, lists: &Lists, kind: i64) -> Result<(), StoreError> {
        let batch = &mut self.batch.borrow_mut();
        let mut missing: Vec<OrdinalKey> = lists.all().map(|list| (list, kind)).collect();
        missing.retain(|key| batch.last_ordinal(key).is_none());
        if missing.is_empty() {
            return Ok(());
        }
        for (key, last) in missing.iter().zip(self.rows().last_ordinals(&missing)?) {
            batch.ordinals.set(*key, last);
        }
        Ok(())
    }
}

/// Numbers the next event of a kind in its lists.
fn next_ordinals(batch: &mut Batch, lists: &Lists, kind: i64) -> Ordinals {
    let mut next = |list: List| {
        let key = (list, kind);
        let ordinal = batch.last_ordinal(&key).unwrap_or(0).saturating_add(1);
        batch.ordinals.set(key, ordinal);
        ordinal
    };
    Ordinals {
        all: next(List::All),
        agent: lists.agent.map(&mut next),
        task: lists.task.map(&mut next),
        app: lists.app.map(&mut next),
        agent_task: lists.agent_task.map(&mut next),
        task_app: lists.task_app.map(&mut next),
    }
}
