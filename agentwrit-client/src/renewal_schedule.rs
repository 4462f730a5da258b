//! Schedule of an agent's renewals and registrations: rules without network or clock.
//!
//! 1. A token is renewed at 80 % of its lifetime, with jitter up to a tenth of the lifetime earlier, never later.
//! 2. A renewal that fails without a rejection is tried again, with growing delays, until the token expires.
//! 3. A rejected renewal is not: after a 401 the token is unusable, after a 403 it is the final one. A renewed token
//!    with a shorter lifetime than its predecessor is final too: its session, or the token it was delegated from, ends
//!    with it.
//! 4. A final or unusable token is followed by a new registration, if that is enabled. Each registration since the last
//!    successful renewal waits longer than the one before: repeated revocation is not outrun. A registration that is
//!    refused for good ends the schedule: the token serves until it expires, if it is still usable.
//! 5. No request is sent sooner than the broker's `Retry-After`.

use std::time::Duration;

use agentwrit_verify::{UnixTime, http_client::Backoff};

use crate::error::ClientError;

/// Maximum delay.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Delays after failures.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), MAX_DELAY).least_share(0.5);

/// Minimum time between receiving a token and renewing it, however short its lifetime.
const MIN_USE: Duration = Duration::from_millis(500);

/// Expiry and lifetime of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenTimes {
    pub(crate) expires_at: UnixTime,
    /// Time from issue to expiry.
    pub(crate) lifetime: Duration,
}

impl TokenTimes {
    fn due(self, now: UnixTime, jitter: f64) -> UnixTime {
        let due = self.expires_at.saturating_sub(self.lifetime.mul_f64(jitter.mul_add(0.1, 0.2)));
        due.max(now.saturating_add(MIN_USE))
    }

    /// Returns `true` if a renewed token has a shorter lifetime, which means that it is final. Rounding may cost
    /// seconds.
    fn were_cut_to(self, renewed: Self) -> bool {
        renewed.lifetime < self.lifetime.mul_f64(0.9)
    }
}

/// Usability of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenStatus {
    /// Can be used and renewed.
    Renewable,
    /// Can be used until it expires, and not be renewed.
    Final,
    /// Cannot be used.
    Unusable,
}

/// Next action of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait until this time.
    WaitUntil(UnixTime),
    /// Renew the token.
    Renew,
    /// Register again.
    Register,
    /// Stop: there is no further token.
    Stop,
}

/// State of the schedule.
#[derive(Debug)]
pub(crate) struct RenewalSchedule {
    reregisters: bool,
    token: TokenTimes,
    status: TokenStatus,
    /// Time of the next action; `None` is now.
    due: Option<UnixTime>,
    /// Renewals that failed without a rejection since the last success.
    failures: u32,
    /// Registrations since the last successful renewal.
    registrations: u32,
    /// Error of the last failed action.
    reason: Option<ClientError>,
}

impl RenewalSchedule {
    pub(crate) fn new(token: TokenTimes, reregisters: bool, now: UnixTime, jitter: f64) -> Self {
        Self {
            reregisters,
            token,
            status: TokenStatus::Renewable,
            due: Some(token.due(now, jitter)),
            failures: 0,
            registrations: 0,
            reason: None,
        }
    }

    pub(crate) fn step(&self) -> Step {
        match (self.due, self.status) {
            (Some(due), _) => Step::WaitUntil(due),
            (None, TokenStatus::Renewable) => Step::Renew,
            (None, TokenStatus::Final | TokenStatus::Unusable) if self.reregisters => Step::Register,
            (None, TokenStatus::Final | TokenStatus::Unusable) => Step::Stop,
        }
    }

    /// Checks that the token can be used.
    pub(crate) fn usable(&self, now: UnixTime) -> Result<(), ClientError> {
        if self.status != TokenStatus::Unusable && now < self.token.expires_at {
            return Ok(());
        }
        Err(self.reason.clone().unwrap_or_else(|| ClientError::no_token("it has expired")))
    }

    /// Ends a wait.
    pub(crate) fn waited(&mut self) {
        self.due = None;
    }

    pub(crate) fn renewed(&mut self, token: TokenTimes, now: UnixTime, jitter: f64) {
        let cut = self.token.were_cut_to(token);
        *self = Self { registrations: 0, ..Self::new(token, self.reregisters, now, jitter) };
        if cut {
            self.reason = Some(ClientError::no_token("what it was issued under has ended, and it with that"));
            self.mark_final(token.due(now, jitter));
        }
    }

    pub(crate) fn renewal_failed(&mut self, error: ClientError, now: UnixTime, jitter: f64) {
        let rejected = error.status().filter(|_| error.error_code().is_some()); // else a proxy says so
        let asked = error.retry_after().unwrap_or_default();
        self.reason = Some(error);
        match rejected {
            Some(401) => self.mark_unusable(now, jitter),
            Some(403) => self.mark_final(now.saturating_add(delay(self.registrations, jitter))),
            Some(_) | None if now >= self.token.expires_at => self.mark_unusable(now, jitter),
            Some(_) | None => {
                let retry_at = now.saturating_add(delay(self.failures, jitter).max(asked));
                self.failures = self.failures.saturating_add(1);
                self.due = Some(retry_at.min(self.token.expires_at));
            }
        }
    }

    pub(crate) fn registered(&mut self, token: TokenTimes, now: UnixTime, jitter: f64) {
        let registrations = self.registrations.saturating_add(1);
        *self = Self { registrations, ..Self::new(token, self.reregisters, now, jitter) };
    }

    /// A registration that is refused `for_good` is not repeated.
    pub(crate) fn registration_failed(&mut self, error: ClientError, for_good: bool, now: UnixTime, jitter: f64) {
        let asked = error.retry_after().unwrap_or_default().min(MAX_DELAY);
        self.reason = Some(error);
        if for_good {
            self.reregisters = false;
            self.due =
                (self.status != TokenStatus::Unusable && now < self.token.expires_at).then_some(self.token.expires_at);
            return;
        }
        self.registrations = self.registrations.saturating_add(1);
        if now >= self.token.expires_at {
            self.status = TokenStatus::Unusable;
        }
        let retry_at = now.saturating_add(delay(self.registrations, jitter).max(asked));
        self.due = Some(match self.status {
            TokenStatus::Unusable => retry_at,
            TokenStatus::Renewable | TokenStatus::Final => retry_at.min(self.token.expires_at),
        });
    }

    fn mark_final(&mut self, successor_at: UnixTime) {
        self.status = TokenStatus::Final;
        let until = self.token.expires_at;
        self.due = Some(if self.reregisters { successor_at.min(until) } else { until });
    }

    fn mark_unusable(&mut self, now: UnixTime, jitter: f64) {
        self.status = TokenStatus::Unusable;
        self.due = self.reregisters.then(|| now.saturating_add(delay(self.registrations, jitter)));
    }
}

fn delay(failures: u32, jitter: f64) -> Duration {
    BACKOFF.delay(failures, jitter)
}

#[cfg(test)]
mod tests;
