//! Breaks of the audit trail at the start: refused, or accepted by an event of the trail itself.
//!
//! 1. The start follows the end of the trail. A break that an earlier event accepts is logged, and stops nothing.
//! 2. A break that the operator names for this start is accepted by an event that is durable before the store opens.
//! 3. Any other break stops the start. So an acceptance holds for one break, and a later change is refused again.

use agentwrit_verify::{
    Subject, UnixTime,
    audit::{AcceptedChainBreak, ChainBreak, ChainBreakId, ChainVerifier},
};
use rusqlite::Connection;

use super::{OpenError, Reader, StoreError, Tx, audit_log::TrailHead};
use crate::audit::{EventType, NewEvent};

/// How many events at the end of the trail are verified at the start.
const VERIFIED_TAIL: u64 = 1000;

/// Breaks of the audit trail that the operator accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Which breaks.
    pub breaks: Vec<ChainBreakId>,
    /// The time of the events that record it.
    pub at: UnixTime,
}

impl Acceptance {
    /// Accepts no break.
    pub const NONE: Self = Self { breaks: Vec::new(), at: UnixTime::MAX };
}

/// Verifies the end of the trail and records what `acceptance` accepts; where the trail ends then.
pub(super) fn verify_trail(connection: &Connection, acceptance: &Acceptance) -> Result<TrailHead, OpenError> {
    let walk = walk_end(connection)?;
    log_accepted(walk.accepted());
    log_unknown(&walk, acceptance);
    let accepted = accepted(&walk, &acceptance.breaks)?;
    let head = Reader::new(connection).trail_head()?;
    if accepted.is_empty() { Ok(head) } else { Ok(record(connection, head, &accepted, acceptance.at)?) }
}

/// Follows the end of the trail.
pub(super) fn walk_end(connection: &Connection) -> Result<ChainVerifier, StoreError> {
    Reader::new(connection).walk_tail(VERIFIED_TAIL)
}

/// The breaks that no event of the trail accepts, if all of them are among `breaks`.
pub(super) fn accepted(walk: &ChainVerifier, breaks: &[ChainBreakId]) -> Result<Vec<ChainBreak>, OpenError> {
    let (accepted, refused): (Vec<ChainBreak>, Vec<ChainBreak>) =
        walk.open().iter().partition(|broken| breaks.contains(&broken.id));
    if refused.is_empty() { Ok(accepted) } else { Err(OpenError::BrokenAudit { breaks: refused }) }
}

/// Appends an event for each accepted break, in one transaction.
fn record(
    connection: &Connection,
    head: TrailHead,
    accepted: &[ChainBreak],
    at: UnixTime,
) -> Result<TrailHead, StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let recorded = append(connection, head, accepted, at).and_then(|head| {
        connection.execute_batch("COMMIT")?;
        Ok(head)
    });
    if recorded.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    recorded
}

fn append(
    connection: &Connection,
    head: TrailHead,
    accepted: &[ChainBreak],
    at: UnixTime,
) -> Result<TrailHead, StoreError> {
    let mut tx = Tx::new(connection, head);
    for broken in accepted {
        tracing::warn!(component = "store", fault = %broken.fault, id = %broken.id, "a break of the audit trail is accepted");
        let detail = format!("break of the audit trail accepted: {}", broken.fault);
        let event = NewEvent::success(EventType::AuditBreakAccepted, at, Subject::Admin, detail);
        tx.append(event.resource(broken.id))?;
    }
    let head = tx.head;
    tx.keep()?;
    Ok(head)
}

fn log_accepted(accepted: &[AcceptedChainBreak]) {
    for AcceptedChainBreak { broken, accepted_by } in accepted {
        tracing::warn!(
            component = "store",
            fault = %broken.fault,
            id = %broken.id,
            %accepted_by,
            "the audit trail has a break that was accepted"
        );
    }
}

fn log_unknown(walk: &ChainVerifier, acceptance: &Acceptance) {
    let open = walk.open().iter().map(|broken| broken.id);
    let known: Vec<ChainBreakId> = walk.accepted().iter().map(|accepted| accepted.broken.id).chain(open).collect();
    for id in acceptance.breaks.iter().filter(|id| !known.contains(id)) {
        tracing::warn!(component = "store", %id, "AA_ACCEPT_BROKEN_AUDIT names a break that is not in the end of the audit trail");
    }
}
