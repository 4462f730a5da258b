//! The time by which nonces expire. It never goes back, not even over a restart.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use agentwrit_verify::{Clock, UnixTime};

/// The later of the wall clock's time and the time that uses were last deleted until plus the time since then.
#[derive(Debug)]
pub(crate) struct NonceTime {
    /// Time until which uses are deleted, and when that was decided.
    deleted: Mutex<(UnixTime, Instant)>,
}

impl NonceTime {
    /// Starts from the time until which the store's uses were last deleted.
    pub(crate) fn new(deleted_until: UnixTime, clock: &dyn Clock) -> Self {
        Self { deleted: Mutex::new((deleted_until, clock.monotonic())) }
    }

    pub(crate) fn now(&self, clock: &dyn Clock) -> UnixTime {
        let (until, since) = *self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        clock.now().max(until.saturating_add(clock.monotonic().saturating_duration_since(since)))
    }

    /// Returns the time until which uses may be deleted: now. From then on the time is never earlier than that.
    pub(crate) fn deletable_until(&self, clock: &dyn Clock) -> UnixTime {
        let until = self.now(clock);
        *self.deleted.lock().unwrap_or_else(PoisonError::into_inner) = (until, clock.monotonic());
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
    fn never_returns_time_before_deleted_uses() {
        let clock = ManualClock::new(at(10_000));
        let time = NonceTime::new(UnixTime::default(), &clock);
        clock.set(at(9_000));
        assert_eq!(time.now(&clock), at(9_000), "nothing was deleted yet");
        assert_eq!(time.deletable_until(&clock), at(9_000));
        clock.set(at(5_000));
        assert_eq!(time.now(&clock), at(9_000));
        clock.advance(Duration::from_secs(30));
        assert_eq!(time.now(&clock), at(9_030), "nonces expire by the monotonic clock");
        clock.set(at(20_000));
        assert_eq!(time.now(&clock), at(20_000));
        assert_eq!(NonceTime::new(at(9_030), &clock).now(&clock), at(20_000));
    }
}
