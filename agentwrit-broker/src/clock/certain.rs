//! The time that has passed for certain.
//!
//! 1. It starts from the store's record and advances with the monotonic clock, independent of the wall clock; the earlier
//!    of it and the wall clock counts. While a machine sleeps the monotonic clock may stand still: the time lags.
//! 2. At the start the wall clock is trusted up to [`MAX_STEP`] beyond the store's record, the time of a restart. If it is
//!    further ahead, the machine may have been off for long, or its clock is wrong: deletions are held, which means that
//!    they go by the earlier time. A new store has nothing to lose, and trusts the clock.
//! 3. After [`SETTLING_TIME`] in which the wall clock kept pace with the monotonic one, the wall clock is trusted, ahead or
//!    behind. Each step of the wall clock starts that period again. An operator ends it with
//!    `agentwrit-broker confirm-clock`.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use agentwrit_verify::{Clock, UnixTime};

/// Largest time by which the clock may be ahead of the store's records at the start.
pub(crate) const MAX_STEP: Duration = Duration::from_secs(600);
/// Time for which the wall clock must keep pace before it is trusted.
const SETTLING_TIME: Duration = Duration::from_secs(3600);
/// Largest drift between the two clocks within [`SETTLING_TIME`]: corrections that are not steps.
const TOLERANCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct CertainTime(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The time that had passed for certain, and when that was computed.
    certain: (UnixTime, Instant),
    /// Both clocks at the start of the present period without a step.
    pace: (UnixTime, Instant),
    /// Time by which the wall clock is ahead, while that is more than [`MAX_STEP`].
    held: Option<Duration>,
}

impl CertainTime {
    pub(super) fn new(recorded: Option<UnixTime>, clock: &dyn Clock) -> Self {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let certain = match recorded {
            Some(recorded) if wall.saturating_since(recorded) > MAX_STEP => recorded,
            Some(recorded) => recorded.max(wall),
            None => wall,
        };
        let time = Self(Mutex::new(State { certain: (certain, monotonic), pace: (wall, monotonic), held: None }));
        time.now(clock);
        time
    }

    /// Returns the time that has passed for certain. Records that expire later count as not expired.
    pub(super) fn now(&self, clock: &dyn Clock) -> UnixTime {
        let wall = clock.now();
        self.observed(wall, clock.monotonic()).certain.0.min(wall)
    }

    /// Returns the time to record for the next start. It does not go back with the wall clock.
    pub(super) fn recordable(&self, clock: &dyn Clock) -> UnixTime {
        self.observed(clock.now(), clock.monotonic()).certain.0
    }

    pub(super) fn held(&self, clock: &dyn Clock) -> Option<Duration> {
        self.observed(clock.now(), clock.monotonic()).held
    }

    fn observed(&self, wall: UnixTime, monotonic: Instant) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.held;
        state.observe(wall, monotonic);
        match (before, state.held) {
            (None, Some(ahead)) => tracing::warn!(
                component = "clock",
                ahead_seconds = ahead.as_secs(),
                "deletions are held: the clock is ahead of the time that has passed for certain"
            ),
            (Some(_), None) => tracing::info!(component = "clock", "deletions go by the clock again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        state
    }
}

impl State {
    fn observe(&mut self, wall: UnixTime, monotonic: Instant) {
        let after =
            |(time, since): (UnixTime, Instant)| time.saturating_add(monotonic.saturating_duration_since(since));
        self.certain = (after(self.certain), monotonic);
        let expected = after(self.pace);
        if wall.saturating_since(expected).max(expected.saturating_since(wall)) > TOLERANCE {
            self.pace = (wall, monotonic);
        }
        if monotonic.saturating_duration_since(self.pace.1) >= SETTLING_TIME {
            self.certain.0 = wall;
        }
        self.held = Some(wall.saturating_since(self.certain.0)).filter(|ahead| *ahead > MAX_STEP);
    }
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::testing::ManualClock;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    /// A start at `wall` on a store that recorded `recorded`.
    fn start(recorded: u64, wall: u64) -> (CertainTime, ManualClock) {
        let clock = ManualClock::new(at(wall));
        (CertainTime::new(Some(at(recorded)), &clock), clock)
    }

