//! The clock of a database server, by which all its brokers go.
//!
//! 1. The server's time is read with statements that are sent anyway. Between two readings this machine's monotonic clock
//!    goes on from the last one. Its wall clock does not count.
//! 2. A reading was made after its request was sent and before its response arrived. So it bounds the time from both sides,
//!    and the narrowest bounds that readings agree on stay: a slow response moves no time. What is issued is dated by the
//!    lower bound, and the end of a lifetime is judged by the upper one ([`ExpiryClock`]).
//! 3. A step back of up to [`LEEWAY`] is not followed: the time stands still until the server's has caught up. Larger ones
//!    are, and have the rules of every clock that is set back.
//! 4. The time of a transaction is never before that of the last commit, within the same limit, whichever broker made it.

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
    /// Returns the clock of a server whose time a request sent at `sent` has just returned.
    pub(crate) fn new(local: Arc<dyn Clock>, sent: Instant, read: UnixTime) -> Self {
        let (lower, upper) = (Bound { time: read, moment: local.monotonic() }, Bound { time: read, moment: sent });
        let latest = ServerTime { read, lower, upper, floor: read, upper_floor: read };
        let clock = Self { local, latest: Mutex::new(latest), offset: Mutex::default() };
        clock.note_offset(read);
        clock
    }

    /// Notes the server's time and that of the last commit, which a request sent at `sent` has just returned.
    pub(crate) fn note(&self, sent: Instant, read: UnixTime, last_commit: UnixTime) -> ServerTime {
        self.note_offset(read);
        let now = self.local.monotonic();
        let mut latest = self.latest();
        *latest = latest.narrowed_by(sent, read, now, last_commit);
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

    /// Returns what the readings until now show.
    pub(crate) fn latest_reading(&self) -> ServerTime {
        *self.latest()
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

/// The latest time that the server's may be. It does not go back either.
#[derive(Debug)]
pub(crate) struct ExpiryClock(pub(crate) Arc<DatabaseClock>);

impl Clock for ExpiryClock {
    fn now(&self) -> UnixTime {
        self.0.latest().at_most(self.0.local.monotonic())
    }

    fn monotonic(&self) -> Instant {
        self.0.local.monotonic()
    }
}

/// A time, and a moment of this machine's monotonic clock at which the server's was not before it, or not after it.
#[derive(Clone, Copy, Debug)]
struct Bound {
    time: UnixTime,
    moment: Instant,
}

impl Bound {
    fn at(self, moment: Instant) -> UnixTime {
        self.time.saturating_add(moment.saturating_duration_since(self.moment))
    }
}

/// A reading of the server's time, and the bounds that follow from it and those before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerTime {
    read: UnixTime,
    lower: Bound,
    upper: Bound,
    /// Time that no later one is before.
    floor: UnixTime,
    /// The same for [`at_most`](Self::at_most).
    upper_floor: UnixTime,
}

impl ServerTime {
    /// Returns the server's time when it was read.
    pub(crate) fn earliest(self) -> UnixTime {
        self.read
    }

    /// Returns the server's time at a moment of this machine's monotonic clock.
    pub(crate) fn at(self, moment: Instant) -> UnixTime {
        self.lower.at(moment).max(self.floor)
    }

    /// Returns the latest time that the server's may be at a moment.
    pub(crate) fn at_most(self, moment: Instant) -> UnixTime {
        self.upper.at(moment).max(self.upper_floor).max(self.at(moment))
    }

    /// Adds a reading that was sent at `sent` and arrived at `now`.
    fn narrowed_by(self, sent: Instant, read: UnixTime, now: Instant, last_commit: UnixTime) -> Self {
        let (mut lower, mut upper) = (Bound { time: read, moment: now }, Bound { time: read, moment: sent });
        // Otherwise the server's clock was set, or runs at another speed than this machine's.
        if self.lower.at(now) <= upper.at(now) && read <= self.upper.at(now) {
            lower = if self.lower.at(now) > read { self.lower } else { lower };
            upper = if self.upper.at(now) < upper.at(now) { self.upper } else { upper };
        }
        let within_leeway = |known: &UnixTime, time: UnixTime| known.saturating_since(time) <= LEEWAY;
        let committed =
            Some(last_commit).filter(|known| within_leeway(known, read)).map_or(read, |known| known.max(read));
        let kept = |known: UnixTime| Some(known).filter(|known| within_leeway(known, upper.at(now))).unwrap_or(read);
        Self {
            read: Some(self.at(sent))
                .filter(|known| within_leeway(known, read))
                .map_or(committed, |at| at.max(committed)),
            lower,
            upper,
            floor: kept(self.at(now)).max(committed),
            upper_floor: kept(self.at_most(now)),
        }
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
        (DatabaseClock::new(Arc::new(local.clone()), local.monotonic(), at(10_000)), local)
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

    #[test]
    fn time_does_not_go_back_by_latency_of_a_response() {
        let (clock, local) = clock();
        let clock = Arc::new(clock);
        let expiry = ExpiryClock(Arc::clone(&clock));
        local.advance(Duration::from_secs(100));
        let sent = local.monotonic();
        // The server reads its clock at once, and its response takes 3 s.
        local.advance(Duration::from_secs(3));
        let noted = clock.note(sent, at(10_100), at(0));
        assert_eq!((noted.earliest(), clock.now(), expiry.now()), (at(10_100), at(10_103), at(10_103)));
        // It reads it at the end.
        let sent = local.monotonic();
        local.advance(Duration::from_secs(3));
        let noted = clock.note(sent, at(10_106), at(0));
        assert_eq!((noted.earliest(), clock.now(), expiry.now()), (at(10_106), at(10_106), at(10_106)));
    }

    #[test]
    fn expiry_is_judged_by_latest_possible_time() {
        let local = ManualClock::new(at(77));
        let sent = local.monotonic();
        local.advance(Duration::from_secs(2));
        let clock = Arc::new(DatabaseClock::new(Arc::new(local.clone()), sent, at(10_000)));
        let expiry = ExpiryClock(Arc::clone(&clock));
        assert_eq!((clock.now(), expiry.now()), (at(10_000), at(10_002)));
        // A quicker reading shows that it was read at the end: the latest time stands still until it is reached.
        clock.note(local.monotonic(), at(10_000), at(0));
        local.advance(Duration::from_secs(1));
        assert_eq!((clock.now(), expiry.now()), (at(10_001), at(10_002)));
        local.advance(Duration::from_secs(9));
        assert_eq!((clock.now(), expiry.now()), (at(10_010), at(10_010)));
    }

    #[test]
    fn follows_step_forward() {
        let (clock, local) = clock();
        clock.note(local.monotonic(), at(10_060), at(0));
        assert_eq!((clock.now(), ExpiryClock(Arc::new(clock)).now()), (at(10_060), at(10_060)));
    }
}
