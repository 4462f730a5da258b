//! The clock of a database server, by which all its brokers go.
//!
//! 1. The server's time is read with statements that are sent anyway. Between two readings this machine's monotonic clock
//!    goes on from the last one. Its wall clock does not count.
//! 2. A step back of up to [`LEEWAY`] is not followed: the time stands still until the server's has caught up. Larger ones
//!    are, and have the rules of every clock that is set back.
//! 3. The time of a transaction is never before that of the last commit, within the same limit, whichever broker made it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use agentwrit_verify::{Clock, UnixTime};

use super::LEEWAY;

/// Largest difference to this machine's wall clock that is not logged.
const LARGEST_OFFSET: Duration = Duration::from_secs(1);

/// The clock of a database server.
#[derive(Debug)]
pub(crate) struct DatabaseClock {
    /// The clock of this machine, which measures intervals.
    local: Arc<dyn Clock>,
    latest: Mutex<ServerTime>,
    /// Difference to this machine's wall clock.
    offset: Mutex<Offset>,
}

/// Time by which this machine's wall clock is ahead of the server's.
#[derive(Clone, Copy, Debug, Default)]
struct Offset {
    seconds: f64,
    /// True once it was logged that the clocks differ.
    logged: bool,
}

impl DatabaseClock {
    /// Returns the clock of a server whose time was just read.
    pub(crate) fn new(local: Arc<dyn Clock>, read: UnixTime) -> Self {
        let latest = Mutex::new(ServerTime { read, received: local.monotonic(), floor: read });
        let clock = Self { local, latest, offset: Mutex::default() };
        clock.note_offset(read);
        clock
    }

    /// Notes the server's time and that of the last commit, which a request sent at `sent` has just returned.
    pub(crate) fn note(&self, sent: Instant, read: UnixTime, last_commit: UnixTime) -> ServerTime {
        self.note_offset(read);
        let mut latest = self.latest();
        let known = [latest.at(sent), last_commit];
        let floor = known.into_iter().filter(|known| known.saturating_since(read) <= LEEWAY).fold(read, UnixTime::max);
        *latest = ServerTime { read, received: self.local.monotonic(), floor };
        *latest
    }

    /// Returns the clock of this machine.
    pub(crate) fn local(&self) -> &dyn Clock {
        self.local.as_ref()
    }

    /// Returns the seconds by which this machine's wall clock is ahead of the server's.
    pub(crate) fn offset(&self) -> f64 {
        self.offset.lock().unwrap_or_else(PoisonError::into_inner).seconds
    }

    fn note_offset(&self, read: UnixTime) {
        let wall = self.local.now();
        let (ahead, behind) = (wall.saturating_since(read), read.saturating_since(wall));
        let seconds = ahead.as_secs_f64() - behind.as_secs_f64();
        let mut offset = self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        offset.seconds = seconds;
        if offset.logged != (ahead.max(behind) > LARGEST_OFFSET) {
            offset.logged = !offset.logged;
            if offset.logged {
                tracing::warn!(
                    component = "clock",
                    seconds,
                    "this machine's clock differs from the database's: correct it"
                );
            } else {
                tracing::info!(component = "clock", "this machine's clock agrees with the database's again");
            }
        }
    }

    fn latest(&self) -> MutexGuard<'_, ServerTime> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> UnixTime {
        self.latest().at(self.local.monotonic())
    }

    fn monotonic(&self) -> Instant {
        self.local.monotonic()
    }
}

/// A reading of the server's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerTime {
    read: UnixTime,
    received: Instant,
    /// Time that no later one is before.
    floor: UnixTime,
}

impl ServerTime {
    /// Returns the server's time when it was read.
    pub(crate) fn earliest(self) -> UnixTime {
        self.floor
    }

    /// Returns the server's time at a moment of this machine's monotonic clock.
    pub(crate) fn at(self, moment: Instant) -> UnixTime {
        self.read.saturating_add(moment.saturating_duration_since(self.received)).max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::testing::ManualClock;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    /// A server whose time is 10,000 s, and a machine whose wall clock is wrong.
    fn clock() -> (DatabaseClock, ManualClock) {
        let local = ManualClock::new(at(77));
        (DatabaseClock::new(Arc::new(local.clone()), at(10_000)), local)
    }

    #[test]
    fn goes_on_by_the_monotonic_clock_between_readings() {
        let (clock, local) = clock();
        local.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), at(10_003));
        local.set(at(1_000_000));
        assert_eq!(clock.now(), at(10_003), "the wall clock does not count");
        assert_eq!(clock.note(local.monotonic(), at(10_009), at(0)).at(local.monotonic()), at(10_009));
        assert_eq!(clock.now(), at(10_009));
    }

    #[test]
    fn stands_still_over_small_step_back_and_follows_large_one() {
        let (clock, local) = clock();
        clock.note(local.monotonic(), at(9_995), at(0));
        assert_eq!(clock.now(), at(10_000));
        local.advance(Duration::from_secs(4));
        assert_eq!(clock.now(), at(10_000));
        local.advance(Duration::from_secs(2));
        assert_eq!(clock.now(), at(10_001));
        clock.note(local.monotonic(), at(9_995), at(0));
        assert_eq!(clock.now(), at(9_995));
    }

    #[test]
    fn offset_is_the_difference_to_wall_clock() {
        let (clock, local) = clock();
        assert!((clock.offset() + 9_923.0).abs() < 0.001, "{}", clock.offset());
        local.set(at(10_002));
        clock.note(local.monotonic(), at(10_000), at(0));
        assert!((clock.offset() - 2.0).abs() < 0.001, "{}", clock.offset());
    }

    #[test]
    fn is_never_before_last_commit_within_leeway() {
        let (clock, local) = clock();
        assert_eq!(clock.note(local.monotonic(), at(10_001), at(10_006)).at(local.monotonic()), at(10_006));
        assert_eq!(clock.note(local.monotonic(), at(10_010), at(10_016)).at(local.monotonic()), at(10_010));
    }
}
