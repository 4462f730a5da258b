//! Delays between attempts.

use std::time::Duration;

/// Exponential backoff with jitter: a delay that doubles with each failure up to a longest one, of which a random part
/// is waited, so that clients that failed together do not come back together.
///
/// ```
/// use std::time::Duration;
/// use agentwrit_verify::http_client::Backoff;
///
/// const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).least_share(0.5);
/// assert_eq!(BACKOFF.delay(0, 1.0), Duration::from_secs(1));
/// assert_eq!(BACKOFF.delay(3, 0.0), Duration::from_secs(4));
/// assert_eq!(BACKOFF.delay(u32::MAX, 1.0), Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    least_share: f64,
}

/// No delay is longer, whatever was set: what floating point can multiply without overflow.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

impl Backoff {
    /// Delays of up to `first` after the first failure, up to twice as long after each further one, never longer than
    /// `longest`. Full jitter: any part of the delay may be waited, none of it included.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, least_share: 0.0 }
    }

    /// Sets the least part of the delay that is waited, from 0 (full jitter, the default) to 1 (no jitter).
    #[must_use]
    pub const fn least_share(mut self, share: f64) -> Self {
        self.least_share = share;
        self
    }

    /// The same with another longest delay, if that is shorter.
    #[must_use]
    pub fn capped_at(self, longest: Duration) -> Self {
        Self { longest: self.longest.min(longest), ..self }
    }

    /// Delay after `earlier` failures before the latest one. `random` is from 0 to 1: see [`random_fraction`].
    #[must_use]
    pub fn delay(&self, earlier: u32, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(earlier));
        let share = (1.0 - self.least_share).mul_add(random, self.least_share);
        doubled.min(self.longest).min(LONGEST).mul_f64(share.clamp(0.0, 1.0))
    }
}

/// A number from 0 to 1 from the system's randomness; without any it is 0.
#[must_use]
pub fn random_fraction() -> f64 {
    // A failing randomness source only synchronises clients.
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_the_longest() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let delays: Vec<u128> = (0..8).map(|earlier| backoff.delay(earlier, 1.0).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.capped_at(Duration::from_secs(1)).delay(u32::MAX, 1.0), Duration::from_secs(1));
        assert_eq!(backoff.capped_at(Duration::from_secs(9)).delay(u32::MAX, 1.0), Duration::from_secs(5));
    }

    #[test]
    fn jitter_spreads_delay_between_least_share_and_whole() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(backoff.delay(1, 0.0), Duration::ZERO);
        assert_eq!(backoff.delay(1, 0.5), Duration::from_secs(1));
        assert_eq!(backoff.least_share(0.5).delay(1, 0.0), Duration::from_secs(1));
        assert_eq!(backoff.least_share(1.0).delay(1, 0.3), Duration::from_secs(2));
    }
}
