//! Simultaneous runs of a demo: a limited number, and the end of the program waits for them, so that each releases its agents.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

/// Timeout for the runs in progress to end once the program stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Places for runs. Clones share them.
#[derive(Clone, Debug)]
pub struct Runs {
    places: Arc<Semaphore>,
    most: u32,
    stopping: Arc<watch::Sender<bool>>,
}

/// Place of a run, which it holds to its end.
#[derive(Debug)]
#[must_use]
pub struct RunPlace {
    _permit: OwnedSemaphorePermit,
}

impl Runs {
    /// Builds places for at most `most` simultaneous runs.
    #[must_use]
    pub fn new(most: u16) -> Self {
        let places = Arc::new(Semaphore::new(most.into()));
        Self { places, most: most.into(), stopping: Arc::new(watch::Sender::new(false)) }
    }

    /// Takes a place; none when all are taken or the program stops.
    #[must_use]
    pub fn begin(&self) -> Option<RunPlace> {
        if self.is_stopping() {
            return None;
        }
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(RunPlace { _permit: permit })
    }

    /// Returns `true` once the program stops.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the program stops.
    pub async fn stopped(&self) {
        // The sender lives as long as `self`.
        drop(self.stopping.subscribe().wait_for(|stopping| *stopping).await);
    }

    /// Tells the runs in progress to end, and waits for them, 10 s at the most. Returns whether all have ended. No run begins
    /// any more.
    pub async fn stop(&self) -> bool {
        self.stopping.send_replace(true);
        matches!(timeout(STOP_TIMEOUT, self.places.acquire_many(self.most)).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_waits_for_runs_in_progress_and_lets_none_begin() {
        let runs = Runs::new(2);
        let (first, second) = (runs.begin().unwrap(), runs.begin().unwrap());
        assert!(runs.begin().is_none());
        drop(second);
        let run = {
            let runs = runs.clone();
            tokio::spawn(async move {
                runs.stopped().await;
                drop(first);
            })
        };
        assert!(runs.stop().await);
        run.await.unwrap();
        assert!(runs.begin().is_none() && runs.is_stopping());
    }

    #[tokio::test(start_paused = true)]
    async fn stop_gives_up_on_run_that_does_not_end() {
        let runs = Runs::new(1);
        let _place = runs.begin().unwrap();
        assert!(!runs.stop().await);
    }
}
