//! Times from which the revocations up to a cursor are known to be committed.
//!
//! 1. A feed response with a later `iat` contains them. The time of the transaction itself would be too early: a response
//!    that was signed between it and the end of the commit lacks them.
//! 2. The time is that at which this broker's memory held the cursor first. It never moves to an earlier time, so that
//!    leaving out some of the times is safe: a cursor then has the time of a later one.
//! 3. The monotonic clock measures what has passed since. A wall clock that is set has no effect.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use agentwrit_verify::{Clock, FeedCursor, UnixTime};

use crate::store::LogEnd;

/// Duration during which moves of the end share one time.
const RESOLUTION: Duration = Duration::from_millis(50);
/// Largest number of times that are kept. Of the older half every other one is dropped when there are more, so that they
/// reach back as far as they are old.
const MAX_TIMES: usize = 4096;
/// Age up to which the followers that waited at a commit are counted.
const FOLLOWERS_COUNT: Duration = Duration::from_secs(30);

/// Time from which a cursor is known to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitTime {
    pub(crate) cursor: FeedCursor,
    /// On the clock that signs the feed.
    pub(crate) at: UnixTime,
    /// The same moment on the monotonic clock.
    pub(crate) since: Instant,
    /// Largest number of followers that waited for news at a commit, within the half minute before.
    pub(crate) followers: usize,
}

/// Reason why a cursor has no commit time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownCursor {
    /// It is of another log.
    OtherEpoch,
    /// The log does not reach so far.
    Beyond,
}

/// Times of a log's commits.
#[derive(Debug)]
pub(super) struct CommitTimes {
    clock: Arc<dyn Clock>,
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    epoch: Arc<str>,
    /// In the order of the log.
    ends: VecDeque<SeenEnd>,
}

/// An end of the log.
#[derive(Clone, Copy, Debug)]
struct SeenEnd {
    position: u64,
    at: UnixTime,
    /// Time at which the first of the moves was seen that share this entry.
    first: Instant,
    /// Time at which the last of them was seen.
    since: Instant,
    followers: usize,
}

impl CommitTimes {
    /// Begins with the log as it is at a start.
    pub(super) fn new(clock: Arc<dyn Clock>, end: &LogEnd) -> Self {
        let times = Times { epoch: Arc::clone(&end.epoch), ends: VecDeque::new() };
        let times = Self { clock, times: Mutex::new(times) };
        times.note(end, 0);
        times
    }

    /// Notes that the log ends at `end` now, and that so many followers waited for it.
    pub(super) fn note(&self, end: &LogEnd, followers: usize) {
        let mut times = self.times();
        let (at, since) = (self.clock.now(), self.clock.monotonic());
        if times.epoch != end.epoch {
            *times = Times { epoch: Arc::clone(&end.epoch), ends: VecDeque::new() };
        }
        let seen = SeenEnd { position: end.cursor, at, first: since, since, followers };
        match times.ends.back_mut() {
            Some(last) if last.position >= end.cursor => {}
            Some(last) if since.saturating_duration_since(last.first) < RESOLUTION => {
                *last = SeenEnd { first: last.first, followers: followers.max(last.followers), ..seen };
            }
            Some(_) | None => times.ends.push_back(seen),
        }
        if times.ends.len() > MAX_TIMES {
            times.thin();
        }
    }

    /// Returns the time from which `cursor` is known to be committed.
    pub(super) fn of(&self, cursor: &FeedCursor) -> Result<CommitTime, UnknownCursor> {
        let times = self.times();
        if *times.epoch != *cursor.epoch() {
            return Err(UnknownCursor::OtherEpoch);
        }
        let index = times.ends.partition_point(|end| end.position < cursor.position());
        let seen = times.ends.get(index).ok_or(UnknownCursor::Beyond)?;
        let before = times.ends.range(..=index).rev();
        let recent = before.take_while(|end| seen.since.saturating_duration_since(end.since) <= FOLLOWERS_COUNT);
        let followers = recent.map(|end| end.followers).max().unwrap_or_default();
        Ok(CommitTime { cursor: cursor.clone(), at: seen.at, since: seen.since, followers })
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    /// Drops every other entry of the older half.
    fn thin(&mut self) {
        let half = self.ends.len() / 2;
        let mut index = 0_usize;
        self.ends.retain(|_| {
            let kept = index >= half || index % 2 == 1;
            index = index.saturating_add(1);
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::testing::ManualClock;

    use super::*;

    fn end(cursor: u64) -> LogEnd {
        LogEnd { epoch: "e".into(), cursor }
    }

    fn cursor(position: u64) -> FeedCursor {
        FeedCursor::new("e", position).unwrap()
    }

    fn seconds(clock: &ManualClock, times: &CommitTimes, position: u64) -> u64 {
        let time = times.of(&cursor(position)).unwrap();
        assert_eq!(clock.now().saturating_since(time.at), clock.monotonic() - time.since);
        time.at.seconds()
    }

    fn times() -> (ManualClock, CommitTimes) {
        let clock = ManualClock::new(UnixTime::from_seconds(1000));
        let times = CommitTimes::new(Arc::new(clock.clone()), &end(7));
        (clock, times)
    }

    #[test]
    fn cursor_has_time_at_which_memory_held_it_first() {
        let (clock, times) = times();
        clock.advance(Duration::from_secs(10));
        times.note(&end(9), 4);
        clock.advance(Duration::from_secs(10));
        times.note(&end(9), 5);
        assert_eq!([1, 7, 8, 9].map(|position| seconds(&clock, &times, position)), [1000, 1000, 1010, 1010]);
        assert_eq!(times.of(&cursor(10)), Err(UnknownCursor::Beyond));
        assert_eq!(times.of(&FeedCursor::new("f", 7).unwrap()), Err(UnknownCursor::OtherEpoch));
        assert_eq!(times.of(&cursor(9)).unwrap().followers, 4);
        times.note(&LogEnd { epoch: "f".into(), cursor: 2 }, 0);
        assert_eq!(times.of(&cursor(7)), Err(UnknownCursor::OtherEpoch));
        assert_eq!(times.of(&FeedCursor::new("f", 2).unwrap()).unwrap().at.seconds(), 1020);
    }

    #[test]
    fn counts_followers_of_last_half_minute() {
        let (clock, times) = times();
        for (step, position, followers) in [(20, 8, 6), (20, 9, 2), (11, 10, 3)] {
            clock.advance(Duration::from_secs(step));
            times.note(&end(position), followers);
        }
        assert_eq!([8, 9, 10].map(|position| times.of(&cursor(position)).unwrap().followers), [6, 6, 3]);
    }

    #[test]
    fn never_has_earlier_time_than_commit_and_keeps_a_bounded_number() {
        let (clock, times) = times();
        let mut commits = Vec::new();
        for position in 8..40_000 {
            clock.advance(Duration::from_millis(20));
            times.note(&end(position), 0);
            commits.push((position, clock.now()));
        }
        assert!(times.times().ends.len() <= MAX_TIMES);
        for (position, committed) in commits {
            let at = times.of(&cursor(position)).unwrap().at;
            let (late, age) = (at.saturating_since(committed), clock.now().saturating_since(committed));
            assert!(at >= committed, "{position}");
            assert!(late <= RESOLUTION + age / 2, "{position}: {late:?} late at the age of {age:?}");
        }
    }
}
