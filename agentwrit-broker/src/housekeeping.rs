//! Housekeeping: drops what has no more use, on the disk and in memory.

use std::sync::Arc;

use crate::{
    authority::Authority,
    service::Error,
    store::{Pruned, Tx},
};

impl Authority {
    /// Forgets what has expired for certain, and records the time that has passed. A large backlog is worked off in
    /// steps, so that no operation waits long for the writer.
    pub(crate) async fn forget_expired(self: &Arc<Self>) -> Result<(), Error> {
        while self.transact(|authority, tx| authority.prune(tx)).await?.reached_limit() {}
        self.revocations.forget_expired(self.forgotten_until());
        Ok(())
    }

    fn prune(&self, tx: &mut Tx<'_>) -> Result<Pruned, Error> {
        self.record_time(tx)?;
        let nonces_until = self.nonce_time.forget(self.clock.as_ref());
        Ok(tx.prune(self.forgotten_until(), nonces_until)?)
    }

    /// Records the time that has passed for certain, for the next start.
    pub(crate) fn record_time(&self, tx: &mut Tx<'_>) -> Result<(), Error> {
        Ok(tx.record_certain_time(self.timekeeper.certain(self.clock.as_ref()))?)
    }
}
