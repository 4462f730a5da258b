//! Housekeeping: drops what has no more use, on the disk and in memory.

use std::sync::Arc;

use crate::{authority::Authority, service::Error};

impl Authority {
    /// Forgets what has expired. A large backlog is worked off in steps, so that nobody waits long for the writer.
    pub(crate) async fn forget_expired(self: &Arc<Self>) -> Result<(), Error> {
        while self.transact(|authority, tx| Ok(tx.prune(authority.clock.now())?)).await?.reached_limit() {}
        let now = self.clock.now();
        self.revocations.forget_expired(now);
        let agents = self.store.read(move |reader| Ok::<_, Error>(reader.active_agents(now)?)).await?;
        self.metrics.set_active_agents(agents);
        Ok(())
    }
}
