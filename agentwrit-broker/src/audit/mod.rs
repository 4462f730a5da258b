//! What happened, in a form that shows when it was altered afterwards.
//!
//! 1. An event names its actor: the acting subject in `agent_id`, or else the address that it came from in `detail`.
//! 2. Events are linked as [`agentwrit_verify::audit`] says: [`NewEvent`] is sealed into the next link.
//! 3. Text from outside is escaped and bounded before it enters an event, so nobody forges a line or a `key=value` word.
//! 4. Repeated denials of one type, from one source, about one subject, within a second are one event ([`DenialFolder`]).

mod folding;
mod new_event;
mod timestamp;

pub(crate) use agentwrit_verify::audit::text;
pub use agentwrit_verify::audit::{
    AuditChainError, ChainHead, Event, EventHash, EventId, EventIdError, EventType, Outcome, chain,
};
pub use folding::DenialFolder;
pub use new_event::{Actor, NewEvent, Source};
pub(crate) use timestamp::Timestamp;
