//! Rules that hold also when the wall clock is wrong: ahead, behind, stepped while the broker runs or while it does not.
//!
//! 1. A record is deleted once it has expired for certain: by a time that did not run ahead ([`CertainTime`]), and for
//!    [`RETENTION`] by that. This binds the store's rows, the list in memory, and the tokens that a revocation leaves out.
//! 2. Uses of nonces are deleted sooner, because there are many. Nonces expire by a time of their own, which never goes
//!    back, not even over a restart: a nonce whose use was deleted stays expired ([`NonceTime`]).
//! 3. A token is issued after the second of every not-before mark on its subject or task. If that is further ahead than
//!    the leeway of verifiers, nothing is issued: the clock is behind, or was ahead when the mark was made
//!    ([`issue_time`]).
//! 4. A not-before mark is never older than the tokens that it revokes: see
//!    [`EndedTokens::ahead`](crate::store::EndedTokens::ahead). The mark after a restore is checked against the records: see
//!    [`restore`](crate::maintenance::restore).
//! 5. A step back is counted and logged ([`WatchedClock`]); a clock behind the newest record, and deletions that are held,
//!    appear in the log, in the metrics and in the health document ([`ClockMonitor::warnings`]).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use agentwrit_verify::{Clock, UnixTime};

mod certain;
mod database;
mod nonce_time;
mod watched;

use self::certain::CertainTime;
pub(crate) use self::{
    certain::MAX_STEP,
    database::{DatabaseClock, ExpiryClock, ServerTime},
    nonce_time::NonceTime,
    watched::WatchedClock,
};

/// Time for which a record is kept after it has expired for certain.
pub(crate) const RETENTION: Duration = Duration::from_secs(3600);
/// Leeway of verifiers; also what the clocks of several processors may differ by.
pub(crate) const LEEWAY: Duration = Duration::from_secs(5);

/// The clock is behind a not-before mark by more than the leeway of verifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockBehind {
    pub(crate) by: Duration,
}

/// Returns the issue time of a token: now, but after the second of the latest not-before mark, which revokes tokens of that
/// second too.
pub(crate) fn issue_time(now: UnixTime, latest_mark: Option<UnixTime>) -> Result<UnixTime, ClockBehind> {
    let earliest = latest_mark.map(|mark| UnixTime::from_seconds(mark.seconds().saturating_add(1))).unwrap_or_default();
    match earliest.saturating_since(now) {
        by if by > LEEWAY => Err(ClockBehind { by }),
        _ => Ok(now.max(earliest)),
    }
}

/// Returns true if verifiers would not accept something dated `at` yet.
pub(crate) fn is_from_the_future(at: UnixTime, now: UnixTime) -> bool {
    at.saturating_since(now) > LEEWAY
}

/// Fault of the clock, for the health document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockWarning {
    /// Records are dated after the clock's time.
    BehindRecords,
    /// The clock is ahead of the time that has passed for certain: nothing that expired in between is deleted.
    DeletionHeld,
}

impl ClockWarning {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BehindRecords => "clock_behind_records",
            Self::DeletionHeld => "deletion_held",
        }
    }
}

/// Times in the store's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedTime {
    /// The time that had passed for certain when the store was last used; none in a new store.
    pub certain: Option<UnixTime>,
    /// The latest of the last audit event and all not-before marks.
    pub newest: UnixTime,
}

/// Compares the wall clock with the store's records and the monotonic clock.
#[derive(Debug)]
pub(crate) struct ClockMonitor {
    certain: CertainTime,
    /// The newest record, in microseconds.
    newest: AtomicU64,
}

impl ClockMonitor {
    /// Starts from the records of the store, and logs a clock that is behind them.
    pub(crate) fn new(recorded: RecordedTime, clock: &dyn Clock) -> Self {
        let monitor = Self {
            certain: CertainTime::new(recorded.certain, clock),
            newest: AtomicU64::new(micros(recorded.newest)),
        };
        if let Some(by) = monitor.behind_records(clock.now()) {
            let (seconds, newest) = (by.as_secs(), recorded.newest.to_rfc3339());
            tracing::warn!(component = "clock", seconds, newest, "the clock is behind the newest record: correct it");
        }
        monitor
    }

