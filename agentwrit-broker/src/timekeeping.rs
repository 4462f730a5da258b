//! What follows when the wall clock is set: forth by mistake, and back again.
//!
//! 1. A step back is counted and logged. Steps within the leeway of verifiers happen whenever a clock is corrected.
//! 2. What has expired is kept for [`KEPT`]: a clock that was that far ahead has made nobody forget who is dead.
//! 3. Nonces are too many to be kept. They live on a time of their own, which never goes back, not even over a restart:
//!    a nonce whose use was forgotten has expired for good.
//! 4. A not-before mark is never older than what it kills, nor a token than a mark on what it stands for: see
//!    [`Ended::mark`](crate::store::Ended::mark) and [`Authority::issue_time`](crate::authority::Authority::issue_time).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentwrit_verify::{Clock, UnixTime};

use crate::telemetry::metrics::Metrics;

/// How long what has expired is still known.
pub(crate) const KEPT: Duration = Duration::from_secs(3600);
/// What verifiers forgive, and several processors may disagree about.
const LEEWAY: Duration = Duration::from_secs(5);

/// The latest moment whose dead need not be known any more.
pub(crate) fn forgotten_until(now: UnixTime) -> UnixTime {
    UnixTime::since_epoch(now.elapsed_since_epoch().saturating_sub(KEPT))
}

/// A clock that notices when it is set back.
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
        // Whoever resets it speaks for all who see the same step.
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

/// The time of nonces: the wall clock's, or what has passed since uses were last forgotten, whichever is later.
#[derive(Debug)]
pub(crate) struct NonceTime {
    /// Until when uses are forgotten, and when that was decided.
    forgotten: Mutex<(UnixTime, Instant)>,
}

impl NonceTime {
    /// Goes on from where the store's uses were last forgotten.
    pub(crate) fn new(forgotten_until: UnixTime, clock: &dyn Clock) -> Self {
        Self { forgotten: Mutex::new((forgotten_until, clock.monotonic())) }
    }

    pub(crate) fn now(&self, clock: &dyn Clock) -> UnixTime {
        let (until, since) = *self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        clock.now().max(until.saturating_add(clock.monotonic().saturating_duration_since(since)))
    }

    /// The uses of nonces that have expired by now may be forgotten: the moment behind which no time falls any more.
    pub(crate) fn forget(&self, clock: &dyn Clock) -> UnixTime {
        let until = self.now(clock);
        *self.forgotten.lock().unwrap_or_else(PoisonError::into_inner) = (until, clock.monotonic());
        until
    }
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
    fn a_step_back_is_counted_once() {
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
        assert!(skews(&metrics), "forth is no step back: {}", metrics.encode());
    }

    #[test]
    fn the_time_of_nonces_never_falls_behind_what_is_forgotten() {
        let clock = ManualClock::new(at(10_000));
        let time = NonceTime::new(UnixTime::default(), &clock);
        clock.set(at(9_000));
        assert_eq!(time.now(&clock), at(9_000), "nothing was forgotten yet");
        assert_eq!(time.forget(&clock), at(9_000));
        clock.set(at(5_000));
        assert_eq!(time.now(&clock), at(9_000));
        clock.advance(Duration::from_secs(30));
        assert_eq!(time.now(&clock), at(9_030), "nonces expire all the same");
        clock.set(at(20_000));
        assert_eq!(time.now(&clock), at(20_000));
        assert_eq!(NonceTime::new(at(9_030), &clock).now(&clock), at(20_000));
    }
}