    #[test]
    fn trusts_clock_in_new_store_and_up_to_ten_minutes_after_records() {
        let clock = ManualClock::new(at(10_000));
        assert_eq!(CertainTime::new(None, &clock).now(&clock), at(10_000));
        let (time, clock) = start(10_000, 10_600);
        assert_eq!((time.now(&clock), time.held(&clock)), (at(10_600), None));
        let (time, clock) = start(10_000, 10_601);
        assert_eq!((time.now(&clock), time.held(&clock)), (at(10_000), Some(Duration::from_secs(601))));
    }

    #[test]
    fn holds_deletions_over_short_starts_with_clock_ahead() {
        let (time, clock) = start(10_000, 10_000 + 10_800);
        clock.advance(Duration::from_secs(3));
        assert_eq!(time.now(&clock), at(10_003));
        let (time, clock) = start(10_003, 10_000 + 10_810);
        assert_eq!(time.now(&clock), at(10_003));
        assert_eq!(time.recordable(&clock), at(10_003));
        let (time, clock) = start(10_003, 10_020);
        assert_eq!((time.now(&clock), time.held(&clock)), (at(10_020), None));
    }

    #[test]
    fn trusts_clock_after_an_hour_without_a_step() {
        let (time, clock) = start(10_000, 90_000);
        clock.advance(HOUR.saturating_sub(Duration::from_secs(1)));
        assert_eq!(time.now(&clock), at(13_599));
        clock.advance(Duration::from_secs(1));
        assert_eq!((time.now(&clock), time.held(&clock)), (at(93_600), None));
        assert_eq!(time.recordable(&clock), at(93_600));
    }

    #[test]
    fn restarts_the_hour_when_clock_is_stepped() {
        let (time, clock) = start(10_000, 90_000);
        clock.advance(HOUR / 2);
        clock.set(at(91_800 + 61));
        assert_eq!(time.now(&clock), at(11_800));
        clock.advance(HOUR.saturating_sub(Duration::from_secs(1)));
        assert_eq!(time.now(&clock), at(11_800 + 3_599));
        clock.advance(Duration::from_secs(1));
        assert_eq!(time.now(&clock), at(91_861 + 3_600));
    }

    #[test]
    fn does_not_follow_clock_that_is_set_ahead_at_runtime() {
        let (time, clock) = start(10_000, 10_000);
        clock.advance(HOUR * 2);
        assert_eq!(time.now(&clock), at(17_200));
        clock.set(at(17_200 + 86_400));
        assert_eq!((time.now(&clock), time.held(&clock)), (at(17_200), Some(Duration::from_secs(86_400))));
        clock.set(at(17_200));
        assert_eq!((time.now(&clock), time.held(&clock)), (at(17_200), None));
    }

    #[test]
    fn lags_for_an_hour_after_machine_slept() {
        let (time, clock) = start(10_000, 10_000);
        // The wall clock went on, the monotonic one did not.
        clock.set(at(10_000 + 28_800));
        assert_eq!(time.now(&clock), at(10_000));
        clock.advance(HOUR);
        assert_eq!(time.now(&clock), at(10_000 + 28_800 + 3_600));
    }

    #[test]
    fn follows_clock_that_is_behind_and_records_the_later_time() {
        let (time, clock) = start(100_000, 10_000);
        assert_eq!((time.now(&clock), time.recordable(&clock)), (at(10_000), at(100_000)));
        // After an hour of agreement the clock is trusted, too.
        clock.advance(HOUR);
        assert_eq!((time.now(&clock), time.recordable(&clock)), (at(13_600), at(13_600)));
    }
}
