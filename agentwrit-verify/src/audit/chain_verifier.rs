//! Verifies a chain past its breaks and reports which of them the operator has accepted.
//!
//! 1. A [`ChainBreak`] is an event that does not link to the preceding one, or was altered. Verification continues
//!    behind it, from the hash that the event states.
//! 2. An event `audit_break_accepted` accepts one earlier break: its `resource` is the [`ChainBreakId`].
//! 3. The hash of a `ChainBreakId` covers the event as found, its stated hash and the last event before the break. A
//!    further change at that place is another break, which is not accepted.
//! 4. A trail is valid when each of its breaks is accepted. Accepted breaks are part of every result.
//!
//! An attacker who can write the database can append an acceptance as well as rewrite the chain. Both are detected
//! against a hash that was stored elsewhere, and an acceptance is visible in the trail.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use super::{AuditChainError, ChainHead, ChainLink, EventHash, EventId, chain::Members};
use agentwrit_json::CowStr;

const DOMAIN: &[u8] = b"agentwrit-audit-break-v1";

/// The name of one break: the event at it, and a hash of what was found there. Written `evt-000003:<64 hexadecimal
/// characters>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainBreakId {
    event: EventId,
    hash: EventHash,
}

impl ChainBreakId {
    /// The break between `before` and the event of `link`.
    #[must_use]
    pub fn between(before: &ChainHead, link: &ChainLink) -> Self {
        let mut bytes = DOMAIN.to_vec();
        let mut members = Members(&mut bytes);
        members.text(&EventId::from_sequence(before.sequence).to_string());
        members.text(&before.hash.to_string());
        members.text(&link.id().to_string());
        members.text(&link.stated().to_string());
        members.text(&link.computed().to_string());
        Self { event: link.id(), hash: EventHash::from_bytes(Sha256::digest(bytes).into()) }
    }

    /// Parses `evt-000003:<64 hexadecimal characters>`.
    ///
    /// # Errors
    ///
    /// [`ChainBreakIdError`].
    pub fn parse(text: &str) -> Result<Self, ChainBreakIdError> {
        let (event, hash) = text.split_once(':').ok_or(ChainBreakIdError)?;
        let event = EventId::parse(event).map_err(|_| ChainBreakIdError)?;
        let hash = EventHash::parse(hash).ok_or(ChainBreakIdError)?;
        Ok(Self { event, hash })
    }

    /// The event at the break.
    #[must_use]
    pub fn event(&self) -> EventId {
        self.event
    }
}

impl fmt::Display for ChainBreakId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.event, self.hash)
    }
}

impl Serialize for ChainBreakId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChainBreakId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let CowStr(text) = CowStr::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// A text isn't the name of a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a break of the audit trail is an event id, `:` and 64 lower-case hexadecimal characters")]
#[expect(clippy::exhaustive_structs, reason = "the error has one cause")]
pub struct ChainBreakIdError;

/// A place where the chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a break is its id, its fault and its place")]
pub struct ChainBreak {
    /// Id of the break.
    pub id: ChainBreakId,
    /// Error found at the break.
    pub fault: AuditChainError,
    /// The last event before it.
    pub before: ChainHead,
}

/// A break that the operator accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptedChainBreak {
    /// The break.
    pub broken: ChainBreak,
    /// The event that accepts it.
    pub accepted_by: EventId,
}

/// Follows a chain to its end, past breaks.
///
/// ```
/// use agentwrit_verify::audit::{ChainHead, ChainVerifier, Event, ChainLink};
///
/// # fn check(events: &[Event]) -> Result<ChainHead, agentwrit_verify::audit::AuditChainError> {
/// let mut walk = ChainVerifier::new(ChainHead::GENESIS);
/// for event in events {
///     walk.follow(&ChainLink::of(event))?;
/// }
/// for accepted in walk.accepted() {
///     println!("{}, accepted by {}", accepted.broken.fault, accepted.accepted_by);
/// }
/// walk.verdict()
/// # }
/// # assert_eq!(check(&[]), Ok(ChainHead::GENESIS));
/// ```
#[derive(Clone, Debug)]
pub struct ChainVerifier {
    head: ChainHead,
    open: Vec<ChainBreak>,
    accepted: Vec<AcceptedChainBreak>,
}

impl ChainVerifier {
    /// The most breaks that one walk goes past.
    pub const MAX_BREAKS: usize = 256;

