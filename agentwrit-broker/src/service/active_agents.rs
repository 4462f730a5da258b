//! Number of active agents, for the metrics.
//!
//! 1. Any client may request the metrics, so a count stands for [`COUNT_LIFETIME`], unless it is outdated.
//! 2. A count is outdated once an operation may have lowered it: the next request counts anew.
//! 3. One count runs at a time, for at most a fifth of the time, and all requests made before it began share it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    ledger::Ledger,
    limits::{
        pools::Pools,
        single_flight::{Begun, SingleFlight},
    },
    store::{StoreError, Tx},
    telemetry::metrics::Metrics,
};

/// Lifetime of a count while nothing is known to have lowered it.
const COUNT_LIFETIME: Duration = Duration::from_secs(5);
/// Pause after a count, as a multiple of how long it took.
const PAUSE: u32 = 4;

/// Counts the active agents.
#[derive(Debug)]
pub(crate) struct ActiveAgents {
    counter: Arc<Counter>,
    /// End of each count, on the monotonic clock.
    counts: SingleFlight<Instant>,
}

#[derive(Debug)]
struct Counter {
    ledger: Arc<Ledger>,
    pools: Arc<Pools>,
    metrics: Arc<Metrics>,
    outdated: AtomicBool,
}

impl ActiveAgents {
    pub(crate) fn new(ledger: Arc<Ledger>, pools: Arc<Pools>, metrics: Arc<Metrics>) -> Self {
        let counter = Counter { ledger, pools, metrics, outdated: AtomicBool::new(false) };
        Self { counter: Arc::new(counter), counts: SingleFlight::new(PAUSE) }
    }

    /// Outdates the count once this transaction is durable.
    pub(crate) fn recount_after(&self, tx: &mut Tx<'_>) {
        let counter = Arc::clone(&self.counter);
        tx.after_commit(move || counter.outdated.store(true, Ordering::SeqCst));
    }

    /// Brings the metric of active agents up to date.
    pub(crate) async fn count(&self) -> Result<(), StoreError> {
        let is_usable = |counted: &Instant, begun| {
            let age = self.counter.ledger.monotonic().saturating_duration_since(*counted);
            begun == Begun::AfterRequest || (age < COUNT_LIFETIME && !self.counter.outdated.load(Ordering::SeqCst))
        };
        let counter = Arc::clone(&self.counter);
        let outcome = self.counts.run(is_usable, move |_| async move { counter.count().await }).await;
        outcome.unwrap_or_else(|error| Err(StoreError::Internal { cause: error.to_string() })).map(|_| ())
    }
}

impl Counter {
    async fn count(&self) -> Result<Instant, StoreError> {
        let turn = self.pools.long_read().await;
        // Before the count: an operation during it outdates it again.
        self.outdated.store(false, Ordering::SeqCst);
        let now = self.ledger.now();
        let counted = self.ledger.read(move |reader| {
            let _turn = turn;
            reader.active_agents(now)
        });
        match counted.await {
            Ok(agents) => {
                self.metrics.set_active_agents(agents);
                Ok(self.ledger.monotonic())
            }
            Err(error) => {
                self.outdated.store(true, Ordering::SeqCst);
                Err(error)
            }
        }
    }
}
