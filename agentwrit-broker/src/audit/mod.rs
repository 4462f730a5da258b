//! Audit events, in a form that reveals later changes.
//!
//! 1. An event names its actor: the acting subject in `agent_id`, or else the address that it came from in `detail`.
//! 2. Events are linked as [`agentwrit_verify::audit`] describes: [`NewEvent`] is sealed into the next link.
//! 3. Text from outside is escaped and bounded before it enters an event, so that it forges neither a line nor a `key=value` word.
//! 4. Repeated denials of one type, from one source, about one subject, within a second are one event ([`DenialFolder`]).

mod folding;
mod new_event;

use std::fmt;

use agentwrit_verify::UnixTime;
pub(crate) use agentwrit_verify::audit::text;
pub use agentwrit_verify::audit::{
    AuditChainError, ChainHead, Event, EventHash, EventId, EventIdError, EventType, Outcome, chain,
};
pub use folding::DenialFolder;
pub use new_event::{Actor, NewEvent, Source};

/// Microseconds since the epoch, the unit of time of the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) i64);

impl From<UnixTime> for Timestamp {
    fn from(time: UnixTime) -> Self {
        Self(i64::try_from(time.elapsed_since_epoch().as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.6}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_six_decimals() {
        assert_eq!(Timestamp::from(UnixTime::from_seconds(1_795_248_000)).to_string(), "2026-11-21T08:00:00.000000Z");
        assert_eq!(Timestamp(1_795_248_000_000_001).to_string(), "2026-11-21T08:00:00.000001Z");
        assert!(Timestamp::from(UnixTime::MAX).to_string().starts_with("9999-12-30T"), "the last that jiff can write");
    }
}