    /// Returns the time until which expired records may be deleted.
    pub(crate) fn deletable_until(&self, clock: &dyn Clock) -> UnixTime {
        UnixTime::since_epoch(self.certain.now(clock).elapsed_since_epoch().saturating_sub(RETENTION))
    }

    /// Returns the time that has passed for certain, for the store to keep until the next start.
    pub(crate) fn certain_time(&self, clock: &dyn Clock) -> UnixTime {
        self.certain.recordable(clock)
    }

    /// Notes the time of a new record.
    pub(crate) fn note_record(&self, at: UnixTime) {
        self.newest.fetch_max(micros(at), Ordering::Relaxed);
    }

    /// Returns the time by which the clock is behind the newest record, if it exceeds the leeway of verifiers.
    pub(crate) fn behind_records(&self, now: UnixTime) -> Option<Duration> {
        let newest = UnixTime::since_epoch(Duration::from_micros(self.newest.load(Ordering::Relaxed)));
        Some(newest.saturating_since(now)).filter(|by| *by > LEEWAY)
    }

    /// Returns the time by which the clock is ahead of the time that has passed for certain, while deletions are held.
    pub(crate) fn held(&self, clock: &dyn Clock) -> Option<Duration> {
        self.certain.held(clock)
    }

    /// Returns the faults of the clock.
    pub(crate) fn warnings(&self, clock: &dyn Clock) -> Vec<ClockWarning> {
        let behind = self.behind_records(clock.now()).map(|_| ClockWarning::BehindRecords);
        let held = self.held(clock).map(|_| ClockWarning::DeletionHeld);
        behind.into_iter().chain(held).collect()
    }
}

fn micros(time: UnixTime) -> u64 {
    u64::try_from(time.elapsed_since_epoch().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::testing::ManualClock;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    #[test]
    fn issues_after_second_of_mark_unless_mark_is_beyond_leeway() {
        let now = UnixTime::since_epoch(Duration::from_millis(10_000_400));
        assert_eq!(issue_time(now, None), Ok(now));
        assert_eq!(issue_time(now, Some(at(9_000))), Ok(now));
        assert_eq!(issue_time(now, Some(now)), Ok(at(10_001)));
        assert_eq!(issue_time(now, Some(at(10_004))), Ok(at(10_005)));
        assert_eq!(issue_time(now, Some(at(10_005))), Err(ClockBehind { by: Duration::from_millis(5_600) }));
        let days = Duration::from_secs(2 * 86_400);
        assert_eq!(issue_time(at(10_000), Some(at(9_999 + 2 * 86_400))), Err(ClockBehind { by: days }));
    }

    #[test]
    fn warns_while_clock_is_behind_newest_record() {
        let clock = ManualClock::new(at(10_000));
        let recorded = RecordedTime { certain: Some(at(10_000)), newest: at(10_005) };
        let monitor = ClockMonitor::new(recorded, &clock);
        assert_eq!(monitor.warnings(&clock), []);
        monitor.note_record(at(10_020));
        monitor.note_record(at(9_000));
        assert_eq!(monitor.behind_records(clock.now()), Some(Duration::from_secs(20)));
        assert_eq!(monitor.warnings(&clock), [ClockWarning::BehindRecords]);
        clock.set(at(10_015));
        assert_eq!(monitor.warnings(&clock), []);
    }

    #[test]
    fn warns_while_deletions_are_held() {
        let clock = ManualClock::new(at(100_000));
        let recorded = RecordedTime { certain: Some(at(10_000)), newest: at(10_000) };
        let monitor = ClockMonitor::new(recorded, &clock);
        assert_eq!(monitor.warnings(&clock), [ClockWarning::DeletionHeld]);
        assert_eq!(monitor.held(&clock), Some(Duration::from_secs(90_000)));
        assert_eq!(monitor.deletable_until(&clock), at(6_400));
        assert_eq!(monitor.certain_time(&clock), at(10_000));
    }
}
