//! The JSON that goes over the wire (contract §4), exactly as it is named there.
//!
//! Members that an AgentWrit v2 broker does not send, and those that nothing depends on, are [`lenient`]: where they are
//! missing or malformed the answer is understood without them.

use agentwrit_verify::{AgentId, AppId, ClaimSet, DelegationRecord, ScopeSet, UnixTime};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use crate::secret::{Secret, serialize_exposed};

#[derive(Serialize)]
pub(crate) struct AppAuthRequest<'a> {
    pub(crate) client_id: &'a str,
    #[serde(serialize_with = "serialize_exposed")]
    pub(crate) client_secret: &'a Secret,
}

#[derive(Serialize)]
pub(crate) struct AdminAuthRequest<'a> {
    #[serde(serialize_with = "serialize_exposed")]
    pub(crate) secret: &'a Secret,
}

#[derive(Deserialize)]
pub(crate) struct AuthAnswer {
    pub(crate) access_token: Secret,
    pub(crate) expires_in: u64,
}

#[derive(Serialize)]
pub(crate) struct LaunchTokenBody<'a> {
    pub(crate) agent_name: &'a str,
    pub(crate) allowed_scope: &'a ScopeSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_ttl: Option<u64>,
    pub(crate) single_use: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) orch_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_id: Option<&'a str>,
}

#[derive(Deserialize)]
pub(crate) struct LaunchTokenAnswer {
    pub(crate) launch_token: Secret,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) launch_token_id: Option<String>,
    pub(crate) expires_at: UnixTime,
    pub(crate) policy: Policy,
}

#[derive(Deserialize)]
pub(crate) struct Policy {
    pub(crate) allowed_scope: ScopeSet,
    pub(crate) max_ttl: u64,
}

#[derive(Deserialize)]
pub(crate) struct ChallengeAnswer {
    pub(crate) nonce: String,
}

#[derive(Serialize)]
pub(crate) struct RegisterBody<'a> {
    #[serde(serialize_with = "serialize_exposed")]
    pub(crate) launch_token: &'a Secret,
    pub(crate) nonce: &'a str,
    pub(crate) public_key: String,
    pub(crate) signature: String,
    pub(crate) orch_id: &'a str,
    pub(crate) task_id: &'a str,
    pub(crate) requested_scope: &'a ScopeSet,
}

#[derive(Deserialize)]
pub(crate) struct RegisterAnswer {
    pub(crate) agent_id: AgentId,
    pub(crate) access_token: Secret,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) expires_in: Option<u64>,
}

#[derive(Deserialize)]
pub(crate) struct RenewAnswer {
    pub(crate) access_token: Secret,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) expires_in: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct DelegateBody<'a> {
    pub(crate) delegate_to: &'a str,
    pub(crate) scope: &'a ScopeSet,
    pub(crate) ttl: u64,
}

#[derive(Deserialize)]
pub(crate) struct DelegateAnswer {
    pub(crate) access_token: Secret,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) expires_in: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) delegation_chain: Option<Vec<DelegationRecord>>,
}

#[derive(Serialize)]
pub(crate) struct ValidateBody<'a> {
    pub(crate) token: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct ValidateAnswer {
    pub(crate) valid: bool,
    pub(crate) claims: Option<ReportedClaims>,
    pub(crate) error: Option<String>,
}

/// Claims of this project's tokens, or of another form: an AgentWrit v2 broker's.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum ReportedClaims {
    Known(Box<ClaimSet>),
    Other(serde_json::Map<String, serde_json::Value>),
}

/// What a registration of an app answers. Name and scopes are known already.
#[derive(Deserialize)]
pub(crate) struct CreateAppAnswer {
    pub(crate) client_secret: Secret,
    pub(crate) app_id: AppId,
    pub(crate) client_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) scopes: Option<ScopeSet>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) token_ttl: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) created_at: Option<UnixTime>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) updated_at: Option<UnixTime>,
}

#[derive(Deserialize)]
pub(crate) struct AppsAnswer<T> {
    pub(crate) apps: Vec<T>,
}

#[derive(Deserialize)]
pub(crate) struct DeregisteredAnswer {
    pub(crate) deregistered_at: UnixTime,
}

/// A member that nothing depends on: absent when it is missing, `null` or malformed.
pub(crate) fn lenient<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Member<T> {
        WellFormed(T),
        Malformed(IgnoredAny),
    }
    Member::deserialize(deserializer).map(|member| match member {
        Member::WellFormed(value) => Some(value),
        Member::Malformed(IgnoredAny) => None,
    })
}
