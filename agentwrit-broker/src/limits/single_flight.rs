//! One computation at a time, whose result requests share.
//!
//! 1. A request takes the last result when that was begun after the request was made, or is still current. Otherwise it
//!    begins a computation, which runs to its end even when the request is dropped.
//! 2. A computation receives the last result. One that fails leaves that in place.
//! 3. Between two computations there is a pause that follows from how long the last one took: unauthenticated clients
//!    keep the store busy for a bounded part of the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Mutex,
    task::JoinError,
    time::{Instant, sleep_until},
};

/// Resolution of tokio's timers.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

/// A computation that requests share.
#[derive(Debug)]
pub(crate) struct SingleFlight<T> {
    /// Number of computations begun. Not a time: clocks can be set back.
    begun: Arc<AtomicU64>,
    /// Held while a computation runs.
    last: Arc<Mutex<Option<Flight<T>>>>,
    /// Length of the pause, as a multiple of how long the last computation took.
    pause: u32,
}

/// The latest computation.
#[derive(Debug)]
struct Flight<T> {
    ended: Instant,
    took: Duration,
    /// The last result, and the number of its computation.
    result: Option<(u64, T)>,
}

/// Age of a result, as seen by one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Begun after the request was made: as good as a computation of its own.
    AfterRequest,
    /// Begun before the request was made.
    BeforeRequest,
}

impl<T: Clone + Send + 'static> SingleFlight<T> {
    pub(crate) fn new(pause: u32) -> Self {
        Self { begun: Arc::default(), last: Arc::default(), pause }
    }

    /// Returns a result that `is_usable` accepts, or else that of `compute`.
    ///
    /// # Errors
    ///
    /// [`JoinError`] when the computation panics or the runtime stops.
    pub(crate) async fn run<E, F>(
        &self,
        is_usable: impl Fn(&T, Begun) -> bool,
        compute: impl FnOnce(Option<T>) -> F + Send + 'static,
    ) -> Result<Result<T, E>, JoinError>
    where
        F: Future<Output = Result<T, E>> + Send,
        E: Send + 'static,
    {
        let asked = self.begun.load(Ordering::SeqCst);
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some(Flight { result: Some((number, result)), .. }) = last.as_ref() {
            let begun = if *number > asked { Begun::AfterRequest } else { Begun::BeforeRequest };
            if is_usable(result, begun) {
                return Ok(Ok(result.clone()));
            }
        }
        let (begun, pause) = (Arc::clone(&self.begun), self.pause);
        let flight = async move {
            if let Some(last) = last.as_ref() {
                let next = last.ended + last.took.saturating_mul(pause);
                // A shorter pause would be rounded up to the resolution of timers.
                if next.saturating_duration_since(Instant::now()) >= TIMER_RESOLUTION {
                    sleep_until(next).await;
                }
            }
            // After the pause: requests that were made meanwhile share this computation.
            let number = begun.fetch_add(1, Ordering::SeqCst).saturating_add(1);
            let started = Instant::now();
            let previous = last.as_ref().and_then(|last| last.result.clone());
            let outcome = compute(previous.as_ref().map(|(_, result)| result.clone())).await;
            let result = outcome.as_ref().ok().map(|result| (number, result.clone())).or(previous);
            let ended = Instant::now();
            *last = Some(Flight { ended, took: ended.saturating_duration_since(started), result });
            outcome
        };
        tokio::spawn(flight).await
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::atomic::AtomicU32};

    use tokio::time::sleep;

    use super::*;

    const TOOK: Duration = Duration::from_millis(100);

    /// Counts its computations; each takes [`TOOK`].
    struct Counter {
        flights: SingleFlight<u32>,
        computed: Arc<AtomicU32>,
    }

    impl Counter {
        fn new(pause: u32) -> Arc<Self> {
            Arc::new(Self { flights: SingleFlight::new(pause), computed: Arc::default() })
        }

        async fn run(&self, accept_older: bool) -> u32 {
            let computed = Arc::clone(&self.computed);
            let is_usable = |_: &u32, begun| accept_older || begun == Begun::AfterRequest;
            let compute = |_| async move {
                sleep(TOOK).await;
                Ok::<_, Infallible>(computed.fetch_add(1, Ordering::SeqCst) + 1)
            };
            self.flights.run(is_usable, compute).await.unwrap().unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_share_one_computation_begun_after_them() {
        let counter = Counter::new(4);
        let first = tokio::spawn({
            let counter = Arc::clone(&counter);
            async move { counter.run(false).await }
        });
        sleep(TOOK / 2).await;
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move { counter.run(false).await })
            })
            .collect();
        assert_eq!(first.await.unwrap(), 1);
        for request in waiting {
            assert_eq!(request.await.unwrap(), 2, "not the one that was under way, and not one each");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn current_result_is_reused_and_outdated_one_is_not() {
        let counter = Counter::new(0);
        assert_eq!(counter.run(true).await, 1);
        assert_eq!(counter.run(true).await, 1);
        assert_eq!(counter.run(false).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn next_computation_begins_after_a_pause_of_four_times_the_last() {
        let counter = Counter::new(4);
        let start = Instant::now();
        counter.run(false).await;
        counter.run(false).await;
        assert_eq!(start.elapsed(), TOOK * 6);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_computation_leaves_the_last_result_to_requests_that_accept_older_ones() {
        let counter = Counter::new(0);
        assert_eq!(counter.run(false).await, 1);
        let failed = counter.flights.run(|_, _| false, |previous| async move { Err(previous) }).await.unwrap();
        assert_eq!(failed, Err(Some(1)));
        let accepted = |_: &u32, begun| begun == Begun::BeforeRequest;
        let unused = |_| async { Err("computed again") };
        assert_eq!(counter.flights.run(accepted, unused).await.unwrap(), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn computation_whose_request_is_dropped_runs_to_its_end() {
        let counter = Counter::new(0);
        assert!(tokio::time::timeout(TOOK / 2, counter.run(false)).await.is_err());
        assert_eq!(counter.run(true).await, 1);
    }
}
