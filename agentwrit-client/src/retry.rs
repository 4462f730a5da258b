//! Rules for sending a request again.
//!
//! 1. A request that never reached the broker is sent again, whatever its method.
//! 2. A request that the broker declined (429, 503 `unavailable`) is sent again too, no sooner than `Retry-After`.
//! 3. A request that may have been processed is sent again only if it is idempotent (RFC 9110 §9.2.2).
//! 4. Every other response is final. A 500 is a defect that repetition does not mend.
//! 5. All attempts share the request's one time limit. A delay that does not fit into it ends the attempts.

use std::time::Duration;

use agentwrit_verify::http_client::Backoff;

/// Full jitter; the delay is bounded by the rest of the time limit.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::MAX);

/// Delay before a request is sent again, because the broker could not serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryDelay {
    /// The HTTP status: 429 after too many requests, or 503.
    pub status: u16,
    /// The length of the delay.
    pub duration: Duration,
}

/// Result of an attempt, as far as a retry depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptStatus {
    /// A response that no retry would change.
    Final,
    /// The request never reached the broker.
    NotSent,
    /// The connection broke or timed out: the request may have been processed.
    Unknown,
    /// The broker responded that it did not process the request.
    Declined {
        /// The delay that the broker asks for.
        retry_after: Option<Duration>,
    },
    /// A gateway got no response from the broker, or the broker none from its database (`outcome_unknown`): the request may
    /// have been processed.
    Unavailable {
        /// The delay that the response asks for.
        retry_after: Option<Duration>,
    },
}

/// State of a request after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryState {
    /// Two requests have the same effect as one.
    pub(crate) idempotent: bool,
    /// Number of retries so far.
    pub(crate) retries: u32,
    /// Maximum number of retries.
    pub(crate) max_retries: u32,
    /// Rest of the time limit.
    pub(crate) remaining: Duration,
}

/// Returns the delay before the next attempt, if there is one. `jitter`, between 0 and 1, spreads the retries of
/// clients that failed together.
pub(crate) fn delay(status: AttemptStatus, state: RetryState, jitter: f64) -> Option<Duration> {
    let RetryState { idempotent, retries, max_retries, remaining } = state;
    let (safe, retry_after) = match status {
        AttemptStatus::Final => (false, None),
        AttemptStatus::NotSent => (true, None),
        AttemptStatus::Unknown => (idempotent, None),
        AttemptStatus::Declined { retry_after } => (true, retry_after),
        AttemptStatus::Unavailable { retry_after } => (idempotent, retry_after),
    };
    if !safe || retries >= max_retries {
        return None;
    }
    let delay = retry_after.unwrap_or_default().saturating_add(BACKOFF.capped_at(remaining).delay(retries, jitter));
    Some(delay).filter(|delay| *delay < remaining)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn state(idempotent: bool) -> RetryState {
        RetryState { idempotent, retries: 0, max_retries: 2, remaining: ms(10_000) }
    }

    #[test]
    fn retries_possibly_processed_request_only_if_idempotent() {
        for (status, any, idempotent) in [
            (AttemptStatus::Final, None, None),
            (AttemptStatus::NotSent, Some(ms(50)), Some(ms(50))),
            (AttemptStatus::Unknown, None, Some(ms(50))),
            (AttemptStatus::Declined { retry_after: None }, Some(ms(50)), Some(ms(50))),
            (AttemptStatus::Declined { retry_after: Some(ms(1000)) }, Some(ms(1050)), Some(ms(1050))),
            (AttemptStatus::Unavailable { retry_after: None }, None, Some(ms(50))),
            (AttemptStatus::Unavailable { retry_after: Some(ms(1000)) }, None, Some(ms(1050))),
        ] {
            assert_eq!(delay(status, state(false), 0.5), any, "{status:?}");
            assert_eq!(delay(status, state(true), 0.5), idempotent, "{status:?}, idempotent");
        }
    }

    #[test]
    fn delays_double_and_end() {
        let after = |retries, jitter| delay(AttemptStatus::NotSent, RetryState { retries, ..state(false) }, jitter);
        assert_eq!((after(0, 0.0), after(0, 1.0)), (Some(ms(0)), Some(ms(100))));
        assert_eq!((after(1, 0.0), after(1, 1.0)), (Some(ms(0)), Some(ms(200))));
        assert_eq!(after(2, 0.0), None, "two retries are the maximum");
        let never = RetryState { max_retries: 0, ..state(true) };
        assert_eq!(delay(AttemptStatus::NotSent, never, 0.0), None);
        let often = RetryState { retries: u32::MAX - 1, max_retries: u32::MAX, ..state(true) };
        assert_eq!(delay(AttemptStatus::NotSent, often, 0.5), Some(ms(5000)), "bounded by the remaining time");
    }

    #[test]
    fn gives_up_when_delay_exceeds_remaining_time() {
        let declined = |seconds| AttemptStatus::Declined { retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(delay(declined(9), state(false), 1.0), Some(ms(9100)));
        assert_eq!(delay(declined(10), state(false), 0.0), None);
        assert_eq!(delay(declined(u64::MAX), state(false), 1.0), None);
        let spent = RetryState { remaining: Duration::ZERO, ..state(true) };
        assert_eq!(delay(AttemptStatus::NotSent, spent, 0.0), None);
    }
}
