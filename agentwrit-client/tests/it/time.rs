//! Time that runs fifty times faster.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use agentwrit_verify::{Clock, UnixTime};

const START: u64 = 1_795_248_000;

/// Runs `future` while timers run fast. tokio's paused time would jump to the next timeout at each wait for the network; a
/// blocked thread prevents that.
pub(crate) async fn hurried<F: Future>(future: F) -> F::Output {
    tokio::time::pause();
    let (hold, let_go) = std::sync::mpsc::channel::<()>();
    let thread = tokio::task::spawn_blocking(move || let_go.recv().ok());
    let passing = async {
        loop {
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
            tokio::time::advance(Duration::from_millis(50)).await;
        }
    };
    let output = tokio::select! {
        output = future => output,
        () = passing => unreachable!("time passes for ever"),
    };
    drop(hold);
    thread.await.unwrap();
    output
}

/// Clock of tokio's time. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct HurriedClock {
    begun: tokio::time::Instant,
    /// Seconds by which the wall clock alone was set forward.
    set_by: Arc<AtomicI64>,
}

impl HurriedClock {
    pub(crate) fn new() -> Self {
        Self { begun: tokio::time::Instant::now(), set_by: Arc::default() }
    }

    /// Sets the wall clock forward (as it is after the machine has slept) or back.
    pub(crate) fn set_by(&self, seconds: i64) {
        self.set_by.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Returns the time that has passed, without changes to the wall clock.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Clock for HurriedClock {
    fn now(&self) -> UnixTime {
        let start = UnixTime::from_seconds(START.saturating_add_signed(self.set_by.load(Ordering::Relaxed)));
        start.saturating_add(self.elapsed())
    }

    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
