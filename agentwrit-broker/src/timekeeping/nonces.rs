//! The time of nonces, which never goes back, not even over a restart.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use agentwrit_verify::{Clock, UnixTime};

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
    use std::time::Duration;

    use agentwrit_verify::testing::ManualClock;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(seconds)
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
