//! What happened, in a form that shows when it was altered afterwards.
//!
//! 1. An event names its actor: the acting subject in `agent_id`, or else the address that it came from in `detail`.
//! 2. Events are numbered from 1 without gaps and linked: each carries the hash of the one before it ([`chain`]).
//! 3. Text from outside is escaped and bounded before it enters an event, so nobody forges a line or a `key=value` word.
//! 4. Repeated denials of one type, from one source, about one subject, within a second are one event ([`DenialFolder`]).
//!
//! The chain shows alterations to whoever holds a later hash. Somebody who can write the store can also rewrite all of
//! it, from the altered event on: keep copies of the latest hash elsewhere.

pub mod chain;
mod event;
mod event_type;
mod folding;
mod new_event;
mod text;

pub use chain::{ChainFault, ChainHead};
pub(crate) use event::Timestamp;
pub use event::{Event, EventHash, EventId, EventIdError};
pub use event_type::EventType;
pub use folding::DenialFolder;
pub use new_event::{Actor, NewEvent, Outcome, Source};
