//! The hash chain: what is hashed, and how a chain is checked.
//!
//! 1. `hash` = SHA-256 over `agentwrit-audit-v1` and every other member, in the order of [`encode`].
//! 2. A member is its length in four bytes, big-endian, and its JSON text (strings unquoted and unescaped, numbers in
//!    decimal); an absent one is the length `ff ff ff ff` alone.
//! 3. `prev_hash` is the `hash` of the event before; of the first event it is 64 zeros.
//!
//! The bytes and a test vector are in `docs/audit-chain.md` and `tests/vectors/audit-chain.json`.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::{ChainBreakId, Event, EventHash, EventId, EventType};

const DOMAIN: &[u8] = b"agentwrit-audit-v1";
/// Number of bytes that are hashed for most events, at most.
const USUAL_LENGTH: usize = 768;

/// Number and hash of the last event of a chain, which the next event links to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a chain is identified by number and hash")]
pub struct ChainHead {
    /// The number of the last event; 0 before the first.
    pub sequence: u64,
    /// The hash of the last event.
    pub hash: EventHash,
}

impl ChainHead {
    /// The head of an empty chain.
    pub const GENESIS: Self = Self { sequence: 0, hash: EventHash::ZERO };

    /// The head after `event`.
    ///
    /// # Errors
    ///
    /// [`AuditChainError`] when the event is not the next one, not linked to this head, or altered.
    pub fn follow(&self, event: &Event) -> Result<Self, AuditChainError> {
        self.follow_link(&ChainLink::of(event))
    }

    /// The head after the event that `link` is of.
    ///
    /// # Errors
    ///
    /// As [`ChainHead::follow`].
    pub fn follow_link(&self, link: &ChainLink) -> Result<Self, AuditChainError> {
        let expected = EventId::from_sequence(self.sequence.saturating_add(1));
        if link.id != expected {
            return Err(AuditChainError::Gap { expected, found: link.id });
        }
        if link.prev_hash != self.hash {
            return Err(AuditChainError::Unlinked { id: link.id });
        }
        if link.stated != link.computed {
            return Err(AuditChainError::Altered { id: link.id });
        }
        Ok(Self { sequence: link.id.sequence(), hash: link.computed })
    }
}

/// All of an event that its place in the chain depends on. Links can be made in any order, and on several processors;
/// only following them is done one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLink {
    id: EventId,
    prev_hash: EventHash,
    stated: EventHash,
    computed: EventHash,
    accepts: Option<ChainBreakId>,
}

impl ChainLink {
    /// The link of an event.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        Self::computed_by(event, &mut Vec::with_capacity(USUAL_LENGTH), |bytes| Sha256::digest(bytes).into())
    }

    /// The same, with another implementation of SHA-256, and with a buffer that was used before.
    pub fn computed_by(event: &Event, buffer: &mut Vec<u8>, sha256: impl FnOnce(&[u8]) -> [u8; 32]) -> Self {
        buffer.clear();
        encode(event, buffer);
        let computed = EventHash::from_bytes(sha256(buffer));
        let accepts = Some(event).filter(|event| event.event_type == EventType::AuditBreakAccepted);
        let accepts = accepts.and_then(|event| ChainBreakId::parse(event.resource.as_deref()?).ok());
        Self { id: event.id, prev_hash: event.prev_hash, stated: event.hash, computed, accepts }
    }

    /// The event's number.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Returns the hash of the preceding event that this event states.
    #[must_use]
    pub fn prev_hash(&self) -> EventHash {
        self.prev_hash
    }

    /// The hash that it carries.
    #[must_use]
    pub fn stated(&self) -> EventHash {
        self.stated
    }

    /// Returns the hash computed from the event's members.
    #[must_use]
    pub fn computed(&self) -> EventHash {
        self.computed
    }

    /// The break of the chain that it accepts, if it is an event that accepts one.
    #[must_use]
    pub fn accepts(&self) -> Option<ChainBreakId> {
        self.accepts
    }
}

/// The hash of every member of `event` but `hash`.
#[must_use]
pub fn hash(event: &Event) -> EventHash {
    ChainLink::of(event).computed
}

/// Appends the bytes that are hashed for `event`.
pub fn encode(event: &Event, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(DOMAIN);
    let mut members = Members(bytes);
    let mut digits = [0; 64];
    members.text(&event.id.to_string());
    members.text(&event.timestamp);
    members.text(event.event_type.as_str());
    members.optional(event.agent_id.as_deref());
    members.optional(event.task_id.as_deref());
    members.optional(event.orch_id.as_deref());
    members.text(&event.detail);
    members.optional(event.resource.as_deref());
    members.text(event.outcome.as_str());
    members.optional(event.deleg_depth.map(|depth| depth.to_string()).as_deref());
    members.optional(event.deleg_chain_hash.as_deref());
    members.optional(event.bytes_transferred.map(|bytes| bytes.to_string()).as_deref());
    members.text(HEXLOWER.encode_mut_str(event.prev_hash.as_bytes(), &mut digits));
}

