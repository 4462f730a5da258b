//! Age of a followed revocation list, and its bound.
//!
//! A list is complete as of the `iat` of the latest response of the feed. Its age is the larger of two measurements:
//!
//! 1. The wall clock: `now + leeway - iat`, since this clock may be behind the broker's by the leeway. It is computed
//!    at every call, so that suspending the machine or setting its clock has no effect.
//! 2. The monotonic clock: the age on arrival of the response plus the time since, so that a wall clock that stops or
//!    is set back has no effect. The broker's clock has never shown less than the `iat` of a response at its arrival: a
//!    response that is late compared with an earlier one is older by as much. This lower bound is reduced by a
//!    twentieth of the time that passes, so that a broker whose clock was corrected backwards, or clocks that drift
//!    apart, do not make a list look old permanently.
//!
//! So, while the wall clock is at most the leeway behind the broker's, a token is never accepted more than
//! [`Staleness::max`] after its revocation was acknowledged, whatever the behaviour of caches, mirrors and networks. A
//! clock that is ahead costs availability only.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{clock::UnixTime, error::VerifyError, feed_cursor::FeedCursor, waiting::Waiters};

/// Maximum age of a followed list, beyond which it is not used to verify tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    max: Duration,
    leeway: Duration,
    accepted: bool,
}

impl Staleness {
    /// The largest age, unless set otherwise.
    pub const DEFAULT_MAX: Duration = Duration::from_secs(30);
    /// Default of [`leeway`](Self::leeway).
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(5);
    /// Longest time for which a broker holds a request.
    const LONGEST_WAIT: Duration = Duration::from_secs(25);

    /// Sets the maximum age; beyond it every verification returns [`StaleRevocations`](VerifyError::StaleRevocations).
    #[must_use]
    pub fn at_most(max: Duration) -> Self {
        Self { max, leeway: Self::DEFAULT_LEEWAY, accepted: false }
    }

    #[cfg(feature = "remote")]
    pub(crate) fn with_max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// Sets how far this machine's clock may be behind the broker's without exceeding the bound. It is added to every
    /// age.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Checks tokens against the latest list, however old: the explicit weaker choice. A first list is still required.
    #[must_use]
    pub fn accept_stale(mut self) -> Self {
        self.accepted = true;
        self
    }

    /// The largest age.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// Returns true when a list of any age is accepted.
    #[must_use]
    pub fn accepts_stale(&self) -> bool {
        self.accepted
    }

    pub(crate) fn clock_leeway(&self) -> Duration {
        self.leeway
    }

    /// Checks that a follower with a good connection can meet the bound: of the bound less the leeway, a third is for
    /// the long poll, a third for detecting a broken connection, a third for another request.
    ///
    /// # Errors
    ///
    /// [`StalenessError`] with the values to set.
    pub fn check(&self) -> Result<(), StalenessError> {
        let least = self.leeway.saturating_add(Duration::from_secs(1)).saturating_mul(3);
        if self.accepted || self.max >= least {
            return Ok(());
        }
        Err(StalenessError { max: self.max, leeway: self.leeway, least })
    }

    /// Returns the long-poll wait when a response may be relied on for `bound`: whole seconds.
    pub(crate) fn wait(&self, bound: Duration) -> Duration {
        let third = bound.saturating_sub(self.leeway).checked_div(3).unwrap_or_default();
        Duration::from_secs(third.clamp(Duration::from_secs(1), Self::LONGEST_WAIT).as_secs())
    }
}

impl Default for Staleness {
    fn default() -> Self {
        Self::at_most(Self::DEFAULT_MAX)
    }
}

/// A bound on staleness that even a follower with a good connection would break.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a `max_staleness` of {} s is too short: with a clock leeway of {} s set at least {} s, or \
     `accept_stale_revocations`",
    max.as_secs_f64(), leeway.as_secs_f64(), least.as_secs_f64()
)]
#[non_exhaustive]
pub struct StalenessError {
    /// Requested bound.
    pub max: Duration,
    /// The leeway that it must allow for.
    pub leeway: Duration,
    /// Smallest bound that can be met.
    pub least: Duration,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "there are two clocks")]
pub struct ClockReading {
    /// The wall clock.
    pub wall: UnixTime,
    /// The clock that never goes back.
    pub monotonic: Instant,
}

