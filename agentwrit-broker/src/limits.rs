//! Who may try to log in how often. Memory is bounded: see [`rate_limit`](crate::rate_limit).

use std::{net::IpAddr, time::Instant};

use crate::rate_limit::{RateLimiter, RetryAfter, address_key};

/// The limits of the login endpoints.
#[derive(Debug)]
pub(crate) struct Limits {
    admin: RateLimiter,
    app: RateLimiter,
    app_address: RateLimiter,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            admin: RateLimiter::per_second(5).burst(10),
            app: RateLimiter::per_minute(10).burst(3),
            app_address: RateLimiter::per_minute(60).burst(30),
        }
    }
}

impl Limits {
    /// An attempt to log in as the operator.
    pub(crate) fn admin_login(&self, client: IpAddr, now: Instant) -> Result<(), RetryAfter> {
        self.admin.check(address_key(client), now)
    }

    /// An attempt to log in as an app: counted by app *and* address, so that a stranger can't lock an app out, and by
    /// address over all apps.
    pub(crate) fn app_login(&self, client_id: &str, client: IpAddr, now: Instant) -> Result<(), RetryAfter> {
        let address = address_key(client);
        // The narrower limit first: what it refuses costs nothing of the wider one, so that `Retry-After` keeps its word.
        self.app.check((client_id, address), now)?;
        self.app_address.check(address, now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn let_through(attempts: usize, mut attempt: impl FnMut(usize) -> Result<(), RetryAfter>) -> usize {
        (0..attempts).filter(|number| attempt(*number).is_ok()).count()
    }

    #[test]
    fn an_app_has_three_attempts_from_each_address() {
        let (limits, now) = (Limits::default(), Instant::now());
        let (stranger, own) = (address("198.51.100.7"), address("192.0.2.1"));
        assert_eq!(let_through(100, |_| limits.app_login("app", stranger, now)), 3);
        assert_eq!(let_through(100, |_| limits.app_login("app", own, now)), 3, "a stranger locks nobody out");
        let refused = limits.app_login("app", own, now).unwrap_err();
        let later = now + Duration::from_secs(refused.seconds());
        assert_eq!(limits.app_login("app", own, later), Ok(()), "`Retry-After` keeps its word");
    }

    #[test]
    fn an_address_has_thirty_attempts_whichever_apps_it_names() {
        let (limits, now) = (Limits::default(), Instant::now());
        for (guesser, other) in [("198.51.100.7", "198.51.100.8"), ("2001:db8:1:2::1", "2001:db8:1:3::1")] {
            let guess = |number: usize| limits.app_login(&format!("app-{number}"), address(guesser), now);
            assert_eq!(let_through(100, guess), 30, "{guesser}");
            assert_eq!(limits.app_login("app-0", address(other), now), Ok(()), "{other}");
        }
        let neighbour = address("2001:db8:1:2:ffff::9");
        assert!(limits.app_login("app", neighbour, now).is_err(), "a network of one customer is one client");
    }

    #[test]
    fn the_operator_s_login_is_limited_by_address() {
        let (limits, now) = (Limits::default(), Instant::now());
        let (guesser, own) = (address("198.51.100.7"), address("192.0.2.1"));
        assert_eq!(let_through(100, |_| limits.admin_login(guesser, now)), 10);
        assert_eq!(limits.admin_login(guesser, now).unwrap_err().seconds(), 1);
        assert_eq!(limits.admin_login(own, now), Ok(()));
    }
}