/// Follows `events` from `head` to their end.
///
/// # Errors
///
/// The first [`AuditChainError`].
pub fn verify<'a>(head: ChainHead, events: impl IntoIterator<Item = &'a Event>) -> Result<ChainHead, AuditChainError> {
    events.into_iter().try_fold(head, |head, event| head.follow(event))
}

pub(super) struct Members<'a>(pub(super) &'a mut Vec<u8>);

impl Members<'_> {
    pub(super) fn text(&mut self, text: &str) {
        // No member is anywhere near 4 GiB; saturating keeps the length distinct from "absent" all the same.
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX - 1);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.0.extend_from_slice(&u32::MAX.to_be_bytes()),
        }
    }
}

/// Reason why an event does not continue a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditChainError {
    /// An event is missing, or out of its place.
    #[error("`{expected}` is missing: `{found}` is in its place")]
    Gap {
        /// The event that should come next.
        expected: EventId,
        /// The event that does.
        found: EventId,
    },
    /// An event does not carry the hash of the one before it.
    #[error("`{id}` is not linked to the event before it")]
    Unlinked {
        /// The event.
        id: EventId,
    },
    /// An event is not what was recorded.
    #[error("`{id}` was altered")]
    Altered {
        /// The event.
        id: EventId,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const VECTORS: &str = include_str!("../../tests/vectors/audit-chain.json");

    fn chain() -> Vec<Event> {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        serde_json::from_value(vectors["events"].clone()).unwrap()
    }

    #[test]
    fn published_vectors_verify() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let events = chain();
        assert_eq!(serde_json::to_value(&events).unwrap(), vectors["events"]);
        assert_eq!(verify(ChainHead::GENESIS, &events).unwrap().sequence, 3);
        for (event, encoded) in events.iter().zip(vectors["encoded"].as_array().unwrap()) {
            let mut bytes = Vec::new();
            encode(event, &mut bytes);
            assert_eq!(HEXLOWER.encode(&bytes), *encoded);
            assert_eq!(EventHash::from_bytes(Sha256::digest(bytes).into()), event.hash);
        }
    }

    #[test]
    fn rejects_event_with_any_altered_member() {
        let events = serde_json::to_value(chain()).unwrap();
        let members = events[2].as_object().unwrap().keys().filter(|&name| name != "hash");
        for name in members {
            let mut altered = events.clone();
            altered[2][name] = match (&events[2][name], name.as_str()) {
                (Value::Number(number), _) => (number.as_u64().unwrap() + 1).into(),
                (_, "id") => "evt-000004".into(),
                (_, "event_type") => "token_issued".into(),
                (_, "outcome") => "denied".into(),
                (_, "prev_hash") => "00".repeat(32).into(),
                (text, _) => format!("{}x", text.as_str().unwrap()).into(),
            };
            let altered: Vec<Event> = serde_json::from_value(altered).unwrap();
            assert!(verify(ChainHead::GENESIS, &altered).is_err(), "{name}");
        }
    }

    #[test]
    fn rejects_event_json_in_other_forms() {
        let event = serde_json::to_string(&chain()[0]).unwrap();
        assert_eq!(Event::from_json(&event).unwrap(), chain()[0]);
        let members: Vec<Value> =
            serde_json::from_str::<serde_json::Map<_, _>>(&event).unwrap().into_values().collect();
        for (from, to) in [
            ("\"outcome\":\"success\"", "\"outcome\":{\"success\":null}"),
            ("\"event_type\":\"admin_auth\"", "\"event_type\":{\"admin_auth\":null}"),
            ("{\"id\"", "{\"task_id\":null,\"id\""),
            ("{\"id\"", "{\"x\":1,\"id\""),
            ("{\"id\"", "{\"detail\":\"\",\"id\""),
            (event.as_str(), &serde_json::to_string(&members).unwrap()),
        ] {
            let spelt = event.replacen(from, to, 1);
            assert_ne!(spelt, event);
            assert!(Event::from_json(&spelt).is_err(), "{spelt}");
        }
    }

    #[test]
    fn hashes_absent_and_empty_members_differently() {
        let mut event = chain().remove(0);
        let absent = hash(&event);
        event.resource = Some(String::new());
        assert_ne!(hash(&event), absent);
        event.resource = None;
        event.orch_id = Some(String::new());
        assert_ne!(hash(&event), absent);
    }

    #[test]
    fn rejects_removed_reordered_and_relinked_events() {
        let events = chain();
        let id = EventId::from_sequence;
        let (first, third) = (&events[0], &events[2]);
        assert_eq!(
            verify(ChainHead::GENESIS, [first, third]),
            Err(AuditChainError::Gap { expected: id(2), found: id(3) })
        );
        let mut second = events[1].clone();
        second.detail.push('!');
        assert_eq!(verify(ChainHead::GENESIS, [first, &second]), Err(AuditChainError::Altered { id: id(2) }));
        second.hash = hash(&second);
        assert_eq!(verify(ChainHead::GENESIS, [first, &second, third]), Err(AuditChainError::Unlinked { id: id(3) }));
    }
}
