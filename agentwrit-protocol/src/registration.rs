//! Registration of agents: `GET /v1/challenge`, `POST /v1/register`, and the list `GET /v1/app/agents`.

use agentwrit_verify::{AgentId, AppId, PathSegment, ScopeSet, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{
    Attestation, Base64, Hex, JsonRequest, ListEntry, Presented, RequestError, Secret, TokenType,
    attestation::AttestationMembers,
    lenient::{is_false, lenient, lenient_flag},
    members::{Member, Scopes, Segment, Text, required},
    request::read,
    secret::{exposed, exposed_if_given},
};

/// 32 bytes that an agent signs to prove that it holds its key. The text is hexadecimal; the bytes are what is signed.
pub type Nonce = Hex<32>;

/// A raw Ed25519 public key (RFC 8032 §5.1.5), of which only the length is known to be right.
pub type PublicKeyBytes = Base64<32>;

/// A raw Ed25519 signature (RFC 8032 §5.1.6).
pub type SignatureBytes = Base64<64>;

/// Response of `GET /v1/challenge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct ChallengeResponse {
    /// Nonce to sign.
    pub nonce: Nonce,
    /// Lifetime of the nonce, in seconds.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// Body of `POST /v1/register`. It has either a launch token or an attestation.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct RegistrationRequest {
    /// Launch token that permits the registration.
    #[serde(serialize_with = "exposed_if_given", skip_serializing_if = "Option::is_none")]
    pub launch_token: Option<Secret>,
    /// Assertion of another issuer, which permits the registration by a trust rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// Nonce from `GET /v1/challenge`.
    pub nonce: Presented<Nonce>,
    /// Public key of the agent.
    pub public_key: Presented<PublicKeyBytes>,
    /// Signature over the 32 decoded bytes of the nonce.
    pub signature: Presented<SignatureBytes>,
    /// Orchestration that the agent works for. Only with an attestation it may be left out, for the rule's template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orch_id: Option<PathSegment>,
    /// Task that the agent works for. Only with an attestation it may be left out, for the rule's template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<PathSegment>,
    /// Scopes of the agent.
    pub requested_scope: ScopeSet,
    /// True when the agent's tokens must be bound to its key (RFC 9449); the broker may bind them all the same.
    #[serde(skip_serializing_if = "is_false")]
    pub sender_constrained: bool,
}

impl JsonRequest for RegistrationRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            launch_token: Member<Text<128>>,
            attestation: Member<AttestationMembers>,
            nonce: Member<Text<128>>,
            public_key: Member<Text<512>>,
            signature: Member<Text<512>>,
            orch_id: Member<Segment>,
            task_id: Member<Segment>,
            requested_scope: Member<Scopes>,
            sender_constrained: Member<bool>,
        }
        let members: Members = read(body)?;
        let launch_token = members.launch_token.optional_text("launch_token")?.map(Secret::from);
        let attestation = members.attestation.attestation("attestation")?;
        if launch_token.is_some() == attestation.is_some() {
            return Err(RequestError::invalid("launch_token or attestation", "exactly one of them is required"));
        }
        let id = |name, member: &Member<Segment>| {
            let id = member.optional_segment(name)?;
            if attestation.is_some() { Ok(id) } else { required(name, id).map(Some) }
        };
        Ok(Self {
            nonce: Nonce::decode(members.nonce.text("nonce")?).into(),
            public_key: PublicKeyBytes::decode(members.public_key.text("public_key")?).into(),
            signature: SignatureBytes::decode(members.signature.text("signature")?).into(),
            orch_id: id("orch_id", &members.orch_id)?,
            task_id: id("task_id", &members.task_id)?,
            requested_scope: members.requested_scope.scopes("requested_scope")?,
            sender_constrained: members.sender_constrained.flag("sender_constrained")?.unwrap_or_default(),
            launch_token,
            attestation,
        })
    }
}

/// Response of `POST /v1/register`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct RegistrationResponse {
    /// SPIFFE id of the new agent.
    pub agent_id: AgentId,
    /// First token of the agent.
    #[serde(serialize_with = "exposed")]
    pub access_token: Secret,
    /// Lifetime of the token, in seconds.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// How the token is presented; absent means [`TokenType::Bearer`].
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub token_type: Option<TokenType>,
}

/// Entry of `GET /v1/app/agents` and `GET /v1/admin/agents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct AgentRecord {
    /// SPIFFE id of the agent.
    pub agent_id: AgentId,
    /// Orchestration that it works for.
    pub orch_id: PathSegment,
    /// Task that it works for.
    pub task_id: PathSegment,
    /// Scopes that its registration granted.
    pub scope: ScopeSet,
    /// Time of its registration.
    pub registered_at: UnixTime,
    /// Expiry of its latest token.
    pub expires_at: UnixTime,
    /// State of the agent; absent when it is not a known one.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub status: Option<AgentStatus>,
    /// Time at which it was revoked.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<UnixTime>,
    /// App that it belongs to, in the operator's list.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub app_id: Option<AppId>,
    /// True when all of its tokens are bound to its key (RFC 9449).
    #[serde(default, deserialize_with = "lenient_flag", skip_serializing_if = "is_false")]
    pub sender_constrained: bool,
}

impl ListEntry for AgentRecord {
    const MEMBER: &'static str = "agents";
}

/// State of a registered agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AgentStatus {
    /// Its latest token has not expired.
    Active,
    /// Its latest token has expired.
    Expired,
    /// It was revoked and never receives another token.
    Revoked,
}

impl AgentStatus {
    /// Returns the name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}
