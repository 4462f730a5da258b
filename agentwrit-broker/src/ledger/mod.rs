//! State and its audit trail: what an operation changes and the event about it are one transaction.
//!
//! 1. What an operation acknowledges is durable: state, token record and audit event are committed before the response.
//! 2. The time of an operation is read inside its transaction. One writer runs them one after another, so that the order
//!    of times is the order of commits.
//! 3. What memory mirrors changes after the commit and before the response, whether or not the client still waits for it.
//! 4. Denials are folded in memory and written within a second.
//! 5. An event of an operation that was requested by another interface than the API names it, as `via=console`.

mod denials;

use std::{sync::Arc, time::Instant};

use agentwrit_verify::{Clock, UnixTime};
use tokio_util::task::TaskTracker;

use self::denials::Denials;
use crate::{
    audit::NewEvent,
    clock::ClockMonitor,
    store::{Reader, Store, StoreError, Tx, Wants, When},
    telemetry::metrics::Metrics,
};

tokio::task_local! {
    /// Interface whose name is in the events of the operations that a task requests.
    static INTERFACE: &'static str;
}

/// Has the events of the operations in `request` name the interface that they were requested by.
pub(crate) fn by_interface<F: Future>(name: &'static str, request: F) -> impl Future<Output = F::Output> {
    INTERFACE.scope(name, request)
}

fn named(event: NewEvent, interface: Option<&'static str>) -> NewEvent {
    match interface {
        Some(name) => event.word("via", name),
        None => event,
    }
}

/// The error of an operation, which may be the store's.
pub(crate) trait OperationError: From<StoreError> + Send + 'static {
    /// Returns true if the store failed, rather than the operation rejected its input.
    fn is_store_failure(&self) -> bool;
}

impl OperationError for StoreError {
    fn is_store_failure(&self) -> bool {
        true
    }
}

/// The store, the clock that its operations read, and the audit events on their way into it.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clock_monitor: Arc<ClockMonitor>,
    /// Tasks that may still note denials, whether or not their clients wait for them: the stop waits for these.
    pub(crate) tasks: TaskTracker,
    metrics: Arc<Metrics>,
    denials: Denials,
}

impl Ledger {
    pub(crate) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        clock_monitor: Arc<ClockMonitor>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { store, clock, clock_monitor, tasks: TaskTracker::new(), metrics, denials: Denials::default() }
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    pub(crate) fn monotonic(&self) -> Instant {
        self.clock.monotonic()
    }

    /// The latest time before which ended tokens need not be known any more.
    pub(crate) fn deletable_until(&self) -> UnixTime {
        self.clock_monitor.deletable_until(self.clock.as_ref())
    }

    /// Reads the store.
    pub(crate) async fn read<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        query: impl FnOnce(&dyn Reader) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        self.store.read(query).await
    }

    /// Returns when the revocations that any broker acknowledged before are in memory.
    pub(crate) async fn confirm(&self) -> Result<(), StoreError> {
        self.confirm_when(When::Now).await
    }

    /// Does the same as [`confirm`](Self::confirm), with a reading of the database that begins then.
    pub(crate) async fn confirm_when(&self, when: When) -> Result<(), StoreError> {
        let confirmed = self.store.confirm_when(when).await;
        if confirmed.is_err() {
            self.metrics.db_error("read");
        }
        confirmed.map(|_| ())
    }

    /// Runs an operation in one transaction of the store.
    pub(crate) async fn transact<T: Send + 'static, E: OperationError>(
        &self,
        operation: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Clone + Send + 'static,
    ) -> Result<T, E> {
        self.transact_with(Wants::none(), operation).await
    }

    /// Does the same as [`transact`](Self::transact), faster if `wants` names the rows that `operation` will read.
    pub(crate) async fn transact_with<T: Send + 'static, E: OperationError>(
        &self,
        wants: Wants,
        operation: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Clone + Send + 'static,
    ) -> Result<T, E> {
        let (started, interface) = (self.monotonic(), INTERFACE.try_with(|name| *name).ok());
        let operation = move |tx: &mut Tx<'_>| {
            tx.set_interface(interface);
            operation(tx)
        };
        let outcome = self.store.transact_with(wants, operation).await;
        match &outcome {
            Ok(_) => self.metrics.audit_write(self.monotonic().saturating_duration_since(started)),
            Err(error) if error.is_store_failure() => self.metrics.db_error("write"),
            Err(_) => {}
        }
        outcome
    }

    /// Appends to the audit trail, in the transaction that the event is about.
    pub(crate) fn record(&self, tx: &mut Tx<'_>, event: NewEvent) -> Result<(), StoreError> {
        let (event_type, at, metrics) = (event.event_type(), event.at, Arc::clone(&self.metrics));
        let clock_monitor = Arc::clone(&self.clock_monitor);
        let event = named(event, tx.interface());
        tx.append(event)?;
        tx.after_commit(move || {
            metrics.audit_event(event_type.as_str());
            clock_monitor.note_record(at);
        });
        Ok(())
    }

    /// Records the time of the broker's stop, for the next start.
    pub(crate) async fn record_time_now(self: &Arc<Self>) -> Result<(), StoreError> {
        let ledger = Arc::clone(self);
        self.transact(move |tx| ledger.record_time(tx)).await
    }

    /// Records the time that has passed for certain.
    pub(crate) fn record_time(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.record_certain_time(self.clock_monitor.certain_time(self.clock.as_ref()))
    }

    /// Notes a denial for the audit trail. Repeated ones are folded, so that unauthenticated clients can't flood it.
    pub(crate) fn deny(&self, event: NewEvent) {
        let event = named(event, INTERFACE.try_with(|name| *name).ok());
        self.denials.add(event, self.monotonic());
    }
}
