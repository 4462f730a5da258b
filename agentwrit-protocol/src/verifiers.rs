//! Enrolment of verifiers: `/v1/admin/verifiers`.

use agentwrit_verify::{
    FeedCursor, UnixTime,
    report::{InstanceId, ReportedBound, VerifierName},
};
use serde::{Deserialize, Serialize};

use crate::{
    JsonRequest, ListEntry, PublicKeyBytes, RequestError,
    members::{Member, Seconds, Text},
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
        let public_key = PublicKeyBytes::decode(members.public_key.text("public_key")?)
            .ok_or_else(|| RequestError::invalid("public_key", "must be 32 bytes in standard base64"))?;
        let max_bound = members.max_bound.whole("max_bound", 1, crate::limits::MAX_VERIFIER_BOUND)?;
        Ok(Self { name, public_key, max_bound })
    }
}

/// Entry of `GET /v1/admin/verifiers`, and response of `POST`.
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
    /// Instances that may accept tokens, as far as they are known.
    #[serde(default)]
    pub instances: Vec<VerifierInstance>,
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
