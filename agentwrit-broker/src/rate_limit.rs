//! How often one client may try.
//!
//! 1. Each key has its own allowance: `burst` requests at once, then one per interval (the generic cell rate
//!    algorithm). A refused request costs nothing, and its answer says when the next one will be let through.
//! 2. Memory is fixed: 65,536 keys, whatever strangers send. They are spread by a hash under a key
//!    drawn at the start, so that nobody can aim at somebody else's place.
//! 3. When the places for a key are taken, the one closest to a full allowance is forgotten. Under a flood from very
//!    many addresses a limit gets softer; it never turns against a client that has stayed within it.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hash},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Limits requests per key, in bounded memory.
pub(crate) struct RateLimiter {
    interval: Duration,
    /// How far ahead of time a key may run: `burst - 1` intervals.
    tolerance: Duration,
    buckets: Box<[Mutex<Bucket>]>,
    hasher: RandomState,
}

impl RateLimiter {
    /// How many keys are remembered at once.
    #[cfg(test)]
    const CAPACITY: usize = BUCKETS * WAYS;

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
    pub(crate) fn burst(mut self, requests: u32) -> Self {
        self.tolerance = self.interval.saturating_mul(requests.saturating_sub(1));
        self
    }

    /// Counts a request of `key` at `now`.
    ///
    /// # Errors
    ///
    /// [`RetryAfter`] when the key has used up its allowance.
    pub(crate) fn check(&self, key: impl Hash, now: Instant) -> Result<(), RetryAfter> {
        let tag = self.hasher.hash_one(key);
        // Every number below BUCKETS is a place; were it not, the request would be refused.
        let bucket = self.buckets.get(usize::try_from(tag % BUCKETS as u64).unwrap_or(usize::MAX));
        let mut bucket = bucket.ok_or(RetryAfter(1))?.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = bucket.iter_mut().min_by_key(|cell| (cell.tag != tag, cell.full_at));
        let cell = cell.ok_or(RetryAfter(1))?;
        let full_at = cell.full_at.filter(|_| cell.tag == tag).map_or(now, |full_at| full_at.max(now));
        let ahead = full_at.duration_since(now);
        if ahead > self.tolerance {
            return Err(RetryAfter::wait(ahead.saturating_sub(self.tolerance)));
        }
        *cell = Cell { tag, full_at: full_at.checked_add(self.interval) };
        Ok(())
    }

    fn per(period: Duration, limit: u32) -> Self {
        Self {
            interval: period / limit.max(1),
            tolerance: Duration::ZERO,
            buckets: (0..BUCKETS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("interval", &self.interval)
            .field("tolerance", &self.tolerance)
            .finish_non_exhaustive()
    }
}

/// Too many requests; the header of the same name (RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests, try again in {0} s")]
pub(crate) struct RetryAfter(u64);

impl RetryAfter {
    /// Whole seconds until the next request is let through, rounded up; at least 1.
    #[must_use]
    pub(crate) fn seconds(self) -> u64 {
        self.0
    }

    fn wait(wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        Self(seconds.max(1))
    }
}

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 address, of which one customer has them all.
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

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_one_per_interval() {
        let limiter = RateLimiter::per_second(5).burst(10);
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
    fn the_answer_says_when_and_keeps_its_word() {
        let limiter = RateLimiter::per_minute(10).burst(3);
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
    fn a_pause_restores_the_burst_and_not_more() {
        let limiter = RateLimiter::per_minute(60).burst(30);
        let start = Instant::now();
        let let_through = |now| (0..100).take_while(|_| limiter.check("a", now).is_ok()).count();
        assert_eq!(let_through(start), 30);
        assert_eq!(let_through(start + 10 * SECOND), 10);
        assert_eq!(let_through(start + 3_600 * SECOND), 30);
    }

    #[test]
    fn keys_do_not_share_an_allowance() {
        let limiter = RateLimiter::per_second(1);
        let now = Instant::now();
        assert_eq!(limiter.check(("app", 1), now), Ok(()));
        assert_eq!(limiter.check(("app", 2), now), Ok(()));
        assert_eq!(limiter.check(("app", 1), now), Err(RetryAfter(1)));
    }

    #[test]
    fn time_that_goes_back_grants_nothing() {
        let limiter = RateLimiter::per_second(1);
        let before = Instant::now();
        assert_eq!(limiter.check("a", before + 5 * SECOND), Ok(()));
        assert_eq!(limiter.check("a", before), Err(RetryAfter(6)));
    }

    #[test]
    fn a_flood_of_keys_neither_grows_nor_locks_anyone_out() {
        let limiter = RateLimiter::per_minute(10).burst(3);
        let now = Instant::now();
        for stranger in 0..4 * RateLimiter::CAPACITY {
            for _ in 0..2 {
                assert_eq!(limiter.check(("stranger", stranger), now), Ok(()));
            }
        }
        for request in 0..3 {
            assert_eq!(limiter.check("an app", now), Ok(()), "request {request}");
        }
    }

    #[test]
    fn an_exhausted_key_outlasts_a_flood_of_fresh_ones() {
        let limiter = RateLimiter::per_minute(10).burst(3);
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.check("guesser", now), Ok(()));
        }
        for stranger in 0..4 * RateLimiter::CAPACITY {
            assert_eq!(limiter.check(stranger, now), Ok(()));
        }
        assert_eq!(limiter.check("guesser", now), Err(RetryAfter(6)));
    }

    #[test]
    fn threads_share_one_allowance() {
        let limiter = RateLimiter::per_minute(1).burst(100);
        let now = Instant::now();
        let let_through: usize = std::thread::scope(|scope| {
            let attempt = || (0..1_000).filter(|_| limiter.check("a", now).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(let_through, 100);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn zero_counts_as_one() {
        let limiter = RateLimiter::per_second(0).burst(0);
        let now = Instant::now();
        assert_eq!(limiter.check("a", now), Ok(()));
        assert_eq!(limiter.check("a", now), Err(RetryAfter(1)));
    }
}