    /// A walk that begins behind `head`.
    #[must_use]
    pub fn new(head: ChainHead) -> Self {
        Self { head, open: Vec::new(), accepted: Vec::new() }
    }

    /// Takes the next event.
    ///
    /// # Errors
    ///
    /// [`AuditChainError`] when the walk cannot go on: the event's number is not above that of the event before it, or this is
    /// one break more than [`ChainVerifier::MAX_BREAKS`].
    pub fn follow(&mut self, link: &ChainLink) -> Result<(), AuditChainError> {
        match self.head.follow_link(link) {
            Ok(head) => {
                self.head = head;
                if let Some(id) = link.accepts() {
                    self.accept(id, link.id());
                }
                Ok(())
            }
            Err(fault) if link.id().sequence() <= self.head.sequence || self.is_full() => Err(fault),
            Err(fault) => {
                self.open.push(ChainBreak { id: ChainBreakId::between(&self.head, link), fault, before: self.head });
                self.head = ChainHead { sequence: link.id().sequence(), hash: link.stated() };
                Ok(())
            }
        }
    }

    /// The last event so far.
    #[must_use]
    pub fn head(&self) -> ChainHead {
        self.head
    }

    /// The breaks that no event so far accepts, in the order of the trail.
    #[must_use]
    pub fn open(&self) -> &[ChainBreak] {
        &self.open
    }

    /// The breaks that were accepted, in the order of their acceptance.
    #[must_use]
    pub fn accepted(&self) -> &[AcceptedChainBreak] {
        &self.accepted
    }

    /// The last event, when every break so far was accepted.
    ///
    /// # Errors
    ///
    /// Error of the first break that is not accepted.
    pub fn verdict(&self) -> Result<ChainHead, AuditChainError> {
        self.open.first().map_or(Ok(self.head), |open| Err(open.fault))
    }

    fn is_full(&self) -> bool {
        self.open.len().saturating_add(self.accepted.len()) >= Self::MAX_BREAKS
    }

