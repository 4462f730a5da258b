//! Refusals on their way into the audit trail: folded in memory, written within a second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use agentwrit_verify::Subject;

use crate::{
    audit::{DenialFolder, NewEvent},
    authority::Authority,
    service::Error,
};

/// How many different refusals are told apart within a second.
const CAPACITY: usize = 4096;

/// The refusals that wait.
#[derive(Debug)]
pub(crate) struct Denials {
    folder: Mutex<DenialFolder>,
}

impl Default for Denials {
    fn default() -> Self {
        Self { folder: Mutex::new(DenialFolder::new(CAPACITY)) }
    }
}

impl Denials {
    pub(crate) fn add(&self, event: NewEvent, now: Instant) {
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

impl Authority {
    /// Writes the refusals whose second is over.
    pub(crate) async fn write_due_denials(self: &Arc<Self>) -> Result<(), Error> {
        let due = self.denials.due(self.clock.monotonic());
        self.write_denials(due).await
    }

    /// Writes every refusal: before the operator reads the trail, and at the end.
    pub(crate) async fn write_all_denials(self: &Arc<Self>) -> Result<(), Error> {
        let all = self.denials.all();
        self.write_denials(all).await
    }

    /// Writes the refusals about one subject: before it reads its own part of the trail. Other people's go on folding.
    pub(crate) async fn write_denials_about(self: &Arc<Self>, subject: &Subject) -> Result<(), Error> {
        let about = self.denials.about(subject, self.clock.monotonic());
        self.write_denials(about).await
    }

    async fn write_denials(self: &Arc<Self>, events: Vec<NewEvent>) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        // On its own: whoever asked may hang up, and these refusals are other people's.
        let authority = Arc::clone(self);
        let writing = tokio::spawn(async move { authority.write_or_keep(events).await });
        writing.await.unwrap_or(Err(Error::Overloaded))
    }

    async fn write_or_keep(self: &Arc<Self>, events: Vec<NewEvent>) -> Result<(), Error> {
        let kept = events.clone();
        let written = self
            .transact(move |authority, tx| {
                for event in events {
                    authority.record(tx, event)?;
                }
                Ok(())
            })
            .await;
        if written.is_err() {
            // They wait for the store to recover; the folder's bound holds.
            let now = self.clock.monotonic();
            for event in kept {
                self.denials.add(event, now);
            }
        }
        written
    }
}
