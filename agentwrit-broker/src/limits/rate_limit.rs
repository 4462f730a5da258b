//! Rate limits: bounds on the requests of one key.
//!
//! 1. Each key has its own allowance: `burst` requests at once, then one per interval (the generic cell rate
//!    algorithm). A rejected request costs nothing, and its error contains the time until the next one is accepted.
//! 2. Memory is fixed: 65,536 keys, whatever unauthenticated clients send. They are spread by a hash under a key
//!    drawn at the start, so that no client can choose the place of another client's key.
//! 3. When the places for a key are taken, the key closest to a full allowance is dropped. Under a flood from very
//!    many addresses a limit gets softer; it never rejects a client that has stayed within it.
//! 4. One [`RateTable`] may hold the keys of several [`Rate`]s, each key of one rate only.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hash},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Allowance of a key: some requests at once, then one per interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    interval: Duration,
    /// Time that a key may be ahead of its intervals: `burst - 1` intervals.
    tolerance: Duration,
}

impl Rate {
    /// `limit` requests per second (0 counts as 1), one at a time.
    #[must_use]
    pub(crate) fn per_second(limit: u32) -> Self {
        Self::per(Duration::from_secs(1), limit)
    }

    /// `limit` requests per minute (0 counts as 1), one at a time.
    #[must_use]
    pub(crate) fn per_minute(limit: u32) -> Self {
        Self::per(Duration::from_secs(60), limit)
    }

    /// Lets the first `requests` (0 counts as 1) through at once.
    #[must_use]
    pub(crate) fn burst(self, requests: u32) -> Self {
        Self { tolerance: self.interval.saturating_mul(requests.saturating_sub(1)), ..self }
    }

    /// Half as often, and half as many at once.
    #[must_use]
    pub(crate) fn halved(self) -> Self {
        let interval = self.interval.saturating_mul(2);
        let all_at_once = self.tolerance.saturating_add(self.interval);
        Self { interval, tolerance: all_at_once.saturating_sub(interval) }
    }

    fn per(period: Duration, limit: u32) -> Self {
        Self { interval: period / limit.max(1), tolerance: Duration::ZERO }
    }
}

/// The allowances of many keys, in bounded memory.
pub(crate) struct RateTable {
    buckets: Box<[Mutex<Bucket>]>,
    hasher: RandomState,
}

impl Default for RateTable {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl RateTable {
    /// Largest number of keys kept at once.
    #[cfg(test)]
    const CAPACITY: usize = BUCKETS * WAYS;

    /// Counts a request of `key` at `now`.
    ///
    /// # Errors
    ///
    /// [`RetryAfter`] when the key has used up its allowance.
    pub(crate) fn check(&self, rate: Rate, key: impl Hash, now: Instant) -> Result<(), RetryAfter> {
        let (tag, mut bucket) = self.bucket(key)?;
        let cell = bucket.iter_mut().min_by_key(|cell| (cell.tag != tag, cell.full_at)).ok_or(RetryAfter(1))?;
        let full_at = cell.admit(rate, tag, now)?;
        *cell = Cell { tag, full_at: full_at.checked_add(rate.interval) };
        Ok(())
    }

    /// Checks whether a request of `key` would be accepted at `now`; counts nothing.
    ///
    /// # Errors
    ///
    /// [`RetryAfter`] when the key has used up its allowance.
    pub(crate) fn peek(&self, rate: Rate, key: impl Hash, now: Instant) -> Result<(), RetryAfter> {
        let (tag, bucket) = self.bucket(key)?;
        bucket.iter().find(|cell| cell.tag == tag).map_or(Ok(()), |cell| cell.admit(rate, tag, now).map(drop))
    }

    /// Takes back a request that was counted, and turned out not to be limited.
    pub(crate) fn give_back(&self, rate: Rate, key: impl Hash) {
        let Ok((tag, mut bucket)) = self.bucket(key) else { return };
        if let Some(cell) = bucket.iter_mut().find(|cell| cell.tag == tag) {
            cell.full_at = cell.full_at.and_then(|full_at| full_at.checked_sub(rate.interval));
        }
    }

