//! State of the store as it is known without a new write or read.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::StoreError;

/// Time for which the result of a write, or a successful read, counts as the present state.
const FRESH: Duration = Duration::from_secs(1);

/// Result of the last attempt to write, time of the last read that checked the store, and the number of audit events.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: Mutex<Option<(Instant, Result<(), StoreError>)>>,
    read_at: Mutex<Option<Instant>>,
    /// Number of events that this broker knows of: of all, in a store that has one broker.
    events: AtomicU64,
}

impl Health {
    pub(super) fn record(&self, outcome: &Result<(), StoreError>) {
        *self.last() = Some((Instant::now(), outcome.clone()));
    }

    /// Returns the result, if it is from the last second.
    pub(super) fn recent(&self) -> Option<Result<(), StoreError>> {
        self.last().as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, outcome)| outcome.clone())
    }

    /// Records the number of audit events after a commit or of a read. It only grows, so that a read that is overtaken by a
    /// commit changes nothing.
    pub(super) fn count(&self, events: u64) {
        self.events.fetch_max(events, Ordering::Relaxed);
    }

    pub(super) fn record_read(&self, events: u64) {
        self.count(events);
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns the number of audit events, if the store was read within the last second.
    pub(super) fn recent_count(&self) -> Option<u64> {
        let read_at = *self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        read_at.filter(|at| at.elapsed() < FRESH).map(|_| self.events.load(Ordering::Relaxed))
    }

    pub(super) fn is_writable(&self) -> bool {
        self.last().as_ref().is_none_or(|(_, outcome)| outcome.is_ok())
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Result<(), StoreError>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
