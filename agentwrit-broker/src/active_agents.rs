//! The number of active agents, for the metrics.
//!
//! 1. Anyone may ask for the metrics, so a count stands for [`COUNTED_FOR`], unless it is outdated.
//! 2. It is outdated once an operation may have lowered it: the next request counts anew.
//! 3. One count runs at a time, and for at most a fifth of the time: whoever asks earlier waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, time::sleep};

use crate::{authority::Authority, service::Error, store::Tx};

/// How long a count stands while nothing is known to have lowered it.
const COUNTED_FOR: Duration = Duration::from_secs(5);
/// How many times as long as a count took the next one waits.
const PAUSE: u32 = 4;

/// When the agents were last counted.
#[derive(Debug, Default)]
pub(crate) struct ActiveAgents {
    outdated: AtomicBool,
    /// The end of the last count, and how long it took. Held while a count runs.
    counted: Mutex<Option<(Instant, Duration)>>,
}

impl Authority {
    /// Has the agents counted anew for the metrics once this transaction is durable.
    pub(crate) fn recount_agents_after(&self, tx: &mut Tx<'_>) {
        let agents = Arc::clone(&self.active_agents);
        tx.after_commit(move || agents.outdated.store(true, Ordering::SeqCst));
    }

    /// Brings the metric of active agents up to date.
    pub(crate) async fn count_agents(&self) -> Result<(), Error> {
        let mut counted = self.active_agents.counted.lock().await;
        if let Some((at, took)) = *counted {
            let passed = self.clock.monotonic().saturating_duration_since(at);
            if self.active_agents.outdated.load(Ordering::SeqCst) {
                sleep(took.saturating_mul(PAUSE).saturating_sub(passed)).await;
            } else if passed < COUNTED_FOR {
                return Ok(());
            }
        }
        // Before the count: what happens meanwhile outdates it again.
        self.active_agents.outdated.store(false, Ordering::SeqCst);
        let (now, begin) = (self.clock.now(), self.clock.monotonic());
        let outcome = self.store.read(move |reader| Ok::<_, Error>(reader.active_agents(now)?)).await;
        let end = self.clock.monotonic();
        *counted = Some((end, end.saturating_duration_since(begin)));
        match outcome {
            Ok(agents) => self.metrics.set_active_agents(agents),
            Err(error) => {
                self.active_agents.outdated.store(true, Ordering::SeqCst);
                return Err(error);
            }
        }
        Ok(())
    }
}
