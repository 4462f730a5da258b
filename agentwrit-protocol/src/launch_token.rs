//! Launch tokens: `/v1/admin/launch-tokens` and `/v1/app/launch-tokens`.

use agentwrit_verify::{AppId, PathSegment, Scope, ScopeSet, Subject, UnixTime};
use serde::{Deserialize, Serialize};

use crate::{
    JsonRequest, ListEntry, RequestError, Secret,
    lenient::{is_false, lenient, lenient_flag},
    limits::{MAX_LAUNCH_TOKEN_TTL, MAX_TOKEN_TTL},
    members::{Member, Scopes, Seconds, Segment, Text, required, reserved},
    request::read,
    secret::exposed,
};

/// Body of `POST /v1/admin/launch-tokens` and `POST /v1/app/launch-tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct LaunchTokenRequest {
    /// Label of the agent, for people and the audit trail.
    pub agent_name: String,
    /// Scopes that a registration may ask for. The broker's own are read too: see
    /// [`check_reserved`](Self::check_reserved).
    pub allowed_scope: ScopeSet,
    /// Lifetime of the agent's tokens, in seconds; the broker's default where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ttl: Option<u64>,
    /// True when the launch token registers one agent only: the default.
    pub single_use: bool,
    /// Lifetime of the launch token, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Orchestration that the registration must name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orch_id: Option<PathSegment>,
    /// Task that the registration must name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<PathSegment>,
    /// True when the agent's tokens must be bound to its key (RFC 9449); the broker may bind them all the same.
    #[serde(skip_serializing_if = "is_false")]
    pub sender_constrained: bool,
}

impl LaunchTokenRequest {
    /// Returns the first scope that is the broker's own, which no launch token can allow.
    #[must_use]
    pub fn reserved_scope(&self) -> Option<&Scope> {
        self.allowed_scope.iter().find(|scope| scope.is_reserved())
    }

    /// Rejects scopes that are the broker's own, as a malformed request.
    ///
    /// # Errors
    ///
    /// [`RequestError::Invalid`] names the scope.
    pub fn check_reserved(&self) -> Result<(), RequestError> {
        self.reserved_scope().map_or(Ok(()), |scope| Err(reserved("allowed_scope", scope)))
    }
}

impl JsonRequest for LaunchTokenRequest {
    fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            // Clients name an agent `<orch_id>/<task_id>` by default: 257 bytes at the longest.
            agent_name: Member<Text<512>>,
            allowed_scope: Member<Scopes>,
            max_ttl: Member<Seconds>,
            single_use: Member<bool>,
            ttl: Member<Seconds>,
            orch_id: Member<Segment>,
            task_id: Member<Segment>,
            sender_constrained: Member<bool>,
        }
        let members: Members = read(body)?;
        Ok(Self {
            agent_name: members.agent_name.stored_text("agent_name")?,
            allowed_scope: required("allowed_scope", members.allowed_scope.any_scopes("allowed_scope")?)?.clone(),
            max_ttl: members.max_ttl.lifetime("max_ttl", 1, MAX_TOKEN_TTL)?,
            single_use: members.single_use.flag("single_use")?.unwrap_or(true),
            ttl: members.ttl.lifetime("ttl", 1, MAX_LAUNCH_TOKEN_TTL)?,
            orch_id: members.orch_id.optional_segment("orch_id")?,
            task_id: members.task_id.optional_segment("task_id")?,
            sender_constrained: members.sender_constrained.flag("sender_constrained")?.unwrap_or_default(),
        })
    }
}

/// Response that carries a new launch token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct LaunchTokenResponse {
    /// The launch token itself, shown this once.
    #[serde(serialize_with = "exposed")]
    pub launch_token: Secret,
    /// Id that lists and deletes it. AgentWrit v2 sends none.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub launch_token_id: Option<String>,
    /// End of its lifetime.
    pub expires_at: UnixTime,
    /// Limits of a registration with it.
    pub policy: LaunchTokenPolicy,
}

/// Limits of a registration with a launch token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct LaunchTokenPolicy {
    /// Scopes that a registration may ask for.
    pub allowed_scope: ScopeSet,
    /// Lifetime of the agent's tokens, in seconds.
    pub max_ttl: u64,
    /// True when the agent's tokens are bound to its key (RFC 9449).
    #[serde(default, deserialize_with = "lenient_flag", skip_serializing_if = "is_false")]
    pub sender_constrained: bool,
}

/// Entry of `GET /v1/admin/launch-tokens`: a launch token's id and policy, not itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct LaunchTokenRecord {
    /// Id of the launch token.
    pub launch_token_id: String,
    /// Label of the agent that it is for.
    pub agent_name: String,
    /// Scopes that a registration may ask for.
    pub allowed_scope: ScopeSet,
    /// Lifetime of the agent's tokens, in seconds.
    pub max_ttl: u64,
    /// True when it registers one agent only.
    pub single_use: bool,
    /// True when the agent's tokens are bound to its key (RFC 9449).
    #[serde(default, deserialize_with = "lenient_flag", skip_serializing_if = "is_false")]
    pub sender_constrained: bool,
    /// Time of its issue.
    pub created_at: UnixTime,
    /// End of its lifetime.
    pub expires_at: UnixTime,
    /// Subject that asked for it.
    pub created_by: Subject,
    /// App that it belongs to; none for an operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<AppId>,
    /// Orchestration that a registration must name, if it is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orch_id: Option<PathSegment>,
    /// Task that a registration must name, if it is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<PathSegment>,
    /// Time at which a registration consumed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed_at: Option<UnixTime>,
}

impl ListEntry for LaunchTokenRecord {
    const MEMBER: &'static str = "launch_tokens";
}