impl ClockReading {
    /// Reads both clocks.
    #[must_use]
    pub fn of(clock: &dyn crate::clock::Clock) -> Self {
        Self { wall: clock.now(), monotonic: clock.monotonic() }
    }
}

/// Position of a list in the broker's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: String,
    pub(crate) cursor: u64,
    /// `iat` of the response with which the list reached it, or of a later one.
    pub(crate) true_at: UnixTime,
}

/// The latest moment at which the broker's clock is known to have shown at least so much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockLowerBound {
    shown: Duration,
    at: Instant,
}

impl ClockLowerBound {
    pub(crate) fn of(iat: UnixTime, at: Instant) -> Self {
        Self { shown: iat.elapsed_since_epoch(), at }
    }

    /// Returns the lower bound of the broker's clock at `now`.
    fn at_least(&self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        let believed = passed.saturating_sub(passed.checked_div(20).unwrap_or_default());
        self.shown.saturating_add(believed)
    }

    /// The stronger of the two.
    pub(crate) fn or(self, other: Self) -> Self {
        let now = self.at.max(other.at);
        if other.at_least(now) >= self.at_least(now) { other } else { self }
    }
}

/// Permission to use a list that is fresh: see [`Report::LEASE`](crate::report::Report::LEASE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "remote", feature = "testing")),
    expect(dead_code, reason = "only a follower has a lease")
)]
pub(crate) enum Lease {
    /// The follower has no identity and needs none.
    #[default]
    NotRequired,
    /// No report was accepted yet.
    Absent,
    /// Ends at this moment on either clock: the monotonic one stops while the machine sleeps.
    Until(ClockReading),
    /// Does not end: the list may be of any age.
    Unlimited,
    /// The follower has left: no other lease replaces this one.
    Left,
}

/// The age of a followed list. Readers load three numbers; one writer moves them, and always in this order: what the
/// list is true of, then its entries, then how long it may be relied on.
#[derive(Debug)]
pub(crate) struct Freshness {
    policy: Staleness,
    /// Origin of the monotonic numbers: the first reading.
    origin: OnceLock<Instant>,
    /// The `iat` of the list in seconds; 0: there is none yet.
    true_at: AtomicU64,
    /// Nanoseconds since 1970 by this clock: when the list becomes stale.
    fresh_until_wall: AtomicU64,
    /// Nanoseconds since 1970 by this clock: when the list becomes stale or the lease ends, whichever is first.
    usable_until_wall: AtomicU64,
    /// Nanoseconds since the origin: when the list becomes stale.
    until_monotonic: AtomicU64,
    /// Nanoseconds since the origin: when the list becomes stale or the lease ends, whichever is first.
    usable_until: AtomicU64,
    lease: Mutex<Lease>,
    /// The age at which the list stops to count, in nanoseconds.
    bound: AtomicU64,
    position: Mutex<Option<Position>>,
    waiters: Waiters,
}

impl Freshness {
    pub(crate) fn new(policy: Staleness) -> Self {
        Self {
            policy,
            origin: OnceLock::new(),
            true_at: AtomicU64::new(0),
            fresh_until_wall: AtomicU64::new(0),
            usable_until_wall: AtomicU64::new(0),
            until_monotonic: AtomicU64::new(0),
            usable_until: AtomicU64::new(0),
            lease: Mutex::default(),
            bound: AtomicU64::new(nanos(policy.max)),
            position: Mutex::new(None),
            waiters: Waiters::default(),
        }
    }

