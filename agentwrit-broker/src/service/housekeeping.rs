//! Deletion of expired records, in the store and in memory.

use std::sync::Arc;

use agentwrit_verify::RevocationList;

use super::Parts;
use crate::{
    issuer::Challenges,
    ledger::Ledger,
    store::{Pruned, StoreError, Tx},
};

/// Deletes records that have expired for certain.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    ledger: Arc<Ledger>,
    revocations: RevocationList,
    challenges: Arc<Challenges>,
}

impl Housekeeping {
    pub(super) fn new(parts: Parts, revocations: RevocationList) -> Self {
        let Parts { ledger, challenges, .. } = parts;
        Self { ledger, revocations, challenges }
    }

    /// Deletes records that have expired for certain, and records the time that has passed. A large backlog is deleted in
    /// steps, so that no operation waits long for the writer.
    pub(crate) async fn delete_expired(self: &Arc<Self>) -> Result<(), StoreError> {
        loop {
            let housekeeping = Arc::clone(self);
            if !self.ledger.transact(move |tx| housekeeping.prune(tx)).await?.reached_limit() {
                break;
            }
        }
        self.revocations.remove_expired(self.ledger.deletable_until());
        Ok(())
    }

    fn prune(&self, tx: &mut dyn Tx) -> Result<Pruned, StoreError> {
        self.ledger.record_time(tx)?;
        let nonces_until = self.challenges.uses_deletable_until();
        tx.prune(self.ledger.deletable_until(), nonces_until)
    }
}
