//! Reaction to commits that the database lost: everything issued so far is revoked.
//!
//! 1. Revocations, and uses of launch tokens and nonces, may be among what was lost, so every token, launch token and nonce
//!    issued until now counts as revoked or used, and agents are barred. Agents register again.
//! 2. Keys that this broker knows as withdrawn, and the database does not, are withdrawn again, whichever broker reacted first.
//! 3. Apps go on: the broker serves without an operator. What was changed on apps may be lost too; the event tells since
//!    when.

use agentwrit_verify::Subject;

use crate::{
    audit::{EventId, EventType, NewEvent},
    domain::{KeyPurpose, KeyState, StoredKey},
    keys::Custody,
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

/// Withdraws the keys again that this broker knows as withdrawn. If the active key is one of them, a prepared one takes its
/// place, or a new one.
pub(crate) fn withdraw_keys_again(tx: &mut Tx<'_>, lost: &LostHistory, custody: &Custody) -> Result<(), StoreError> {
    let keys: Vec<StoredKey> = tx.signing_keys()?.into_iter().filter(|row| row.purpose == KeyPurpose::Token).collect();
    let is_withdrawn = |row: &StoredKey| lost.withdrawn_keys.contains(&row.kid);
    let lost_withdrawals: Vec<&StoredKey> =
        keys.iter().filter(|row| is_withdrawn(row) && row.state != KeyState::Withdrawn).collect();
    if lost_withdrawals.is_empty() {
        return Ok(());
    }
    // The followers of the log read the keys when they find the new epoch, or the cursor.
    let (cursor, now) = (tx.advance_cursor()?, tx.now());
    let put = |tx: &mut Tx<'_>, before: &StoredKey, after: StoredKey| {
        let after = StoredKey { changed_at: now, cursor, ..after };
        let kind = if after.state == KeyState::Active { EventType::KeyActivated } else { EventType::KeyWithdrawn };
        let detail = "the database lost the withdrawal of a signing key";
        tx.append(NewEvent::success(kind, now, Subject::Admin, detail).word("kid", &after.kid))?;
        tx.put_signing_key(&custody.with_state(before, after)?)
    };
    for row in &lost_withdrawals {
        put(tx, row, StoredKey { state: KeyState::Withdrawn, ..(*row).clone() })?;
    }
    if lost_withdrawals.iter().any(|row| row.state == KeyState::Active) {
        let unusable = custody.unusable(&keys);
        let may_sign = |row: &&StoredKey| {
            row.state == KeyState::Prepared && !is_withdrawn(row) && unusable.iter().all(|key| key.kid != row.kid)
        };
        let next = match keys.iter().find(may_sign) {
            Some(prepared) => prepared.clone(),
            None => custody.successor(&keys, now)?,
        };
        let active = StoredKey { state: KeyState::Active, activates_at: None, activated_at: Some(now), ..next.clone() };
        put(tx, &next, active)?;
    }
    Ok(())
}
