//! A clock that counts and logs steps back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentwrit_verify::{Clock, UnixTime};

use super::LEEWAY;
use crate::telemetry::metrics::Metrics;

/// A clock that detects when it is set back.
#[derive(Debug)]
pub(crate) struct WatchedClock {
    clock: Arc<dyn Clock>,
    /// The latest time that was read, in milliseconds.
    latest: AtomicU64,
    metrics: Arc<Metrics>,
}

impl WatchedClock {
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let latest = AtomicU64::new(milliseconds(clock.now()));
        Self { clock, latest, metrics }
    }
}

impl Clock for WatchedClock {
    fn now(&self) -> UnixTime {
        let now = self.clock.now();
        let millis = milliseconds(now);
        let latest = self.latest.fetch_max(millis, Ordering::Relaxed);
        let by = Duration::from_millis(latest.saturating_sub(millis));
        // The thread that resets `latest` reports the step for all that see it.
        if by > LEEWAY && self.latest.compare_exchange(latest, millis, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.metrics.clock_skew();
            tracing::warn!(component = "clock", seconds = by.as_secs(), "the clock was set back");
        }
        now
    }

    fn monotonic(&self) -> Instant {
        self.clock.monotonic()
    }
}

fn milliseconds(time: UnixTime) -> u64 {
    u64::try_from(time.elapsed_since_epoch().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::testing::ManualClock;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    fn skews(metrics: &Metrics) -> bool {
        metrics.encode().contains("agentwrit_clock_skew_total 1\n")
    }

    #[test]
    fn counts_step_back_once() {
        let (clock, metrics) = (ManualClock::new(at(10_000)), Arc::new(Metrics::new()));
        let watched = WatchedClock::new(Arc::new(clock.clone()), Arc::clone(&metrics));
        clock.set(at(9_995));
        watched.now();
        assert!(!skews(&metrics), "{}", metrics.encode());
        clock.set(at(6_400));
        for _ in 0..3 {
            assert_eq!(watched.now(), at(6_400));
        }
        assert!(skews(&metrics), "{}", metrics.encode());
        clock.set(at(10_000));
        watched.now();
        assert!(skews(&metrics), "a step forward is not counted: {}", metrics.encode());
    }
}
