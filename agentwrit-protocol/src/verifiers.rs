//! Enrolment of verifiers: `/v1/admin/verifiers`.

use agentwrit_verify::{
    FeedCursor, UnixTime,
    report::{InstanceId, ReportedBound, VerifierName},
};
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    JsonRequest, ListEntry, PublicKeyBytes, RequestError,
    limits::MAX_VERIFIER_BOUND,
    members::{Member, MemberValue, Seconds, Text},
    request::read,
};

/// Body of `POST /v1/admin/verifiers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct VerifierEnrolmentRequest {
    /// Name of the verifier.
    pub name: VerifierName,
    /// Ed25519 key that verifies its reports.
    pub public_key: PublicKeyBytes,
    /// Largest bound on staleness that its instances may report, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bound: Option<u64>,
}

impl JsonRequest for VerifierEnrolmentRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            name: Member<Text<{ VerifierName::MAX_LENGTH }>>,
            public_key: Member<Text<64>>,
            max_bound: Member<Seconds>,
        }
        let members: Members = read(body)?;
        let name = VerifierName::parse(members.name.text("name")?)
            .map_err(|error| RequestError::invalid("name", error.to_string()))?;
        let public_key = public_key(members.public_key.text("public_key")?)?;
        let max_bound = members.max_bound.whole("max_bound", 1, MAX_VERIFIER_BOUND)?;
        Ok(Self { name, public_key, max_bound })
    }
}

/// Body of `PUT /v1/admin/verifiers/{name}`. Members that are left out change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct VerifierUpdateRequest {
    /// New Ed25519 key: reports with the former one are rejected from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKeyBytes>,
    /// New largest bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bound: Option<PermittedBound>,
}

/// Bound on staleness that a verifier's instances may report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the values are the wire contract")]
pub enum PermittedBound {
    /// At most so many seconds.
    Seconds(u64),
    /// Any bound, and none.
    Any,
}

impl Serialize for PermittedBound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Seconds(seconds) => serializer.serialize_u64(*seconds),
            Self::Any => serializer.serialize_str(PermittedBound::ANY),
        }
    }
}

impl PermittedBound {
    /// Value of the member for [`Self::Any`].
    const ANY: &str = "none";
}

/// Value of the member `max_bound`.
#[derive(Debug)]
enum BoundMember {
    Seconds(Seconds),
    Any,
}

impl MemberValue for BoundMember {
    fn from_number(number: Seconds) -> Option<Self> {
        Some(Self::Seconds(number))
    }

    fn from_text(text: &str) -> Option<Self> {
        (text == PermittedBound::ANY).then_some(Self::Any)
    }
}

impl Member<BoundMember> {
    fn permitted(self, name: &'static str) -> Result<Option<PermittedBound>, RequestError> {
        let seconds = match self {
            Self::Absent => return Ok(None),
            Self::Mistyped => return Err(RequestError::invalid(name, "must be a number of seconds or `none`")),
            Self::Given(BoundMember::Any) => return Ok(Some(PermittedBound::Any)),
            Self::Given(BoundMember::Seconds(seconds)) => Member::Given(seconds),
        };
        Ok(seconds.whole(name, 1, MAX_VERIFIER_BOUND)?.map(PermittedBound::Seconds))
    }
}

impl JsonRequest for VerifierUpdateRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            public_key: Member<Text<64>>,
            max_bound: Member<BoundMember>,
        }
        let members: Members = read(body)?;
        let public_key = members.public_key.optional_text("public_key")?.map(public_key).transpose()?;
        let max_bound = members.max_bound.permitted("max_bound")?;
        if public_key.is_none() && max_bound.is_none() {
            return Err(RequestError::invalid("public_key or max_bound", "one of them is required"));
        }
        Ok(Self { public_key, max_bound })
    }
}

fn public_key(text: &str) -> Result<PublicKeyBytes, RequestError> {
    let bytes = PublicKeyBytes::decode(text);
    bytes.ok_or_else(|| RequestError::invalid("public_key", "must be 32 bytes in standard base64"))
}

/// Entry of `GET /v1/admin/verifiers`, and response of `POST` and `PUT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct VerifierRecord {
    /// Name of the verifier.
    pub name: VerifierName,
    /// Ed25519 key that verifies its reports.
    pub public_key: PublicKeyBytes,
    /// Largest bound on staleness that its instances may report, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bound: Option<u64>,
    /// Time of its enrolment.
    pub added_at: UnixTime,
    /// Time of its removal. It is listed while instances of it may accept tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<UnixTime>,
    /// True if reports of instances without a bound may be lost, so that no revocation is confirmed until the operator forgets
    /// them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub may_have_unknown_instances: bool,
    /// Instances that may accept tokens, as far as they are known.
    #[serde(default)]
    pub instances: Vec<VerifierInstance>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl ListEntry for VerifierRecord {
    const MEMBER: &'static str = "verifiers";
}

/// An instance of a verifier, by its latest report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct VerifierInstance {
    /// Id of the process.
    pub instance: InstanceId,
    /// Time of its latest report.
    pub last_heard: UnixTime,
    /// Cursor that it applies.
    pub cursor: FeedCursor,
    /// Number of cursors that it is behind the broker's log; `None` in another epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// Its bound on staleness.
    pub bound: ReportedBound,
    /// True when it has the keys that the broker publishes.
    pub has_current_keys: bool,
    /// Cursor whose earlier requests have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<u64>,
}
