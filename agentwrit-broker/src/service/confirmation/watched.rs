//! Changes whose confirmation is recorded though no request waits for it any more.
//!
//! 1. A change is watched from the first request for its confirmation on, until that is recorded. While a request waits, the
//!    request records it.
//! 2. The pause between two decisions is a second, or longer if they take long: they cost at most a twentieth of a core.
//! 3. Few changes are watched at once: of more, those that were requested last. A change that only instances without a bound
//!    lack may stay among them for days.
//! 4. What a broker watches ends with it. The next request for the confirmation records it then.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agentwrit_verify::{FeedCursor, Subject, confirmation::ConfirmationState};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::ConfirmationService;
use crate::service::Error;

/// Largest number of changes that are watched.
const MAX_WATCHED: usize = 64;
/// Shortest pause between two decisions about the changes.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after decisions, as a multiple of their duration.
const PAUSE_SHARE: u32 = 20;

/// Changes that are watched, in the order of the first requests for them.
#[derive(Debug, Default)]
pub(super) struct Watched {
    changes: Mutex<VecDeque<WatchedChange>>,
    added: Notify,
}

#[derive(Clone, Debug)]
struct WatchedChange {
    cursor: FeedCursor,
    /// First client that requested the confirmation.
    by: Subject,
}

impl Watched {
    /// Adds a change. Returns the one that gives up its place.
    fn begin(&self, change: WatchedChange) -> Option<WatchedChange> {
        let mut changes = self.changes();
        if changes.iter().any(|watched| watched.cursor == change.cursor) {
            return None;
        }
        changes.push_back(change);
        self.added.notify_one();
        if changes.len() > MAX_WATCHED { changes.pop_front() } else { None }
    }

    /// Ends the watch of a change.
    pub(super) fn end(&self, cursor: &FeedCursor) {
        self.changes().retain(|change| change.cursor != *cursor);
    }

    fn all(&self) -> Vec<WatchedChange> {
        self.changes().iter().cloned().collect()
    }

    /// Waits until there is a change.
    async fn until_any(&self) {
        while self.changes().is_empty() {
            self.added.notified().await;
        }
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<WatchedChange>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfirmationService {
    /// Records the confirmations of watched changes until the broker stops.
    pub(crate) async fn record_watched(&self) {
        let mut stopping = self.stopping.clone();
        let recording = async {
            self.measure_evidence().await;
            loop {
                self.watched.until_any().await;
                sleep(self.record_confirmed().await).await;
            }
        };
        tokio::select! {
            () = recording => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }

    /// Sets the metric of the evidence that an earlier run left.
    async fn measure_evidence(&self) {
        match self.ledger.read(|reader| Ok::<_, Error>(reader.confirmation_evidence_size()?)).await {
            Ok(size) => self.verifiers.metrics().set_evidence_size(size),
            Err(error) => tracing::debug!(component = "confirmation", %error, "the size of the evidence is not known"),
        }
    }

    /// Records the confirmations of the watched changes that are confirmed. Returns the pause until the next time.
    pub(crate) async fn record_confirmed(&self) -> Duration {
        let begun = Instant::now();
        for change in self.watched.all() {
            match self.record_if_confirmed(&change).await {
                Ok(()) => {}
                Err(Error::UnknownCursor(_)) => self.watched.end(&change.cursor),
                Err(error) => {
                    tracing::debug!(component = "confirmation", %error, cursor = %change.cursor, "not decided yet");
                }
            }
        }
        begun.elapsed().saturating_mul(PAUSE_SHARE).max(PAUSE)
    }

    async fn record_if_confirmed(&self, change: &WatchedChange) -> Result<(), Error> {
        let commit = self.commit_time(&change.cursor).await?;
        let decision = self.decide(&commit).await?;
        if decision.response.confirmation.state == ConfirmationState::Confirmed {
            self.record_or_log(&change.by, &commit, &decision).await;
        }
        Ok(())
    }

    /// Watches a change unless its confirmation is recorded.
    pub(super) fn watch(&self, cursor: &FeedCursor, by: &Subject) {
        if self.recorded.contains(cursor) {
            return;
        }
        let change = WatchedChange { cursor: cursor.clone(), by: by.clone() };
        if let Some(omitted) = self.watched.begin(change) {
            tracing::warn!(
                component = "confirmation",
                cursor = %omitted.cursor,
                "more confirmations were requested than are watched: this one is recorded when it is requested again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(position: u64) -> WatchedChange {
        WatchedChange { cursor: FeedCursor::new("epoch", position).unwrap(), by: Subject::Admin }
    }

    #[test]
    fn change_requested_first_gives_up_its_place_beyond_limit() {
        let watched = Watched::default();
        for position in 1..=64 {
            assert!(watched.begin(change(position)).is_none());
        }
        assert!(watched.begin(change(64)).is_none(), "it is watched already");
        assert_eq!(watched.begin(change(65)).unwrap().cursor, change(1).cursor);
        watched.end(&change(2).cursor);
        assert!(watched.begin(change(66)).is_none());
        assert_eq!(watched.all().len(), MAX_WATCHED);
    }
}