    fn accept(&mut self, id: ChainBreakId, accepted_by: EventId) {
        if let Some(index) = self.open.iter().position(|open| open.id == id) {
            let broken = self.open.remove(index);
            self.accepted.push(AcceptedChainBreak { broken, accepted_by });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Event, EventType, Outcome, chain};

    /// Appends an event as the broker does.
    fn append(events: &mut Vec<Event>, event_type: EventType, resource: Option<String>) {
        let prev_hash = events.last().map_or(EventHash::ZERO, |last| last.hash);
        let mut event = Event {
            id: EventId::from_sequence(events.last().map_or(0, |last| last.id.sequence()) + 1),
            timestamp: "2026-11-21T08:00:00.000000Z".to_owned(),
            event_type,
            agent_id: Some("admin".to_owned()),
            task_id: None,
            orch_id: None,
            detail: "something".to_owned(),
            resource,
            outcome: Outcome::Success,
            deleg_depth: None,
            deleg_chain_hash: None,
            bytes_transferred: None,
            hash: EventHash::ZERO,
            prev_hash,
        };
        event.hash = chain::hash(&event);
        events.push(event);
    }

    fn trail(length: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..length {
            append(&mut events, EventType::AdminAuth, None);
        }
        events
    }

    fn walk(events: &[Event]) -> ChainVerifier {
        let mut walk = ChainVerifier::new(ChainHead::GENESIS);
        for event in events {
            walk.follow(&ChainLink::of(event)).unwrap();
        }
        walk
    }

    fn id(sequence: u64) -> EventId {
        EventId::from_sequence(sequence)
    }

    /// Returns one tampering of each kind with event 3 of 6, and the resulting error.
    fn tamperings() -> [(Vec<Event>, AuditChainError); 3] {
        let mut altered = trail(6);
        altered[2].detail.push('!');
        let mut resealed = altered.clone();
        resealed[2].hash = chain::hash(&resealed[2]);
        let mut removed = trail(6);
        removed.remove(2);
        [
            (altered, AuditChainError::Altered { id: id(3) }),
            (resealed, AuditChainError::Unlinked { id: id(4) }),
            (removed, AuditChainError::Gap { expected: id(3), found: id(4) }),
        ]
    }

    fn accept_first(events: &mut Vec<Event>) -> ChainBreakId {
        let broken = walk(events).open()[0].id;
        append(events, EventType::AuditBreakAccepted, Some(broken.to_string()));
        broken
    }

    #[test]
    fn accepts_chain_when_later_event_accepts_its_break() {
        for (mut events, fault) in tamperings() {
            assert_eq!(walk(&events).verdict(), Err(fault));
            let broken = accept_first(&mut events);
            append(&mut events, EventType::AdminAuth, None);
            let walk = walk(&events);
            assert_eq!(walk.verdict().map(|head| head.sequence), Ok(8), "{fault}");
            let [accepted] = walk.accepted() else { panic!("{:?}", walk.accepted()) };
            assert_eq!((accepted.broken.id, accepted.broken.fault), (broken, fault));
            assert_eq!(accepted.accepted_by, id(7));
        }
    }

    #[test]
    fn rejects_further_change_at_accepted_break() {
        for (mut events, fault) in tamperings() {
            accept_first(&mut events);
            // The event at the break, the one before it, and what the event states as its hash.
            let at = events.iter().position(|event| event.id == walk(&events).accepted()[0].broken.id.event()).unwrap();
            let mut again = events.clone();
            again[at].detail.push('?');
            assert!(walk(&again).verdict().is_err(), "{fault}");
            let mut before = events.clone();
            before[at - 1].detail.push('?');
            before[at - 1].hash = chain::hash(&before[at - 1]);
            assert!(walk(&before).verdict().is_err(), "{fault}");
            let mut stated = events.clone();
            stated[at].hash = EventHash::from_bytes([7; 32]);
            assert!(walk(&stated).verdict().is_err(), "{fault}");
            let mut later = events.clone();
            later[at + 1].detail.push('?');
            assert!(walk(&later).verdict().is_err(), "{fault}");
        }
    }

    #[test]
    fn ignores_acceptance_that_is_altered_or_precedes_break() {
        for (mut events, fault) in tamperings() {
            accept_first(&mut events);
            let last = events.len() - 1;
            events[last].detail.push('!');
            assert_eq!(walk(&events).verdict(), Err(fault), "an altered acceptance accepts nothing");
        }
        let mut events = trail(2);
        let future = ChainBreakId { event: id(4), hash: EventHash::ZERO };
        append(&mut events, EventType::AuditBreakAccepted, Some(future.to_string()));
        append(&mut events, EventType::AdminAuth, None);
        events[3].detail.push('!');
        assert_eq!(walk(&events).verdict(), Err(AuditChainError::Altered { id: id(4) }));
    }

    #[test]
    fn stops_at_event_out_of_order() {
        let events = trail(3);
        let mut walk = ChainVerifier::new(ChainHead::GENESIS);
        walk.follow(&ChainLink::of(&events[0])).unwrap();
        walk.follow(&ChainLink::of(&events[2])).unwrap();
        let fault = AuditChainError::Gap { expected: id(4), found: id(2) };
        assert_eq!(walk.follow(&ChainLink::of(&events[1])), Err(fault));
    }

    #[test]
    fn stops_after_max_breaks() {
        let mut events = trail(ChainVerifier::MAX_BREAKS + 1);
        for event in &mut events {
            event.detail.push('!');
        }
        let mut walk = ChainVerifier::new(ChainHead::GENESIS);
        let followed = events.iter().take_while(|event| walk.follow(&ChainLink::of(event)).is_ok()).count();
        assert_eq!(followed, ChainVerifier::MAX_BREAKS);
    }

    #[test]
    fn published_vector_verifies() {
        let vector: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/audit-break.json")).unwrap();
        let events: Vec<Event> = serde_json::from_value(vector["events"].clone()).unwrap();
        let walk = walk(&events);
        assert_eq!(walk.verdict().map(|head| head.sequence), Ok(events.last().unwrap().id.sequence()));
        assert_eq!(walk.accepted()[0].broken.id.to_string(), vector["accepted"]);
    }

    #[test]
    fn rejects_break_id_in_other_encodings() {
        let text = format!("evt-000003:{}", "0f".repeat(32));
        assert_eq!(ChainBreakId::parse(&text).unwrap().to_string(), text);
        for wrong in [text.to_uppercase(), text.replace("evt-00", "evt-"), text.replace("0f0f", "0f"), String::new()] {
            assert_eq!(ChainBreakId::parse(&wrong), Err(ChainBreakIdError), "{wrong}");
        }
    }
}
