//! Signing keys of the broker: `/v1/admin/keys`.

use agentwrit_verify::{FeedCursor, KeyId, UnixTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

use crate::{
    ConfirmationResponse, JsonRequest, ListEntry, PublicKeyBytes, RequestError,
    health::first_warnings,
    limits::{MAX_FEED_WAIT, MAX_REASON},
    members::{Member, Seconds, Text},
    request::read,
};

/// State of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "code that judges a key must judge each state")]
pub enum KeyState {
    /// Published, and does not sign yet.
    Prepared,
    /// Signs; there is one.
    Active,
    /// Published, and does not sign any more.
    Retiring,
    /// Not published any more: every token that it signed has expired.
    Retired,
    /// Not published any more: its tokens are rejected.
    Withdrawn,
}

impl KeyState {
    const ALL: [Self; 5] = [Self::Prepared, Self::Active, Self::Retiring, Self::Retired, Self::Withdrawn];

    /// Returns the name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Returns the state of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Returns true when the key set contains the key.
    #[must_use]
    pub fn is_published(self) -> bool {
        matches!(self, Self::Prepared | Self::Active | Self::Retiring)
    }
}

/// Entry of `GET /v1/admin/keys`, and response of the requests that change a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct SigningKeyRecord {
    /// Id of the key.
    #[serde(serialize_with = "write_key_id", deserialize_with = "read_key_id")]
    pub kid: KeyId,
    /// Its state.
    pub state: KeyState,
    /// Its public half.
    pub public_key: PublicKeyBytes,
    /// Time of its creation.
    pub created_at: UnixTime,
    /// Time from which the broker activates a prepared key; `None` when an operator does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activates_at: Option<UnixTime>,
    /// Time from which it signs or signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<UnixTime>,
    /// Time from which it may be retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_at: Option<UnixTime>,
    /// Fault of the private half of a published key, with consequence and remedy; only in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Cursor of the change that the request made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<FeedCursor>,
    /// How far the change is confirmed, for a request with `wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<ConfirmationResponse>,
    /// Findings that keep the change, which is in force, from outlasting every crash: `signing_key_not_saved`,
    /// `state_file_not_written`. A reader keeps the first 64.
    #[serde(default, deserialize_with = "first_warnings", skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ListEntry for SigningKeyRecord {
    const MEMBER: &'static str = "keys";
}

fn write_key_id<S: Serializer>(kid: &KeyId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kid.as_str())
}

fn read_key_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyId, D::Error> {
    let text = String::deserialize(deserializer)?;
    KeyId::parse(&text).ok_or_else(|| de::Error::custom("a key id is 1 to 128 printable ASCII characters"))
}

/// Body of the requests that prepare, activate, retire, rotate or withdraw a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct KeyChangeRequest {
    /// Reason, in the operator's words.
    pub reason: Option<String>,
    /// Seconds for which the broker holds the response until the change is confirmed.
    pub wait: Option<u64>,
    /// Activates the key although verifiers that lack it would reject its tokens.
    pub force: bool,
}

impl Serialize for KeyChangeRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("KeyChangeRequest", 3)?;
        match &self.reason {
            Some(reason) => members.serialize_field("reason", reason)?,
            None => members.skip_field("reason")?,
        }
        match &self.wait {
            Some(wait) => members.serialize_field("wait", wait)?,
            None => members.skip_field("wait")?,
        }
        if self.force {
            members.serialize_field("force", &true)?;
        } else {
            members.skip_field("force")?;
        }
        members.end()
    }
}

impl JsonRequest for KeyChangeRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            reason: Member<Text<MAX_REASON>>,
            wait: Member<Seconds>,
            force: Member<bool>,
        }
        if body.is_empty() {
            // Every member is optional, and so is the body.
            return Ok(Self::default());
        }
        let members: Members = read(body)?;
        let reason = members.reason.optional_stored_text("reason")?;
        let force = members.force.flag("force")?.unwrap_or(false);
        Ok(Self { reason, wait: members.wait.whole("wait", 0, MAX_FEED_WAIT)?, force })
    }
}
