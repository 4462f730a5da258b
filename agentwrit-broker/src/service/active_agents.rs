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

use crate::{
    ledger::Ledger,
    store::{StoreError, Tx},
    telemetry::metrics::Metrics,
};

/// How long a count stands while nothing is known to have lowered it.
const COUNTED_FOR: Duration = Duration::from_secs(5);
/// How many times as long as a count took the next one waits.
const PAUSE: u32 = 4;

/// Counts the active agents.
#[derive(Debug)]
pub(crate) struct ActiveAgents {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    counts: Arc<Counts>,
}

/// When the agents were last counted.
#[derive(Debug, Default)]
struct Counts {
    outdated: AtomicBool,
    /// The end of the last count, and how long it took. Held while a count runs.
    counted: Mutex<Option<(Instant, Duration)>>,
}

impl ActiveAgents {
    pub(crate) fn new(ledger: Arc<Ledger>, metrics: Arc<Metrics>) -> Self {
        Self { ledger, metrics, counts: Arc::default() }
    }

    /// Has the agents counted anew for the metrics once this transaction is durable.
    pub(crate) fn recount_after(&self, tx: &mut Tx<'_>) {
        let counts = Arc::clone(&self.counts);
        tx.after_commit(move || counts.outdated.store(true, Ordering::SeqCst));
    }

    /// Brings the metric of active agents up to date.
    pub(crate) async fn count(&self) -> Result<(), StoreError> {
        let mut counted = self.counts.counted.lock().await;
        if let Some((at, took)) = *counted {
            let passed = self.ledger.monotonic().saturating_duration_since(at);
            if self.counts.outdated.load(Ordering::SeqCst) {
                sleep(took.saturating_mul(PAUSE).saturating_sub(passed)).await;
            } else if passed < COUNTED_FOR {
                return Ok(());
            }
        }
        // Before the count: what happens meanwhile outdates it again.
        self.counts.outdated.store(false, Ordering::SeqCst);
        let (now, begin) = (self.ledger.now(), self.ledger.monotonic());
        let outcome = self.ledger.read(move |reader| reader.active_agents(now)).await;
        let end = self.ledger.monotonic();
        *counted = Some((end, end.saturating_duration_since(begin)));
        match outcome {
            Ok(agents) => self.metrics.set_active_agents(agents),
            Err(error) => {
                self.counts.outdated.store(true, Ordering::SeqCst);
                return Err(error);
            }
        }
        Ok(())
    }
}
