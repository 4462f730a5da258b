//! What holds when the wall clock is wrong: ahead, behind, stepped while the broker runs or while it does not.
//!
//! 1. What is deleted because it expired has expired for certain: by a time that did not run ahead ([`CertainTime`]),
//!    and [`KEPT`] ago by that. This binds the store's rows, the list in memory, and what a revocation leaves out.
//! 2. Nonces are too many to be kept. They live on a time of their own, which never goes back, not even over a restart:
//!    a nonce whose use was forgotten has expired for good ([`NonceTime`]).
//! 3. A token is issued after the second of every not-before mark on what it stands for. Where that is further ahead
//!    than verifiers forgive, nothing is issued: the clock is behind, or was ahead when the mark was made
//!    ([`issue_time`]).
//! 4. A not-before mark is never older than what it kills: see [`Ended::ahead`](crate::store::Ended::ahead). The mark
//!    after a restore is checked against the newest record: see [`restore`](crate::restore).
//! 5. A step back is counted and logged ([`WatchedClock`]); a clock behind the newest record, and deletions that are held,
//!    show in the log, in the metrics and in the health document ([`Timekeeper::warnings`]).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use agentwrit_verify::{Clock, UnixTime};

mod certain;
mod nonces;
mod watched;

use self::certain::CertainTime;
pub(crate) use self::{certain::STEP, nonces::NonceTime, watched::WatchedClock};

/// How long what has expired for certain is still known.
pub(crate) const KEPT: Duration = Duration::from_secs(3600);
/// What verifiers forgive, and several processors may disagree about.
const LEEWAY: Duration = Duration::from_secs(5);

/// The clock is behind a not-before mark by more than verifiers forgive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockBehind {
    pub(crate) by: Duration,
}

/// When a token is issued: now, but after the second of the latest not-before mark on it, which would kill it too.
pub(crate) fn issue_time(now: UnixTime, latest_mark: Option<UnixTime>) -> Result<UnixTime, ClockBehind> {
    let earliest = latest_mark.map(|mark| UnixTime::from_seconds(mark.seconds().saturating_add(1))).unwrap_or_default();
    match earliest.saturating_since(now) {
        by if by > LEEWAY => Err(ClockBehind { by }),
        _ => Ok(now.max(earliest)),
    }
}

/// Whether something dated `at` lies so far in the future that verifiers would not accept it yet.
pub(crate) fn is_from_the_future(at: UnixTime, now: UnixTime) -> bool {
    at.saturating_since(now) > LEEWAY
}

/// What is wrong with the clock, for the health document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockWarning {
    /// Records are dated after the time that the clock shows.
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

/// What the store's records say about the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordedTime {
    /// The time that had passed for certain when the store was last used; none in a new store.
    pub(crate) certain: Option<UnixTime>,
    /// The latest of the last audit event and all not-before marks.
    pub(crate) newest: UnixTime,
}

/// Compares the wall clock with what is known about the time.
#[derive(Debug)]
pub(crate) struct Timekeeper {
    certain: CertainTime,
    /// The newest record, in microseconds.
    newest: AtomicU64,
}

impl Timekeeper {
    /// Goes on from the records of the store, and logs what is wrong with the clock.
    pub(crate) fn new(recorded: RecordedTime, clock: &dyn Clock) -> Self {
        let keeper = Self {
            certain: CertainTime::new(recorded.certain, clock),
            newest: AtomicU64::new(micros(recorded.newest)),
        };
        if let Some(by) = keeper.behind_records(clock.now()) {
            let (seconds, newest) = (by.as_secs(), recorded.newest.to_rfc3339());
            tracing::warn!(component = "clock", seconds, newest, "the clock is behind the newest record: correct it");
        }
        keeper
    }

    /// The latest moment whose dead need not be known any more.
    pub(crate) fn forgotten_until(&self, clock: &dyn Clock) -> UnixTime {
        UnixTime::since_epoch(self.certain.now(clock).elapsed_since_epoch().saturating_sub(KEPT))
    }

    /// The time that has passed for certain, for the store to keep until the next start.
    pub(crate) fn certain(&self, clock: &dyn Clock) -> UnixTime {
        self.certain.recordable(clock)
    }

    /// Takes notice of a record.
    pub(crate) fn recorded(&self, at: UnixTime) {
        self.newest.fetch_max(micros(at), Ordering::Relaxed);
    }

    /// By how much the clock is behind the newest record, if verifiers would notice.
    pub(crate) fn behind_records(&self, now: UnixTime) -> Option<Duration> {
        let newest = UnixTime::since_epoch(Duration::from_micros(self.newest.load(Ordering::Relaxed)));
        Some(newest.saturating_since(now)).filter(|by| *by > LEEWAY)
    }

    /// By how much the clock is ahead of the time that has passed for certain, while deletions are held.
    pub(crate) fn held(&self, clock: &dyn Clock) -> Option<Duration> {
        self.certain.held(clock)
    }

    /// What is wrong with the clock.
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
    fn issues_after_the_second_of_the_mark_unless_that_is_too_far_ahead() {
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
    fn warns_while_the_clock_is_behind_the_newest_record() {
        let clock = ManualClock::new(at(10_000));
        let recorded = RecordedTime { certain: Some(at(10_000)), newest: at(10_005) };
        let keeper = Timekeeper::new(recorded, &clock);
        assert_eq!(keeper.warnings(&clock), []);
        keeper.recorded(at(10_020));
        keeper.recorded(at(9_000));
        assert_eq!(keeper.behind_records(clock.now()), Some(Duration::from_secs(20)));
        assert_eq!(keeper.warnings(&clock), [ClockWarning::BehindRecords]);
        clock.set(at(10_015));
        assert_eq!(keeper.warnings(&clock), []);
    }

    #[test]
    fn warns_while_deletions_are_held() {
        let clock = ManualClock::new(at(100_000));
        let recorded = RecordedTime { certain: Some(at(10_000)), newest: at(10_000) };
        let keeper = Timekeeper::new(recorded, &clock);
        assert_eq!(keeper.warnings(&clock), [ClockWarning::DeletionHeld]);
        assert_eq!(keeper.held(&clock), Some(Duration::from_secs(90_000)));
        assert_eq!(keeper.forgotten_until(&clock), at(6_400));
        assert_eq!(keeper.certain(&clock), at(10_000));
    }
}
