//! When a kept agent's token is replaced, and by what. Rules without network or clock.
//!
//! 1. A token is renewed at 80 % of its lifetime, by jitter up to a tenth of the lifetime earlier, never later.
//! 2. A renewal that fails on the way is tried again, with growing pauses, until the token expires.
//! 3. A renewal that the broker refuses is not: a 401 means that the token is dead, a 403 that it is the last one. So is
//!    one that came back shorter than the one before: its session, or what it was delegated from, ends with it.
//! 4. After the last token, and without one, comes a new registration, if that is wanted. Each one since the last
//!    renewal that succeeded waits longer than the one before: whoever revokes what comes of it is not outrun. When the
//!    app itself is refused (401), that is the end: the token serves until it expires, if it still does.
//! 5. Nobody is asked again sooner than they asked for (`Retry-After`).

use std::time::Duration;

use agentwrit_verify::{UnixTime, http_client::Backoff};

use crate::error::ClientError;

/// No pause is longer.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Pauses after failures.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), MAX_DELAY).least_share(0.5);

/// Nothing is renewed sooner than this after it was received, however short it lives.
const MIN_USE: Duration = Duration::from_millis(500);

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenTimes {
    pub(crate) expires_at: UnixTime,
    /// From its issue to its expiry.
    pub(crate) lifetime: Duration,
}

impl TokenTimes {
    fn due(self, now: UnixTime, jitter: f64) -> UnixTime {
        let due = self.expires_at.saturating_sub(self.lifetime.mul_f64(jitter.mul_add(0.1, 0.2)));
        due.max(now.saturating_add(MIN_USE))
    }

    /// A renewal has the lifetime of what it renews, unless something ends with it. Whole seconds may be lost on the way.
    fn were_cut_to(self, renewed: Self) -> bool {
        renewed.lifetime < self.lifetime.mul_f64(0.9)
    }
}

/// What can be expected of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenStatus {
    /// It can be renewed.
    Renewable,
    /// It can be used until it expires and not be renewed.
    Final,
    /// It can't be used.
    Unusable,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before this time.
    WaitUntil(UnixTime),
    /// Renew the token.
    Renew,
    /// Register anew.
    Register,
    /// Nothing any more.
    Stop,
}

/// Where a kept agent stands.
#[derive(Debug)]
pub(crate) struct RenewalSchedule {
    reregisters: bool,
    token: TokenTimes,
    status: TokenStatus,
    /// When the next thing is to be done; `None` is now.
    due: Option<UnixTime>,
    /// Renewals that failed on the way since the last one that didn't.
    failures: u32,
    /// Registrations since the last renewal that succeeded.
    registrations: u32,
    /// Why things are not as they should be.
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

    /// Whether the token can be used; if not, why.
    pub(crate) fn usable(&self, now: UnixTime) -> Result<(), ClientError> {
        if self.status != TokenStatus::Unusable && now < self.token.expires_at {
            return Ok(());
        }
        Err(self.reason.clone().unwrap_or_else(|| ClientError::no_token("it has expired")))
    }

    /// The wait is over.
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
        let refused = error.status().filter(|_| error.error_code().is_some()); // else a proxy says so
        let asked = error.retry_after().unwrap_or_default();
        self.reason = Some(error);
        match refused {
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

    /// A 401 is the app's: it is gone, or its secret is another one, and asking again would not change that.
    pub(crate) fn registration_failed(&mut self, error: ClientError, now: UnixTime, jitter: f64) {
        let refused_for_good = error.status() == Some(401) && error.error_code().is_some();
        let asked = error.retry_after().unwrap_or_default().min(MAX_DELAY);
        self.reason = Some(error);
        if refused_for_good {
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
