//! The audit event of a confirmation.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use agentwrit_protocol::ConfirmationResponse;
use agentwrit_verify::{FeedCursor, Subject, UnixTime};

use super::document::{Document, MAX_KEPT, NEARLY_FULL};
use crate::{
    audit::{EventType, NewEvent},
    ledger::Ledger,
    service::Error,
};

/// Number of confirmations that are known to be recorded.
const REMEMBERED: usize = 64;

/// The latest confirmations that were recorded: requests for them write nothing.
#[derive(Debug, Default)]
pub(super) struct Recorded(Mutex<VecDeque<FeedCursor>>);

impl Recorded {
    /// Records a confirmation unless any broker has. Returns the size of all evidence if this one did.
    pub(super) async fn once(
        &self,
        ledger: &Arc<Ledger>,
        by: &Subject,
        cursor: &FeedCursor,
        found: &ConfirmationResponse,
        evidence: Document,
    ) -> Result<Option<u64>, Error> {
        let (by, found, cursor, book) = (by.clone(), found.clone(), cursor.clone(), Arc::clone(ledger));
        let (document, digest) = (Arc::<[u8]>::from(evidence.compressed), evidence.digest);
        let recorded = cursor.clone();
        let kept = ledger
            .transact(move |tx| {
                let now = tx.now();
                // A log that was begun since has no such cursor.
                if tx.epoch()? != cursor.epoch() || !tx.note_confirmation(cursor.position())? {
                    return Ok::<_, Error>(None);
                }
                tx.put_confirmation_evidence(cursor.position(), &document, MAX_KEPT)?;
                book.record(tx, event(&by, &cursor, &found, &digest, now))?;
                Ok(Some(tx.confirmation_evidence_size()?))
            })
            .await?;
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.push_front(recorded);
        latest.truncate(REMEMBERED);
        Ok(kept.inspect(|size| warn_if_nearly_full(*size)))
    }

    /// Returns true if the confirmation is known to be recorded.
    pub(super) fn contains(&self, cursor: &FeedCursor) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(cursor)
    }
}

/// Warns before the next confirmations remove the oldest evidence.
fn warn_if_nearly_full(size: u64) {
    if size >= NEARLY_FULL {
        tracing::warn!(
            component = "confirmation",
            bytes = size,
            limit = MAX_KEPT,
            "the next confirmations remove the oldest evidence: save what you need with `awrit confirmation CURSOR --evidence`"
        );
    }
}

fn event(by: &Subject, cursor: &FeedCursor, found: &ConfirmationResponse, digest: &str, now: UnixTime) -> NewEvent {
    let ConfirmationResponse { confirmation, unenrolled, elapsed_ms, pending_omitted: _ } = found;
    NewEvent::success(EventType::RevocationConfirmed, now, by, "no enrolled verifier accepts what was revoked")
        .resource(cursor)
        .word("verifiers", confirmation.verifiers)
        .word("confirmed", confirmation.confirmed)
        .word("fenced", confirmation.fenced)
        .word("unenrolled", unenrolled)
        .word("elapsed_ms", elapsed_ms)
        .word("evidence", digest)
}
