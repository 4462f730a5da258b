//! An event in its place in the chain, as clients see it.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::EventType;
use agentwrit_json::{CowStr, JsonError, non_null};

/// A recorded event. Absent members are left out of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "the hash covers every member, and brokers must set each")]
pub struct Event {
    /// `evt-000001`, sequential.
    pub id: EventId,
    /// RFC 3339 in UTC, to the microsecond.
    pub timestamp: String,
    /// Type of the event.
    pub event_type: EventType,
    /// The acting subject: an agent's SPIFFE id, `app:<app_id>` or `admin`.
    #[serde(default, deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The task that it belongs to.
    #[serde(default, deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The orchestrator that it belongs to.
    #[serde(default, deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub orch_id: Option<String>,
    /// A short sentence, then `key=value` words.
    pub detail: String,
    /// Target of the action.
    #[serde(default, deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Success or denial.
    pub outcome: Outcome,
    /// Number of hops of the delegation chain.
    #[serde(default, deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub deleg_depth: Option<u32>,
    /// The hash of the delegation chain.
    #[serde(default, deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub deleg_chain_hash: Option<String>,
    /// Number of bytes sent by a resource server.
    #[serde(default, deserialize_with = "non_null", skip_serializing_if = "Option::is_none")]
    pub bytes_transferred: Option<u64>,
    /// Hash over every other member.
    pub hash: EventHash,
    /// The hash of the event before it.
    pub prev_hash: EventHash,
}

/// Result of the recorded action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the list is part of the wire contract")]
pub enum Outcome {
    /// The action was performed.
    Success,
    /// The action was denied and had no effect.
    Denied,
}

impl<'de> Deserialize<'de> for Outcome {
    /// Accepts the name only: a derived `Deserialize` accepts `{"success": null}` too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let CowStr(text) = CowStr::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("an outcome is `success` or `denied`"))
    }
}

impl Outcome {
    /// `success` or `denied`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
        }
    }

    /// Parses `success` or `denied`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "success" => Some(Self::Success),
            "denied" => Some(Self::Denied),
            _ => None,
        }
    }
}

impl Event {
    /// Parses one event, as strictly as `agentwrit-json` parses any object.
    ///
    /// # Errors
    ///
    /// [`EventJsonError`].
    pub fn from_json(text: &str) -> Result<Self, EventJsonError> {
        // The type has no nested, duplicate, unknown or null members, so the other rules of `agentwrit-json` hold.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(EventJsonError { message: "a JSON object is expected".to_owned() });
        }
        serde_json::from_str(text).map_err(|error| EventJsonError { message: JsonError::from(error).to_string() })
    }
}

/// Error of a text that is not the JSON of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EventJsonError {
    message: String,
}

/// The number of an event: `evt-` and at least six digits. Ordered as a number, beyond `evt-999999` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(u64);

impl EventId {
    const PREFIX: &str = "evt-";

    /// The event with this sequence number; the first is 1.
    #[must_use]
    pub fn from_sequence(sequence: u64) -> Self {
        Self(sequence)
    }

    /// The sequence number.
    #[must_use]
    pub fn sequence(self) -> u64 {
        self.0
    }

    /// Parses `evt-000001`.
    ///
    /// # Errors
    ///
    /// [`EventIdError`], also for another spelling of the same number.
    pub fn parse(text: &str) -> Result<Self, EventIdError> {
        let digits = text.strip_prefix(Self::PREFIX).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        let id = digits.and_then(|digits| digits.parse().ok()).map(Self).ok_or(EventIdError)?;
        if id.0 > 0 && id.to_string() == text { Ok(id) } else { Err(EventIdError) }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:06}", Self::PREFIX, self.0)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let CowStr(text) = CowStr::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// A text isn't the id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event id is `evt-` and its number with at least six digits")]
#[expect(clippy::exhaustive_structs, reason = "the error has one cause")]
pub struct EventIdError;

/// SHA-256 of an event: 64 lower-case hexadecimal characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventHash([u8; 32]);

impl EventHash {
    /// `prev_hash` of the first event.
    pub const ZERO: Self = Self([0; 32]);

    /// Wraps 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Parses 64 lower-case hexadecimal characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for EventHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEXLOWER.encode_mut_str(&self.0, &mut [0; 64]))
    }
}

impl fmt::Debug for EventHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventHash({self})")
    }
}

impl Serialize for EventHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let CowStr(text) = CowStr::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("a hash is 64 lower-case hexadecimal characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_order_as_numbers_and_reject_other_encodings() {
        let id = |sequence| EventId::from_sequence(sequence);
        assert_eq!(id(1).to_string(), "evt-000001");
        assert_eq!(id(1_000_000).to_string(), "evt-1000000");
        assert!(id(999_999) < id(1_000_000));
        assert_eq!(EventId::parse("evt-1000000"), Ok(id(1_000_000)));
        for text in ["", "evt-", "evt-1", "evt-000000", "evt-0000001", "evt-+00001", "evt-99999999999999999999999"] {
            assert_eq!(EventId::parse(text), Err(EventIdError), "{text:?}");
        }
    }
}
