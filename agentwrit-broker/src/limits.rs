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
        self.app_address.check(address, now)?;
        self.app.check((client_id, address), now)
    }
}
