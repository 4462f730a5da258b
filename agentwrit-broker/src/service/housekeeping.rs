//! Deletion of expired records, in the store and in memory.

use std::{sync::Arc, time::Duration};

use agentwrit_verify::RevocationList;

use super::{Parts, verifiers::VerifierService};
use crate::{
    issuer::Challenges,
    ledger::Ledger,
    store::{Pruned, StoreError, Tx},
};

/// Interval within which one of several brokers deletes expired records.
const INTERVAL: Duration = Duration::from_secs(45);

/// Deletes records that have expired for certain.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    ledger: Arc<Ledger>,
    revocations: RevocationList,
    challenges: Arc<Challenges>,
    verifiers: Arc<VerifierService>,
}

impl Housekeeping {
    pub(super) fn new(parts: Parts, revocations: RevocationList) -> Self {
        let Parts { ledger, challenges, verifiers, .. } = parts;
        Self { ledger, revocations, challenges, verifiers }
    }

    /// Deletes records that have expired for certain, and records the time that has passed. A large backlog is deleted in
    /// steps, so that no operation waits long for the writer.
    pub(crate) async fn delete_expired(self: &Arc<Self>) -> Result<(), StoreError> {
        self.verifiers.delete_ended_enrolments().await?;
        let mut goes_on = self.ledger.transact(|tx| tx.take_housekeeping(INTERVAL)).await?;
        while goes_on {
            let housekeeping = Arc::clone(self);
            goes_on = self.ledger.transact(move |tx| housekeeping.prune(tx)).await?.reached_limit();
        }
        self.revocations.remove_expired(self.ledger.deletable_until());
        Ok(())
    }

    fn prune(&self, tx: &mut Tx<'_>) -> Result<Pruned, StoreError> {
        self.ledger.record_time(tx)?;
        let nonces_until = self.challenges.uses_deletable_until();
        tx.prune(self.ledger.deletable_until(), nonces_until)
    }
}
