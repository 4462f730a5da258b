//! Denials on their way into the audit trail: folded in memory, written within a second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use agentwrit_verify::Subject;

use super::Ledger;
use crate::{
    audit::{DenialFolder, NewEvent},
    store::StoreError,
};

/// Number of different denials that are kept apart within a second.
const CAPACITY: usize = 4096;

/// The denials that are not written yet.
#[derive(Debug)]
pub(super) struct Denials {
    folder: Mutex<DenialFolder>,
}

impl Default for Denials {
    fn default() -> Self {
        Self { folder: Mutex::new(DenialFolder::new(CAPACITY)) }
    }
}

impl Denials {
    pub(super) fn add(&self, event: NewEvent, now: Instant) {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).add(event, now);
    }

    fn due(&self, now: Instant) -> Vec<NewEvent> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).due(now)
    }

    fn about(&self, subject: &Subject, now: Instant) -> Vec<NewEvent> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).drain_about(subject, now)
    }

    fn all(&self) -> Vec<NewEvent> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).drain_all()
    }
}

impl Ledger {
    /// Writes the denials whose second is over.
    pub(crate) async fn write_due_denials(self: &Arc<Self>) -> Result<(), StoreError> {
        let due = self.denials.due(self.monotonic());
        self.write_denials(due).await
    }

    /// Writes every denial: before the operator reads the trail, and at the end.
    pub(crate) async fn write_all_denials(self: &Arc<Self>) -> Result<(), StoreError> {
        let all = self.denials.all();
        self.write_denials(all).await
    }

    /// Writes the denials about one subject: before it reads its own part of the trail. Those about others go on folding.
    pub(crate) async fn write_denials_about(self: &Arc<Self>, subject: &Subject) -> Result<(), StoreError> {
        let about = self.denials.about(subject, self.monotonic());
        self.write_denials(about).await
    }

    async fn write_denials(self: &Arc<Self>, events: Vec<NewEvent>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        // A task of its own: the caller's client may hang up, and these denials are about others.
        let ledger = Arc::clone(self);
        let writing = self.tasks.spawn(async move { ledger.write_or_keep(events).await });
        writing.await.unwrap_or_else(|error| Err(StoreError::Internal { cause: error.to_string() }))
    }

    async fn write_or_keep(self: &Arc<Self>, events: Vec<NewEvent>) -> Result<(), StoreError> {
        let (kept, ledger) = (events.clone(), Arc::clone(self));
        let written = self.transact(move |tx| events.into_iter().try_for_each(|event| ledger.record(tx, event))).await;
        if written.is_err() {
            // They wait for the store to recover; the folder's bound holds.
            let now = self.monotonic();
            for event in kept {
                self.denials.add(event, now);
            }
        }
        written
    }
}
