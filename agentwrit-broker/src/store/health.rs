//! Whether the store takes writes, learnt from the writes themselves.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::StoreError;

/// How long an outcome speaks for the present.
const FRESH: Duration = Duration::from_secs(1);

/// The outcome of the last attempt to write.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: Mutex<Option<(Instant, Result<(), StoreError>)>>,
}

impl Health {
    pub(super) fn record(&self, outcome: &Result<(), StoreError>) {
        *self.last() = Some((Instant::now(), outcome.clone()));
    }

    /// The outcome, if it is from the last second.
    pub(super) fn recent(&self) -> Option<Result<(), StoreError>> {
        self.last().as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, outcome)| outcome.clone())
    }

    pub(super) fn is_writable(&self) -> bool {
        self.last().as_ref().is_none_or(|(_, outcome)| outcome.is_ok())
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Result<(), StoreError>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