    pub(crate) fn policy(&self) -> &Staleness {
        &self.policy
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true when the list has reached the cursor.
    pub(crate) fn has_reached(&self, cursor: &FeedCursor) -> bool {
        let position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        position.as_ref().is_some_and(|at| at.epoch == cursor.epoch() && at.cursor >= cursor.position())
    }

    /// Returns false when the list is fresh, and of another epoch than the cursor.
    pub(crate) fn may_reach(&self, cursor: &FeedCursor, now: ClockReading) -> bool {
        let is_same_epoch = {
            let position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
            position.as_ref().is_some_and(|at| at.epoch == cursor.epoch())
        };
        is_same_epoch || self.age(now).is_none_or(|age| age >= self.bound())
    }

    /// Returns the tasks that wait for a change of the list.
    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// The `iat` that the list has reached: the broker's clock is not before it.
    pub(crate) fn true_at(&self) -> UnixTime {
        UnixTime::from_seconds(self.true_at.load(Ordering::Acquire))
    }

    /// Checks that the list is fresh enough to verify tokens.
    pub(crate) fn check(&self, wall: UnixTime, monotonic: impl FnOnce() -> Instant) -> Result<(), VerifyError> {
        if self.policy.accepted {
            return if self.is_there() {
                self.check_lease(ClockReading { wall, monotonic: monotonic() })
            } else {
                Err(VerifyError::RevocationsUnavailable)
            };
        }
        let until = self.usable_until.load(Ordering::Acquire);
        let monotonic = monotonic();
        let usable_by_wall = nanos(wall.elapsed_since_epoch()) < self.usable_until_wall.load(Ordering::Acquire);
        if usable_by_wall && self.since_origin(monotonic) < until {
            return Ok(());
        }
        let now = ClockReading { wall, monotonic };
        match self.age(now) {
            Some(age) if age < self.bound() => {
                self.check_lease(now).and(Err(VerifyError::StaleRevocations { age, max: self.bound() }))
            }
            Some(age) => Err(VerifyError::StaleRevocations { age, max: self.bound() }),
            None => Err(VerifyError::RevocationsUnavailable),
        }
    }

    /// Returns the age of the list; `None` before the first snapshot.
    pub(crate) fn age(&self, now: ClockReading) -> Option<Duration> {
        if !self.is_there() {
            return None;
        }
        let by_wall = now.wall.saturating_add(self.policy.leeway).saturating_since(self.true_at());
        let left = self.until_monotonic.load(Ordering::Acquire);
        let elapsed = self.since_origin(now.monotonic);
        let by_monotonic = nanos(self.bound()).saturating_add(elapsed).saturating_sub(left);
        Some(by_wall.max(Duration::from_nanos(by_monotonic)))
    }

    /// First, before the entries change: what they will be true of.
    pub(crate) fn set_true_at(&self, iat: UnixTime) {
        self.true_at.store(iat.seconds(), Ordering::Release);
    }

    /// Sets how long the list may be relied on: last, after the entries have changed. A response is valid for `bound`
    /// from `iat`.
    pub(crate) fn confirm(
        &self,
        position: Position,
        iat: UnixTime,
        bound: Duration,
        clock_bound: ClockLowerBound,
        received: ClockReading,
    ) {
        let origin = *self.origin.get_or_init(|| received.monotonic);
        let bound = bound.min(self.policy.max);
        let ends = iat.elapsed_since_epoch().saturating_add(bound);
        let until_wall = ends.saturating_sub(self.policy.leeway);
        let left_by_wall = until_wall.saturating_sub(received.wall.elapsed_since_epoch());
        // `clock_bound.shown` plus 19/20 of the time since reaches `ends`.
        let left_by_evidence =
            ends.saturating_sub(clock_bound.shown).saturating_mul(20).checked_div(19).unwrap_or_default();
        let until =
            |from: Instant, left: Duration| nanos(from.saturating_duration_since(origin)).saturating_add(nanos(left));
        let until_monotonic = until(received.monotonic, left_by_wall).min(until(clock_bound.at, left_by_evidence));
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
        self.bound.store(nanos(bound), Ordering::Release);
        self.fresh_until_wall.store(nanos(until_wall), Ordering::Release);
        self.until_monotonic.store(until_monotonic, Ordering::Release);
        self.limit_use(&self.lease());
        self.waiters.wake();
    }

    /// Sets the lease, unless the follower has left.
    #[cfg(any(feature = "remote", feature = "testing"))]
    pub(crate) fn set_lease(&self, lease: Lease) {
        let mut current = self.lease();
        if *current != Lease::Left {
            *current = lease;
        }
        self.limit_use(&current);
    }

    /// Ends the lease for good. Returns false when that was done before.
    #[cfg(any(feature = "remote", feature = "testing"))]
    pub(crate) fn leave(&self) -> bool {
        let mut current = self.lease();
        let is_first = *current != Lease::Left;
        *current = Lease::Left;
        self.limit_use(&current);
        is_first
    }

    /// Returns true once the follower has left: no token is accepted any more.
    #[cfg(any(feature = "remote", feature = "testing"))]
    pub(crate) fn has_left(&self) -> bool {
        *self.lease() == Lease::Left
    }

    /// Returns true while there is a lease, or none is required.
    #[cfg(any(feature = "remote", feature = "testing"))]
    pub(crate) fn has_lease(&self, now: ClockReading) -> bool {
        self.check_lease(now).is_ok()
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes until when the list may be used, after its freshness or the lease has changed. The lease stays locked, so
    /// that the latest change is published last, and a lease that was read has been published.
    fn limit_use(&self, lease: &MutexGuard<'_, Lease>) {
        let fresh_until = self.until_monotonic.load(Ordering::Acquire);
        let fresh_until_wall = self.fresh_until_wall.load(Ordering::Acquire);
        let (usable_until, usable_until_wall) = match **lease {
            Lease::NotRequired | Lease::Unlimited => (fresh_until, fresh_until_wall),
            Lease::Absent | Lease::Left => (0, fresh_until_wall),
            Lease::Until(end) => (
                fresh_until.min(self.since_origin(end.monotonic)),
                fresh_until_wall.min(nanos(end.wall.elapsed_since_epoch())),
            ),
        };
        self.usable_until.store(usable_until, Ordering::Release);
        self.usable_until_wall.store(usable_until_wall, Ordering::Release);
    }

    fn check_lease(&self, now: ClockReading) -> Result<(), VerifyError> {
        let lease = *self.lease();
        let holds = match lease {
            Lease::NotRequired | Lease::Unlimited => true,
            Lease::Absent | Lease::Left => false,
            Lease::Until(end) => now.monotonic < end.monotonic && now.wall < end.wall,
        };
        if holds { Ok(()) } else { Err(VerifyError::NotReported) }
    }

    /// Restores the state of an earlier run. A response was valid for `validity`; `None` when its age is unknown.
    #[cfg(feature = "remote")]
    pub(crate) fn resume(&self, position: Position, iat: UnixTime, validity: Option<Duration>, now: ClockReading) {
        if let Some(validity) = validity {
            // Only the wall clock bounds the broker's clock here.
            self.confirm(position, iat, validity, ClockLowerBound::of(iat, now.monotonic), now);
        } else {
            self.origin.get_or_init(|| now.monotonic);
            *self.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
            self.waiters.wake();
        }
    }

    /// Marks the list stale after this clock proved wrong.
    pub(crate) fn mark_stale(&self) {
        self.until_monotonic.store(0, Ordering::Release);
        self.limit_use(&self.lease());
    }

    pub(crate) fn is_there(&self) -> bool {
        self.origin.get().is_some()
    }

    /// The age from which on the list doesn't count.
    pub(crate) fn bound(&self) -> Duration {
        Duration::from_nanos(self.bound.load(Ordering::Acquire))
    }

    fn since_origin(&self, now: Instant) -> u64 {
        self.origin.get().map_or(0, |origin| nanos(now.saturating_duration_since(*origin)))
    }
}

/// Nanoseconds, up to the year 2554.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn clock_bound_loses_a_twentieth_of_elapsed_time() {
        let start = Instant::now();
        let early = ClockLowerBound::of(UnixTime::from_seconds(1000), start);
        assert_eq!(early.at_least(start + seconds(100)), seconds(1095));
        // The broker's clock was set back by 50 s: after 1000 s the lower bound has no effect.
        let response = |after: u64| ClockLowerBound::of(UnixTime::from_seconds(950 + after), start + seconds(after));
        assert_eq!(early.or(response(990)).shown, early.shown);
        assert_eq!(early.or(response(1000)).shown, seconds(1950));
    }

    #[test]
    fn no_lease_replaces_one_of_follower_that_has_left() {
        let freshness = Freshness::new(Staleness::default());
        let (wall, monotonic) = (UnixTime::from_seconds(1000), Instant::now());
        let end = ClockReading { wall: UnixTime::from_seconds(1600), monotonic: monotonic + seconds(600) };
        freshness.set_lease(Lease::Until(end));
        assert!(freshness.has_lease(ClockReading { wall, monotonic }));
        assert!(freshness.leave() && !freshness.leave());
        for lease in [Lease::Until(end), Lease::Unlimited, Lease::Absent] {
            freshness.set_lease(lease);
            assert!(freshness.has_left() && !freshness.has_lease(ClockReading { wall, monotonic }), "{lease:?}");
        }
    }

    #[test]
    fn waits_a_third_of_bound_less_leeway() {
        let staleness = Staleness::default();
        for (bound, wait) in [(30, 8), (18, 4), (5, 1), (0, 1), (60, 18), (3600, 25)] {
            assert_eq!(staleness.wait(seconds(bound)), seconds(wait), "{bound}");
        }
    }
}
