//! Housekeeping: drops what has no more use, on the disk and in memory.

use std::sync::Arc;

use agentwrit_verify::RevocationList;

use crate::{
    issuer::Challenges,
    ledger::Ledger,
    store::{Pruned, StoreError, Tx},
};

/// Forgets what has expired for certain.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) revocations: RevocationList,
    pub(crate) challenges: Arc<Challenges>,
}

impl Housekeeping {
    /// Forgets what has expired for certain, and records the time that has passed. A large backlog is worked off in
    /// steps, so that no operation waits long for the writer.
    pub(crate) async fn forget_expired(self: &Arc<Self>) -> Result<(), StoreError> {
        loop {
            let housekeeping = Arc::clone(self);
            if !self.ledger.transact(move |tx| housekeeping.prune(tx)).await?.reached_limit() {
                break;
            }
        }
        self.revocations.remove_expired(self.ledger.forgotten_until());
        Ok(())
    }

    fn prune(&self, tx: &mut Tx<'_>) -> Result<Pruned, StoreError> {
        self.ledger.record_time(tx)?;
        let nonces_until = self.challenges.forget();
        tx.prune(self.ledger.forgotten_until(), nonces_until)
    }
}