    /// The tag of a key, and the places where it may be.
    fn bucket(&self, key: impl Hash) -> Result<(u64, MutexGuard<'_, Bucket>), RetryAfter> {
        let tag = self.hasher.hash_one(key);
        // Every number below BUCKETS is a place; were it not, the request would be rejected.
        let bucket = self.buckets.get(usize::try_from(tag % BUCKETS as u64).unwrap_or(usize::MAX));
        Ok((tag, bucket.ok_or(RetryAfter(1))?.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for RateTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateTable").finish_non_exhaustive()
    }
}

/// One rate with a table of its own.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    rate: Rate,
    table: RateTable,
}

impl RateLimiter {
    #[must_use]
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, table: RateTable::default() }
    }

    /// Counts a request: see [`RateTable::check`].
    ///
    /// # Errors
    ///
    /// [`RetryAfter`] when the key has used up its allowance.
    pub(crate) fn check(&self, key: impl Hash, now: Instant) -> Result<(), RetryAfter> {
        self.table.check(self.rate, key, now)
    }

    /// Counts nothing: see [`RateTable::peek`].
    ///
    /// # Errors
    ///
    /// [`RetryAfter`] when the key has used up its allowance.
    pub(crate) fn peek(&self, key: impl Hash, now: Instant) -> Result<(), RetryAfter> {
        self.table.peek(self.rate, key, now)
    }

    /// Takes back a request: see [`RateTable::give_back`].
    pub(crate) fn give_back(&self, key: impl Hash) {
        self.table.give_back(self.rate, key);
    }
}

/// Too many requests; the header of the same name (RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests, try again in {0} s")]
pub(crate) struct RetryAfter(u64);

impl RetryAfter {
    /// Seconds until the next request is accepted, rounded up; at least 1.
    #[must_use]
    pub(crate) fn seconds(self) -> u64 {
        self.0
    }

    fn wait(wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        Self(seconds.max(1))
    }
}

/// Address of one client: an IPv4 address, or the /64 of an IPv6 address, of which one customer has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AddressKey {
    /// All 32 bits.
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

/// The key under which an address is limited. IPv4 in IPv6 counts as IPv4.
#[must_use]
pub(crate) fn address_key(address: IpAddr) -> AddressKey {
    match address.to_canonical() {
        IpAddr::V4(address) => AddressKey::V4(address.to_bits()),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64;
            AddressKey::V6(u64::try_from(network).unwrap_or(u64::MAX))
        }
    }
}

const BUCKETS: usize = 8_192;
const WAYS: usize = 8;

type Bucket = [Cell; WAYS];

/// One key's allowance: full again at `full_at`; never used if that is `None`.
#[derive(Clone, Copy, Default)]
struct Cell {
    tag: u64,
    full_at: Option<Instant>,
}

impl Cell {
    /// Returns when the allowance of the key with this tag would be full, if it accepts a request.
    fn admit(&self, rate: Rate, tag: u64, now: Instant) -> Result<Instant, RetryAfter> {
        let full_at = self.full_at.filter(|_| self.tag == tag).map_or(now, |full_at| full_at.max(now));
        let ahead = full_at.duration_since(now);
        if ahead > rate.tolerance {
            return Err(RetryAfter::wait(ahead.saturating_sub(rate.tolerance)));
        }
        Ok(full_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn accepts_burst_then_one_request_per_interval() {
        let limiter = RateLimiter::new(Rate::per_second(5).burst(10));
        let start = Instant::now();
        for request in 0..10 {
            assert_eq!(limiter.check("a", start), Ok(()), "request {request}");
        }
        assert_eq!(limiter.check("a", start), Err(RetryAfter(1)));
        assert_eq!(limiter.check("a", start + 199 * MILLI), Err(RetryAfter(1)));
        assert_eq!(limiter.check("a", start + 200 * MILLI), Ok(()));
        assert_eq!(limiter.check("a", start + 200 * MILLI), Err(RetryAfter(1)));
    }

    #[test]
    fn accepts_request_after_retry_after_and_not_before() {
        let limiter = RateLimiter::new(Rate::per_minute(10).burst(3));
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.check("a", start), Ok(()));
        }
        assert_eq!(limiter.check("a", start), Err(RetryAfter(6)));
        assert_eq!(limiter.check("a", start + 500 * MILLI), Err(RetryAfter(6)));
        assert_eq!(limiter.check("a", start + 5 * SECOND), Err(RetryAfter(1)));
        assert_eq!(limiter.check("a", start + 5_999 * MILLI), Err(RetryAfter(1)));
        assert_eq!(limiter.check("a", start + 6 * SECOND), Ok(()));
    }

