//! Log of a run, which followers read from any position.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Event, EventKind, Outcome};

/// Events of a run so far.
#[derive(Debug)]
pub struct RunLog {
    started: Instant,
    pace: Duration,
    events: Mutex<Vec<Event>>,
    changed: watch::Sender<()>,
}

impl RunLog {
    /// Starts a log; a run pauses for `pace` between its steps, so that a reader can follow.
    #[must_use]
    pub fn new(pace: Duration) -> Self {
        Self { started: Instant::now(), pace, events: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub(crate) fn record(&self, kind: EventKind) {
        let at_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.lock().push(Event { at_ms, kind });
        self.changed.send_replace(());
    }

    pub(super) async fn pause(&self) {
        if !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
    }

    pub(super) fn finish(&self, outcome: Outcome, tokens: usize, rejected: usize) {
        self.record(EventKind::Finished { outcome, tokens, rejected });
    }

    /// Returns all events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// True if the run has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.lock().last().is_some_and(|event| matches!(event.kind, EventKind::Finished { .. }))
    }

    /// Waits for the event at `index`; none after the last.
    pub async fn event(&self, index: usize) -> Option<Event> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(event) = self.lock().get(index) {
                return Some(event.clone());
            }
            if self.is_finished() || changed.changed().await.is_err() {
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
