//! Breaks of the audit trail at the start: rejected, or accepted by an event of the trail itself.
//!
//! 1. Opening verifies the end of the trail. A break that an earlier event accepts is logged, and stops nothing.
//! 2. A break that the operator names for this start is accepted. [`Tx::record_accepted_breaks`] records that in a
//!    transaction of the caller, which first reads what the event would hide: the time of the newest record.
//! 3. Any other break stops the start. So an acceptance holds for one break, and a later change is rejected again.

use agentwrit_verify::{
    Subject, UnixTime,
    audit::{AcceptedChainBreak, ChainBreak, ChainBreakId, ChainVerifier},
};

use super::{OpenError, Reader, StoreError, Tx};
use crate::audit::{EventType, NewEvent};

/// Number of events at the end of the trail that are verified at the start.
const VERIFIED_TAIL: u64 = 1000;

/// Verifies the end of the trail. Returns the breaks that `breaks` accepts and no event does yet.
pub(super) fn verify_trail(reader: &dyn Reader, breaks: &[ChainBreakId]) -> Result<Vec<ChainBreak>, OpenError> {
    let walk = walk_end(reader)?;
    log_accepted(walk.accepted());
    log_unknown(&walk, breaks);
    accepted(&walk, breaks)
}

/// Walks the chain over the end of the trail.
pub(super) fn walk_end(reader: &dyn Reader) -> Result<ChainVerifier, StoreError> {
    reader.walk_tail(VERIFIED_TAIL)
}

/// Returns the breaks that no event of the trail accepts. Fails unless all of them are among `breaks`.
pub(super) fn accepted(walk: &ChainVerifier, breaks: &[ChainBreakId]) -> Result<Vec<ChainBreak>, OpenError> {
    let (accepted, refused): (Vec<ChainBreak>, Vec<ChainBreak>) =
        walk.open().iter().partition(|broken| breaks.contains(&broken.id));
    if refused.is_empty() { Ok(accepted) } else { Err(OpenError::BrokenAudit { breaks: refused }) }
}

impl Tx<'_> {
    /// Appends an event for each break that the operator accepts.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn record_accepted_breaks(&mut self, breaks: &[ChainBreak], at: UnixTime) -> Result<(), StoreError> {
        for broken in breaks {
            tracing::warn!(component = "store", fault = %broken.fault, id = %broken.id, "a break of the audit trail is accepted");
            let detail = format!("break of the audit trail accepted: {}", broken.fault);
            let event = NewEvent::success(EventType::AuditBreakAccepted, at, Subject::Admin, detail);
            self.append(event.resource(broken.id))?;
        }
        Ok(())
    }
}

fn log_accepted(accepted: &[AcceptedChainBreak]) {
    for AcceptedChainBreak { broken, accepted_by, .. } in accepted {
        tracing::warn!(
            component = "store",
            fault = %broken.fault,
            id = %broken.id,
            %accepted_by,
            "the audit trail has a break that was accepted"
        );
    }
}

fn log_unknown(walk: &ChainVerifier, breaks: &[ChainBreakId]) {
    let open = walk.open().iter().map(|broken| broken.id);
    let known: Vec<ChainBreakId> = walk.accepted().iter().map(|accepted| accepted.broken.id).chain(open).collect();
    for id in breaks.iter().filter(|id| !known.contains(id)) {
        tracing::warn!(component = "store", %id, "AA_ACCEPT_BROKEN_AUDIT names a break that is not in the end of the audit trail");
    }
}
