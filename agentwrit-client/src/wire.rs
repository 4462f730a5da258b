//! The JSON that goes over the wire (contract §4), exactly as it is named there.

use agentwrit_verify::{AgentId, ClaimSet, DelegationRecord, ScopeSet, UnixTime};
use serde::{Deserialize, Serialize};

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
    pub(crate) expires_in: u64,
}

#[derive(Deserialize)]
pub(crate) struct RenewAnswer {
    pub(crate) access_token: Secret,
    pub(crate) expires_in: u64,
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
    pub(crate) expires_in: u64,
    pub(crate) delegation_chain: Vec<DelegationRecord>,
}

#[derive(Serialize)]
pub(crate) struct ValidateBody<'a> {
    pub(crate) token: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct ValidateAnswer {
    pub(crate) valid: bool,
    pub(crate) claims: Option<ClaimSet>,
    pub(crate) error: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct AppsAnswer<T> {
    pub(crate) apps: Vec<T>,
}

#[derive(Deserialize)]
pub(crate) struct DeregisteredAnswer {
    pub(crate) deregistered_at: UnixTime,
}
