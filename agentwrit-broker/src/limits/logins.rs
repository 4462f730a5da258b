//! Limits of the login endpoints. Memory is bounded: see [`rate_limit`](crate::limits::rate_limit).
//!
//! 1. A failed login costs an attempt of a strict limit. Once that is used up, every login that it covers is rejected, also
//!    with the right secret: otherwise a client could go on guessing.
//! 2. A successful login costs nothing of it. It leaves a token and an audit event behind and has a wider limit of its
//!    own: see [`budgets`](crate::limits::budgets).
//! 3. Limits are kept per client address, so that unauthenticated clients lock no app and no operator out elsewhere.

use std::{net::IpAddr, time::Instant};

use super::rate_limit::{Rate, RateLimiter, RetryAfter, address_key};

/// The limits of the login endpoints.
#[derive(Debug)]
pub(crate) struct LoginLimits {
    admin: RateLimiter,
    app: RateLimiter,
    app_address: RateLimiter,
}

/// Result of comparing the secret of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// The right secret.
    Right,
    /// A wrong secret, or one that has not been compared yet.
    Wrong,
}

impl Login {
    pub(crate) fn of(right: bool) -> Self {
        if right { Self::Right } else { Self::Wrong }
    }
}

impl Default for LoginLimits {
    fn default() -> Self {
        Self {
            admin: RateLimiter::new(Rate::per_second(5).burst(10)),
            app: RateLimiter::new(Rate::per_minute(10).burst(3)),
            app_address: RateLimiter::new(Rate::per_minute(60).burst(30)),
        }
    }
}

impl LoginLimits {
    /// Counts an attempt to log in as the operator, whose secret has been compared. Nothing is disclosed before this.
    pub(crate) fn admin_login(&self, client: IpAddr, login: Login, now: Instant) -> Result<(), RetryAfter> {
        match login {
            Login::Right => self.admin.peek(address_key(client), now),
            Login::Wrong => self.admin.check(address_key(client), now),
        }
    }

    /// Takes back an attempt that was counted as wrong before its secret was compared, and was right.
    pub(crate) fn forgive_admin_login(&self, client: IpAddr) {
        self.admin.give_back(address_key(client));
    }

    /// Returns whether an attempt to log in as an app may look the app up; counts nothing.
    pub(crate) fn may_try_app_login(&self, client_id: &str, client: IpAddr, now: Instant) -> Result<(), RetryAfter> {
        self.app_login(client_id, client, Login::Right, now)
    }

    /// Counts an attempt to log in as an app, whose secret has been compared: by app *and* address, so that an
    /// unauthenticated client can't lock an app out, and by address over all apps. Nothing is disclosed before this.
    pub(crate) fn app_login(
        &self,
        client_id: &str,
        client: IpAddr,
        login: Login,
        now: Instant,
    ) -> Result<(), RetryAfter> {
        let address = address_key(client);
        // The narrower limit first: an attempt that it rejects costs nothing of the wider one, so that `Retry-After` is right.
        match login {
            Login::Right => {
                self.app.peek((client_id, address), now)?;
                self.app_address.peek(address, now)
            }
            Login::Wrong => {
                self.app.check((client_id, address), now)?;
                self.app_address.check(address, now)
            }
        }
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
    fn allows_three_failed_app_logins_from_each_address() {
        let (limits, now) = (LoginLimits::default(), Instant::now());
        let (other, own) = (address("198.51.100.7"), address("192.0.2.1"));
        assert_eq!(let_through(100, |_| limits.app_login("app", other, Login::Wrong, now)), 3);
        assert_eq!(
            let_through(100, |_| limits.app_login("app", own, Login::Wrong, now)),
            3,
            "another address does not lock an app out"
        );
        let refused = limits.app_login("app", own, Login::Wrong, now).unwrap_err();
        let later = now + Duration::from_secs(refused.seconds());
        assert_eq!(limits.app_login("app", own, Login::Wrong, later), Ok(()), "accepted after `Retry-After`");
    }

    #[test]
    fn allows_thirty_failed_app_logins_of_an_address_over_all_apps() {
        let (limits, now) = (LoginLimits::default(), Instant::now());
        for (guesser, other) in [("198.51.100.7", "198.51.100.8"), ("2001:db8:1:2::1", "2001:db8:1:3::1")] {
            let guess = |number: usize| limits.app_login(&format!("app-{number}"), address(guesser), Login::Wrong, now);
            assert_eq!(let_through(100, guess), 30, "{guesser}");
            assert_eq!(limits.app_login("app-0", address(other), Login::Wrong, now), Ok(()), "{other}");
        }
        let neighbour = address("2001:db8:1:2:ffff::9");
        assert!(
            limits.app_login("app", neighbour, Login::Wrong, now).is_err(),
            "a network of one customer is one client"
        );
    }

    #[test]
    fn limits_failed_admin_logins_by_address() {
        let (limits, now) = (LoginLimits::default(), Instant::now());
        let (guesser, own) = (address("198.51.100.7"), address("192.0.2.1"));
        assert_eq!(let_through(100, |_| limits.admin_login(guesser, Login::Wrong, now)), 10);
        assert_eq!(limits.admin_login(guesser, Login::Wrong, now).unwrap_err().seconds(), 1);
        assert_eq!(limits.admin_login(own, Login::Wrong, now), Ok(()));
    }

    #[test]
    fn successful_login_costs_nothing_of_strict_limits() {
        let (limits, now, own) = (LoginLimits::default(), Instant::now(), address("192.0.2.1"));
        for _ in 0..100 {
            assert_eq!(limits.app_login("app", own, Login::Right, now), Ok(()));
            assert_eq!(limits.admin_login(own, Login::Right, now), Ok(()));
        }
        assert_eq!(let_through(100, |_| limits.app_login("app", own, Login::Wrong, now)), 3);
        assert_eq!(let_through(100, |_| limits.admin_login(own, Login::Wrong, now)), 10);
    }

    #[test]
    fn rejects_right_secret_once_strict_limit_is_used_up() {
        let (limits, now, guesser) = (LoginLimits::default(), Instant::now(), address("192.0.2.1"));
        let_through(100, |_| limits.app_login("app", guesser, Login::Wrong, now));
        let_through(100, |_| limits.admin_login(guesser, Login::Wrong, now));
        assert_eq!(limits.app_login("app", guesser, Login::Right, now).unwrap_err().seconds(), 6);
        assert_eq!(limits.may_try_app_login("app", guesser, now).unwrap_err().seconds(), 6);
        assert_eq!(limits.admin_login(guesser, Login::Right, now).unwrap_err().seconds(), 1);
        assert_eq!(limits.app_login("other", guesser, Login::Right, now), Ok(()));
    }

    #[test]
    fn rejects_right_secret_of_address_that_guessed_many_apps() {
        let (limits, now, guesser) = (LoginLimits::default(), Instant::now(), address("192.0.2.1"));
        let guess = |number: usize| limits.app_login(&format!("app-{number}"), guesser, Login::Wrong, now);
        assert_eq!(let_through(100, guess), 30);
        assert!(limits.app_login("another", guesser, Login::Right, now).is_err());
    }
}
