//! Reaction to commits that the database lost: everything issued so far is revoked.
//!
//! 1. Revocations, and uses of launch tokens and nonces, may be among what was lost, so every token, launch token and nonce
//!    issued until now counts as revoked or used, and agents are barred. Agents register again.
//! 2. Apps go on: the broker serves without an operator. What was changed on apps may be lost too; the event tells since
//!    when.

use agentwrit_verify::Subject;

use crate::{
    audit::{EventId, EventType, NewEvent},
    maintenance::restore::{RevokedCredentials, revoke_everything},
    store::{LostHistory, StoreError, Tx},
};

/// Revokes everything issued until now, and until the last commit that this broker saw.
pub(crate) fn revoke_all(tx: &mut Tx<'_>, lost: &LostHistory) -> Result<(), StoreError> {
    let marked_at = tx.now().max(lost.until).max(tx.recorded_time()?.newest);
    let RevokedCredentials { launch_tokens_deleted, agents_barred } =
        revoke_everything(tx, marked_at, "the database lost commits")?;
    let detail = "the database lost commits that were acknowledged, everything issued until now is revoked";
    let event = NewEvent::success(EventType::HistoryLost, marked_at, Subject::Admin, detail)
        .word("seen_event", EventId::from_sequence(lost.seen.sequence))
        .word("seen_hash", lost.seen.hash)
        .word("seen_at", lost.until.to_rfc3339())
        .word("found_event", EventId::from_sequence(lost.found.sequence))
        .word("found_hash", lost.found.hash)
        .word("launch_tokens_deleted", launch_tokens_deleted)
        .word("agents_barred", agents_barred)
        .resource(&lost.epoch);
    tx.append(event).map(|_| ())
}
