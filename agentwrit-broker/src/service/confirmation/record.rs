//! The audit event of a confirmation.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use agentwrit_protocol::ConfirmationResponse;
use agentwrit_verify::{FeedCursor, Subject, UnixTime};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::{
    audit::{EventType, NewEvent},
    ledger::Ledger,
    service::{Error, verifiers::FleetSnapshot},
};

/// Number of confirmations that are known to be recorded.
const REMEMBERED: usize = 64;

/// The latest confirmations that were recorded: requests for them write nothing.
#[derive(Debug, Default)]
pub(super) struct Recorded(Mutex<VecDeque<FeedCursor>>);

impl Recorded {
    /// Records a confirmation unless any broker has.
    pub(super) async fn once(
        &self,
        ledger: &Arc<Ledger>,
        by: &Subject,
        cursor: &FeedCursor,
        found: &ConfirmationResponse,
        reports: [u8; 32],
    ) -> Result<(), Error> {
        if self.contains(cursor) {
            return Ok(());
        }
        let (by, found, cursor, book) = (by.clone(), found.clone(), cursor.clone(), Arc::clone(ledger));
        let recorded = cursor.clone();
        ledger
            .transact(move |tx| {
                let now = tx.now();
                // A log that was begun since has no such cursor.
                if tx.epoch()? == cursor.epoch() && tx.note_confirmation(cursor.position())? {
                    book.record(tx, event(&by, &cursor, &found, reports, now))?;
                }
                Ok::<_, Error>(())
            })
            .await?;
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.push_front(recorded);
        latest.truncate(REMEMBERED);
        Ok(())
    }

    fn contains(&self, cursor: &FeedCursor) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(cursor)
    }
}

fn event(
    by: &Subject,
    cursor: &FeedCursor,
    found: &ConfirmationResponse,
    reports: [u8; 32],
    now: UnixTime,
) -> NewEvent {
    let ConfirmationResponse { confirmation, unenrolled, elapsed_ms, pending_omitted: _ } = found;
    NewEvent::success(EventType::RevocationConfirmed, now, by, "no enrolled verifier accepts what was revoked")
        .resource(cursor)
        .word("verifiers", confirmation.verifiers)
        .word("confirmed", confirmation.confirmed)
        .word("fenced", confirmation.fenced)
        .word("unenrolled", unenrolled)
        .word("elapsed_ms", elapsed_ms)
        .word("reports", HEXLOWER.encode(&reports))
}

/// Returns the digest of the reports that a decision was made of: SHA-256 over the SHA-256 of each signed report, in the
/// order of verifier and instance.
pub(super) fn digest(fleet: &FleetSnapshot) -> [u8; 32] {
    fleet.reports.iter().fold(Sha256::new(), |hash, report| hash.chain_update(report.digest)).finalize().into()
}
