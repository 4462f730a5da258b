//! The audit trail: appending, and reading in sequence. Queries are in `audit_query`.

use agentwrit_verify::{
    UnixTime,
    audit::{ChainLink, ChainVerifier},
};

use super::{
    StoreError,
    audit_lists::{List, Lists, Span, kind},
    names::{ReadNames, WriteNames},
    trail::TrailHead,
};
use crate::audit::{ChainHead, Event, EventId, NewEvent, Timestamp};

/// Largest time in microseconds by which an event may be older than the last one and gets its time, because requests
/// overtake each other. An event that is older still shows that the clock was set back, and begins a new run of events.
const OVERTAKING: i64 = 5_000_000;

/// An event with everything that the store keeps of it.
#[derive(Debug)]
pub struct EventRow {
    pub(super) event: Event,
    pub(super) at: Timestamp,
    pub(super) kind: i64,
    pub(super) agent: Option<i64>,
    pub(super) task: Option<i64>,
    pub(super) app: Option<i64>,
    /// Number of the event among those of its kind in each of its lists.
    pub(super) ordinals: Ordinals,
}

/// Number of an event among those of its kind in each of its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ordinals {
    pub(super) all: u64,
    pub(super) agent: Option<u64>,
    pub(super) task: Option<u64>,
    pub(super) app: Option<u64>,
    pub(super) agent_task: Option<u64>,
    pub(super) task_app: Option<u64>,
}

/// Reads of the audit trail.
pub trait ReadAudit: ReadNames {
    /// Returns the number of events.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_total(&self) -> Result<u64, StoreError>;

    /// Returns the events after the `after`th in sequence, to export or verify the whole trail.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_events_after(&self, after: u64, limit: u64) -> Result<Vec<Event>, StoreError>;

    /// Returns the events with these numbers, in their order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_events_numbered(&self, sequences: &[u64]) -> Result<Vec<Event>, StoreError>;

    /// Returns the last event up to a number; none before the first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trail_head_at(&self, sequence: u64) -> Result<Option<TrailHead>, StoreError>;

    /// Returns the kinds of which a list has events, in ascending order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_kinds(&self, list: List) -> Result<Vec<i64>, StoreError>;

    /// Returns the number of events of some kinds in a list up to a number of the trail.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_rank(&self, list: List, kinds: &[i64], sequence: u64) -> Result<u64, StoreError>;

    /// Returns the numbers of the first `count` events of some kinds in a list and a stretch of the trail.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_sequences(&self, list: List, kinds: &[i64], span: Span, count: u64) -> Result<Vec<u64>, StoreError>;

    /// Returns the first events of the runs after the first run: where the clock was set back.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_runs(&self) -> Result<Vec<u64>, StoreError>;

    /// Returns the time of an event.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn audit_time(&self, sequence: u64) -> Result<Option<UnixTime>, StoreError>;

    /// Returns the end of the trail.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn trail_head(&self) -> Result<TrailHead, StoreError> {
        Ok(self.trail_head_at(u64::MAX)?.unwrap_or_default())
    }

    /// Verifies the chain over the last `count` events.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn walk_tail(&self, count: u64) -> Result<ChainVerifier, StoreError> {
        let before = self.audit_total()?.saturating_sub(count);
        let head = self.trail_head_at(before)?.map_or(ChainHead::GENESIS, |head| head.chain);
        let mut walk = ChainVerifier::new(head);
        for event in self.audit_events_after(before, count)? {
            let unending =
                |fault| StoreError::corrupt(format!("the audit trail has too many breaks, the last: {fault}"));
            walk.follow(&ChainLink::of(&event)).map_err(unending)?;
        }
        Ok(walk)
    }
}

/// Additions to the audit trail.
pub trait WriteAudit: ReadAudit + WriteNames {
    /// Adds the row of an event.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn insert_event(&mut self, row: EventRow) -> Result<(), StoreError>;

    /// Begins a new run of events with the event of that number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn insert_audit_run(&mut self, first: u64) -> Result<(), StoreError>;

    /// Appends an event to the trail. If it is up to five seconds older than the event before it, it gets that event's
    /// time.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn append(&mut self, new: NewEvent) -> Result<EventId, StoreError> {
        let head = self.job().trail.head;
        let at = time_of_next(self, &head, Timestamp::from(new.at))?;
        let event = new.sealed(&head.chain, at);
        let (id, hash) = (event.id, event.hash);
        let agent = event.agent_id.as_deref().map(|agent| self.intern(agent)).transpose()?;
        let task = event.task_id.as_deref().map(|task| self.intern(task)).transpose()?.map(|task| task.id);
        let app = agent.as_ref().and_then(|agent| agent.app);
        let agent = agent.map(|agent| agent.id);
        let kind = kind(event.event_type, event.outcome);
        let ordinals = next_ordinals(self, &Lists::of(agent, task, app), kind)?;
        self.insert_event(EventRow { event, at, kind, agent, task, app, ordinals })?;
        self.job_mut().trail.head = TrailHead { chain: ChainHead { sequence: id.sequence(), hash }, at };
        Ok(id)
    }
}

fn time_of_next<W: WriteAudit + ?Sized>(tx: &mut W, head: &TrailHead, at: Timestamp) -> Result<Timestamp, StoreError> {
    if at.0 < head.at.0.saturating_sub(OVERTAKING) {
        tx.insert_audit_run(head.chain.sequence.saturating_add(1))?;
        return Ok(at);
    }
    Ok(at.max(head.at))
}

/// Numbers the next event of a kind in its lists.
fn next_ordinals<W: WriteAudit + ?Sized>(tx: &mut W, lists: &Lists, kind: i64) -> Result<Ordinals, StoreError> {
    let mut next = |list: List| -> Result<u64, StoreError> {
        let last = match tx.job().trail.ordinal(list, kind) {
            Some(last) => last,
            None => tx.audit_rank(list, &[kind], u64::MAX)?,
        };
        let ordinal = last.saturating_add(1);
        tx.job_mut().trail.set_ordinal(list, kind, ordinal);
        Ok(ordinal)
    };
    Ok(Ordinals {
        all: next(List::All)?,
        agent: lists.agent.map(&mut next).transpose()?,
        task: lists.task.map(&mut next).transpose()?,
        app: lists.app.map(&mut next).transpose()?,
        agent_task: lists.agent_task.map(&mut next).transpose()?,
        task_app: lists.task_app.map(&mut next).transpose()?,
    })
}
