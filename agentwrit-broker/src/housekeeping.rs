//! Housekeeping: drops what has no more use, on the disk and in memory.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    authority::Authority,
    service::Error,
    store::{Pruned, Tx},
    timekeeping::forgotten_until,
};

/// How long a count of the agents stands.
const COUNTED_FOR: Duration = Duration::from_secs(5);

impl Authority {
    /// Forgets what has expired. A large backlog is worked off in steps, so that nobody waits long for the writer.
    pub(crate) async fn forget_expired(self: &Arc<Self>) -> Result<(), Error> {
        while self.transact(|authority, tx| authority.prune(tx)).await?.reached_limit() {}
        self.revocations.forget_expired(forgotten_until(self.clock.now()));
        Ok(())
    }

    fn prune(&self, tx: &mut Tx<'_>) -> Result<Pruned, Error> {
        let nonces_until = self.nonce_time.forget(self.clock.as_ref());
        Ok(tx.prune(forgotten_until(self.clock.now()), nonces_until)?)
    }

    /// Counts the agents for whoever looks at the metrics, unless that was done a moment ago: strangers may ask often.
    pub(crate) async fn count_agents(&self) -> Result<(), Error> {
        let monotonic = self.clock.monotonic();
        {
            let mut counted = self.agents_counted.lock().unwrap_or_else(PoisonError::into_inner);
            if counted.is_some_and(|at| monotonic.saturating_duration_since(at) < COUNTED_FOR) {
                return Ok(());
            }
            *counted = Some(monotonic);
        }
        let now = self.clock.now();
        let agents = self.store.read(move |reader| Ok::<_, Error>(reader.active_agents(now)?)).await?;
        self.metrics.set_active_agents(agents);
        Ok(())
    }
}
