//! Which calls are sent again, and when.
//!
//! 1. What never reached the broker is sent again, whatever it is.
//! 2. What the broker says it has not done (429, 503: contract §1) is sent again too, no sooner than it asks for.
//! 3. What may have been done is sent again only if doing it twice comes to the same as doing it once.
//! 4. Everything else is an answer. A 500 is a defect that repeating does not mend.
//! 5. All of it happens within the call's one time limit. What does not fit is not waited for.

use std::time::Duration;

use agentwrit_verify::http_client::Backoff;

/// Full jitter; how long it may get is bounded by what is left of the time limit.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::MAX);

/// A pause before a call is sent again, because the broker could not serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pause {
    /// The HTTP status: 429 after too many requests, or 503.
    pub status: u16,
    /// How long it lasts.
    pub lasts: Duration,
}

/// How an attempt ended, as far as sending it again goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With an answer, whatever it says.
    Answered,
    /// Before there was a connection.
    NotSent,
    /// In silence, or in the middle: it may have been done.
    Unclear,
    /// The broker says that it did nothing.
    TurnedAway {
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Something before the broker has no answer from it: it may have been done.
    Unavailable {
        /// How long to wait.
        retry_after: Option<Duration>,
    },
}

/// Where a call stands when an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether doing it twice comes to the same as doing it once.
    pub(crate) repeatable: bool,
    /// How often it was sent again so far.
    pub(crate) repeats: u32,
    /// How often it may be.
    pub(crate) most: u32,
    /// What is left of its time limit.
    pub(crate) left: Duration,
}

/// How long to wait before the call is sent again, if it is. `chance` lies between 0 and 1 and keeps clients that failed
/// together from coming back together.
pub(crate) fn pause(ending: Ending, standing: Standing, chance: f64) -> Option<Duration> {
    let Standing { repeatable, repeats, most, left } = standing;
    let (safe, asked_for) = match ending {
        Ending::Answered => (false, None),
        Ending::NotSent => (true, None),
        Ending::Unclear => (repeatable, None),
        Ending::TurnedAway { retry_after } => (true, retry_after),
        Ending::Unavailable { retry_after } => (repeatable, retry_after),
    };
    if !safe || repeats >= most {
        return None;
    }
    let pause = asked_for.unwrap_or_default().saturating_add(BACKOFF.capped_at(left).delay(repeats, chance));
    Some(pause).filter(|pause| *pause < left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn standing(repeatable: bool) -> Standing {
        Standing { repeatable, repeats: 0, most: 2, left: ms(10_000) }
    }

    #[test]
    fn what_may_have_been_done_is_repeated_only_if_that_is_harmless() {
        for (ending, any, repeatable) in [
            (Ending::Answered, None, None),
            (Ending::NotSent, Some(ms(50)), Some(ms(50))),
            (Ending::Unclear, None, Some(ms(50))),
            (Ending::TurnedAway { retry_after: None }, Some(ms(50)), Some(ms(50))),
            (Ending::TurnedAway { retry_after: Some(ms(1000)) }, Some(ms(1050)), Some(ms(1050))),
            (Ending::Unavailable { retry_after: None }, None, Some(ms(50))),
            (Ending::Unavailable { retry_after: Some(ms(1000)) }, None, Some(ms(1050))),
        ] {
            assert_eq!(pause(ending, standing(false), 0.5), any, "{ending:?}");
            assert_eq!(pause(ending, standing(true), 0.5), repeatable, "{ending:?}, repeatable");
        }
    }

    #[test]
    fn pauses_double_and_end() {
        let after = |repeats, chance| pause(Ending::NotSent, Standing { repeats, ..standing(false) }, chance);
        assert_eq!((after(0, 0.0), after(0, 1.0)), (Some(ms(0)), Some(ms(100))));
        assert_eq!((after(1, 0.0), after(1, 1.0)), (Some(ms(0)), Some(ms(200))));
        assert_eq!(after(2, 0.0), None, "two repeats were allowed");
        let never = Standing { most: 0, ..standing(true) };
        assert_eq!(pause(Ending::NotSent, never, 0.0), None);
        let often = Standing { repeats: u32::MAX - 1, most: u32::MAX, ..standing(true) };
        assert_eq!(pause(Ending::NotSent, often, 0.5), Some(ms(5000)), "bounded by what is left");
    }

    #[test]
    fn what_does_not_fit_is_not_waited_for() {
        let turned_away = |seconds| Ending::TurnedAway { retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(pause(turned_away(9), standing(false), 1.0), Some(ms(9100)));
        assert_eq!(pause(turned_away(10), standing(false), 0.0), None);
        assert_eq!(pause(turned_away(u64::MAX), standing(false), 1.0), None);
        let spent = Standing { left: Duration::ZERO, ..standing(true) };
        assert_eq!(pause(Ending::NotSent, spent, 0.0), None);
    }
}