    #[test]
    fn pause_restores_burst_and_not_more() {
        let limiter = RateLimiter::new(Rate::per_minute(60).burst(30));
        let start = Instant::now();
        let accepted = |now| (0..100).take_while(|_| limiter.check("a", now).is_ok()).count();
        assert_eq!(accepted(start), 30);
        assert_eq!(accepted(start + 10 * SECOND), 10);
        assert_eq!(accepted(start + 3_600 * SECOND), 30);
    }

    #[test]
    fn keys_do_not_share_an_allowance() {
        let limiter = RateLimiter::new(Rate::per_second(1));
        let now = Instant::now();
        assert_eq!(limiter.check(("app", 1), now), Ok(()));
        assert_eq!(limiter.check(("app", 2), now), Ok(()));
        assert_eq!(limiter.check(("app", 1), now), Err(RetryAfter(1)));
    }

    #[test]
    fn clock_set_back_grants_no_request() {
        let limiter = RateLimiter::new(Rate::per_second(1));
        let before = Instant::now();
        assert_eq!(limiter.check("a", before + 5 * SECOND), Ok(()));
        assert_eq!(limiter.check("a", before), Err(RetryAfter(6)));
    }

    #[test]
    fn flood_of_keys_neither_grows_table_nor_rejects_other_keys() {
        let limiter = RateLimiter::new(Rate::per_minute(10).burst(3));
        let now = Instant::now();
        for other in 0..4 * RateTable::CAPACITY {
            for _ in 0..2 {
                assert_eq!(limiter.check(("other", other), now), Ok(()));
            }
        }
        for request in 0..3 {
            assert_eq!(limiter.check("an app", now), Ok(()), "request {request}");
        }
    }

    #[test]
    fn keeps_exhausted_key_through_flood_of_new_keys() {
        let limiter = RateLimiter::new(Rate::per_minute(10).burst(3));
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.check("guesser", now), Ok(()));
        }
        for other in 0..4 * RateTable::CAPACITY {
            assert_eq!(limiter.check(other, now), Ok(()));
        }
        assert_eq!(limiter.check("guesser", now), Err(RetryAfter(6)));
    }

    #[test]
    fn threads_share_one_allowance() {
        let limiter = RateLimiter::new(Rate::per_minute(1).burst(100));
        let now = Instant::now();
        let accepted: usize = std::thread::scope(|scope| {
            let attempt = || (0..1_000).filter(|_| limiter.check("a", now).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(accepted, 100);
    }

    #[test]
    fn counts_ipv6_network_as_one_client() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn peek_counts_nothing_and_returns_retry_after() {
        let limiter = RateLimiter::new(Rate::per_minute(10).burst(3));
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(limiter.peek("a", now), Ok(()));
        }
        for _ in 0..3 {
            assert_eq!(limiter.check("a", now), Ok(()));
        }
        assert_eq!(limiter.peek("a", now), Err(RetryAfter(6)));
        assert_eq!(limiter.peek("b", now), Ok(()));
    }

    #[test]
    fn accepts_again_request_that_was_given_back() {
        let limiter = RateLimiter::new(Rate::per_minute(1).burst(2));
        let now = Instant::now();
        assert_eq!((limiter.check("a", now), limiter.check("a", now)), (Ok(()), Ok(())));
        limiter.give_back("a");
        limiter.give_back("unknown");
        assert_eq!(limiter.check("a", now), Ok(()));
        assert_eq!(limiter.check("a", now), Err(RetryAfter(60)));
    }

    #[test]
    fn keys_of_several_rates_share_a_table() {
        let (table, now) = (RateTable::default(), Instant::now());
        let (strict, generous) = (Rate::per_second(1), Rate::per_second(1).burst(5));
        for _ in 0..5 {
            assert_eq!(table.check(generous, ("generous", 1), now), Ok(()));
        }
        assert_eq!(table.check(generous, ("generous", 1), now), Err(RetryAfter(1)));
        assert_eq!(table.check(strict, ("strict", 1), now), Ok(()));
        assert_eq!(table.check(strict, ("strict", 1), now), Err(RetryAfter(1)));
    }

    #[test]
    fn zero_counts_as_one() {
        let limiter = RateLimiter::new(Rate::per_second(0).burst(0));
        let now = Instant::now();
        assert_eq!(limiter.check("a", now), Ok(()));
        assert_eq!(limiter.check("a", now), Err(RetryAfter(1)));
    }
}
